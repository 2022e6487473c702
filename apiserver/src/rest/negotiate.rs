//! In which form an answer is wanted: `Accept`, with Kubernetes' `as=Table` and `as=PartialObjectMetadata`.

use crate::status::Status;
use http::{HeaderMap, header};
use skiff_schema::TableVersion;

/// How objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// A table of columns, as JSON.
    Table(TableVersion),
    /// Type and metadata only, as JSON; `meta.k8s.io/v1` or `v1beta1`.
    Metadata(&'static str),
}

/// One entry of `Accept`.
pub(super) struct MediaRange<'a> {
    pub(super) name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl MediaRange<'_> {
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value).unwrap_or_default()
    }
}

impl MediaRange<'_> {
    /// What comes first: more `q`, then what is named rather than `*`.
    fn rank(&self) -> (u16, u8) {
        let quality: f32 = self.parameter("q").parse().unwrap_or(1.0);
        // Thousandths: RFC 9110 allows no more digits.
        let unwanted = 1000 - (quality.clamp(0.0, 1.0) * 1000.0) as u16;
        let open = self.name.starts_with('*') as u8 + self.name.ends_with('*') as u8;
        (unwanted, open)
    }
}

/// The entries of `Accept`, the best first; equals in the order in which they were given.
pub(super) fn accepted(headers: &HeaderMap) -> Vec<MediaRange<'_>> {
    let lines = headers.get_all(header::ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
    let entries = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty());
    let mut ranges: Vec<MediaRange<'_>> = entries
        .map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            MediaRange { name, parameters: parts.filter_map(|part| part.split_once('=')).collect() }
        })
        .collect();
    ranges.sort_by_key(MediaRange::rank);
    ranges
}

/// Whether the form that was chosen was asked for indented: `application/json;pretty=1`.
pub(super) fn pretty(headers: &HeaderMap) -> bool {
    accepted(headers)
        .iter()
        .find(|range| form_of(range).is_some())
        .is_some_and(|range| range.parameter("pretty") == "1")
}

/// The first form that we can write.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Status> {
    let ranges = accepted(headers);
    if ranges.is_empty() {
        return Ok(Form::Json);
    }
    ranges.iter().find_map(form_of).ok_or_else(Status::not_acceptable)
}

fn form_of(range: &MediaRange<'_>) -> Option<Form> {
    let version = range.parameter("v");
    match (range.name, range.parameter("as")) {
        ("application/json", "Table") if version == "v1beta1" => Some(Form::Table(TableVersion::V1Beta1)),
        ("application/json", "Table") => Some(Form::Table(TableVersion::V1)),
        ("application/json", "PartialObjectMetadata" | "PartialObjectMetadataList") => {
            Some(Form::Metadata(if version == "v1beta1" { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }))
        }
        ("application/json" | "application/*" | "*/*", "") => Some(Form::Json),
        ("application/yaml", "") => Some(Form::Yaml),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a header"));
        form(&headers).ok()
    }

    #[test]
    fn the_first_form_we_know_wins() {
        let tables = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, expected) in [
            (tables, Some(Form::Table(TableVersion::V1))),
            ("application/json", Some(Form::Json)),
            ("application/json, */*", Some(Form::Json)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Form::Json)),
            ("application/vnd.kubernetes.protobuf, */*", Some(Form::Json)),
            ("application/yaml", Some(Form::Yaml)),
            ("application/yaml;q=0.5, application/json", Some(Form::Json)),
            ("*/*, application/yaml", Some(Form::Yaml)),
            ("application/json, application/yaml", Some(Form::Json)),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Form::Metadata("meta.k8s.io/v1")),
            ),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
        ] {
            assert_eq!(check(accept), expected, "{accept}");
        }
    }
}
