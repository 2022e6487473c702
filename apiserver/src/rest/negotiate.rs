//! In which form an answer is wanted: `Accept`, with Kubernetes' `as=Table` and `as=PartialObjectMetadata`.

use crate::status::Status;
use http::{HeaderMap, header};
use skiff_schema::{TableVersion, cbor, protobuf};

/// What an answer is, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) shape: Shape,
    pub(super) encoding: Encoding,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The object or list itself.
    Whole,
    /// A table of columns.
    Table(TableVersion),
    /// Type and metadata only; `meta.k8s.io/v1` or `v1beta1`.
    Metadata(&'static str),
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Yaml,
    Protobuf,
    Cbor,
}

impl Form {
    /// The object itself, as JSON.
    pub(super) const JSON: Self = Self { shape: Shape::Whole, encoding: Encoding::Json };

    /// Whether stored JSON is the answer as it is.
    pub(super) fn is_plain_json(self) -> bool {
        self == Self::JSON
    }
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

/// Whether CBOR is one of the forms (`CBORServingAndStorage`, alpha in Kubernetes 1.36 and off there).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cbor {
    #[default]
    Off,
    On,
}

/// Whether the form that was chosen was asked for indented: `application/json;pretty=1`.
pub(super) fn pretty(headers: &HeaderMap, cbor: Cbor) -> bool {
    accepted(headers)
        .iter()
        .find(|range| form_of(range, cbor).is_some())
        .is_some_and(|range| range.parameter("pretty") == "1")
}

/// The forms that we can write, the best first; an answer that cannot be written in one of them takes the next.
pub(super) fn forms(headers: &HeaderMap, cbor: Cbor) -> Result<(Form, Option<Form>), Status> {
    let ranges = accepted(headers);
    if ranges.is_empty() {
        return Ok((Form::JSON, None));
    }
    let mut forms = ranges.iter().filter_map(|range| form_of(range, cbor));
    let first = forms.next().ok_or_else(Status::not_acceptable)?;
    Ok((first, forms.find(|form| form.encoding != Encoding::Protobuf)))
}

fn form_of(range: &MediaRange<'_>, spoken: Cbor) -> Option<Form> {
    let encoding = match range.name {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        protobuf::CONTENT_TYPE => Encoding::Protobuf,
        cbor::CONTENT_TYPE if spoken == Cbor::On => Encoding::Cbor,
        _ => return None,
    };
    let version = range.parameter("v");
    let shape = match range.parameter("as") {
        "" => Shape::Whole,
        _ if range.name.ends_with('*') || encoding == Encoding::Yaml => return None,
        "Table" if encoding == Encoding::Protobuf => return None,
        "Table" if version == "v1beta1" => Shape::Table(TableVersion::V1Beta1),
        "Table" => Shape::Table(TableVersion::V1),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => {
            Shape::Metadata(if version == "v1beta1" { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" })
        }
        _ => return None,
    };
    Some(Form { shape, encoding })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a header"));
        forms(&headers, Cbor::Off).ok().map(|(first, _)| first)
    }

    #[test]
    fn cbor_is_a_form_where_it_is_on() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "application/cbor;as=Table;v=v1, application/json".parse().expect("a header"));
        let first = |cbor| forms(&headers, cbor).ok().map(|(first, _)| first);
        assert_eq!(first(Cbor::Off), Some(Form::JSON));
        let table = Form { shape: Shape::Table(TableVersion::V1), encoding: Encoding::Cbor };
        assert_eq!(first(Cbor::On), Some(table));
    }

    #[test]
    fn the_first_form_we_know_wins() {
        let tables = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let json = |shape| Some(Form { shape, encoding: Encoding::Json });
        let whole = |encoding| Some(Form { shape: Shape::Whole, encoding });
        for (accept, expected) in [
            (tables, json(Shape::Table(TableVersion::V1))),
            ("application/json", Some(Form::JSON)),
            ("application/json, */*", Some(Form::JSON)),
            ("application/vnd.kubernetes.protobuf,application/json", whole(Encoding::Protobuf)),
            ("application/vnd.kubernetes.protobuf;q=0.5, */*", Some(Form::JSON)),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Some(Form { shape: Shape::Metadata("meta.k8s.io/v1"), encoding: Encoding::Protobuf }),
            ),
            ("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", None),
            ("application/yaml", whole(Encoding::Yaml)),
            ("application/yaml;q=0.5, application/json", Some(Form::JSON)),
            ("*/*, application/yaml", whole(Encoding::Yaml)),
            ("application/json, application/yaml", Some(Form::JSON)),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                json(Shape::Metadata("meta.k8s.io/v1")),
            ),
            ("application/vnd.kubernetes.protobuf", whole(Encoding::Protobuf)),
            ("text/html", None),
        ] {
            assert_eq!(check(accept), expected, "{accept}");
        }
    }
}
