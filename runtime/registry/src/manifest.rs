//! What a manifest says: which kind it is, what it refers to, and what a list of referrers tells of it (image-spec, manifest.md and
//! image-index.md; Docker's "Image Manifest V 2, Schema 2"). Pure; manifests are hostile.

use crate::digest::Digest;
use crate::name::shown;
use crate::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The largest manifest that is taken: what the specification says every registry should take ("Pushing Manifests").
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An OCI image index, which lists of referrers are too.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Artifacts of the release candidates of image-spec 1.1, which some tools still write.
const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What the registry knows of a manifest without reading it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
    /// Blobs that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Needed>,
    /// Manifests that it lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Needed>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// What kind of artifact it is, in a list of referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its annotations, if it is about something: a list of referrers tells them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
}

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes, as the manifest says.
    pub size: u64,
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, Code::ManifestInvalid, message)
}

/// Reads a manifest that was sent as `content_type`.
///
/// # Errors
/// It is none, or not of that type.
pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<About, Refusal> {
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("the manifest is not JSON: {error}")))?;
    let fields = document.as_object().ok_or_else(|| invalid("the manifest is not a JSON object"))?;
    let media_type = media_type(fields, content_type)?;
    if fields.get("schemaVersion") != Some(&Value::from(2)) && media_type != OCI_ARTIFACT {
        return Err(invalid("schemaVersion is not 2"));
    }
    let mut about = About {
        media_type: media_type.to_owned(),
        size: bytes.len() as u64,
        blobs: Vec::new(),
        manifests: Vec::new(),
        subject: subject(fields)?,
        artifact_type: text(fields, "artifactType")?.filter(|text| !text.is_empty()).map(str::to_owned),
        annotations: Map::new(),
    };
    match media_type {
        OCI_INDEX | DOCKER_LIST => about.manifests = list(fields, "manifests", Presence::Must)?,
        OCI_ARTIFACT => about.blobs = list(fields, "blobs", Presence::May)?,
        _ => image(fields, &mut about)?,
    }
    if about.subject.is_some() {
        about.annotations = annotations(fields)?;
    }
    Ok(about)
}

/// What the request and the document say of its type, which must be the same.
fn media_type(fields: &Map<String, Value>, content_type: Option<&str>) -> Result<&'static str, Refusal> {
    let sent =
        content_type.map(|text| text.split(';').next().unwrap_or_default().trim()).filter(|text| !text.is_empty());
    let written = text(fields, "mediaType")?.filter(|text| !text.is_empty());
    if let (Some(sent), Some(written)) = (sent, written)
        && sent != written
    {
        let text = format!("mediaType is {}, Content-Type is {}", shown(written), shown(sent));
        return Err(invalid(text));
    }
    let meant = sent.or(written).ok_or_else(|| invalid("neither Content-Type nor mediaType says which type it is"))?;
    let known = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, OCI_ARTIFACT];
    if let Some(known) = known.into_iter().find(|one| *one == meant) {
        return Ok(known);
    }
    if meant.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Err(invalid("manifests of schema 1 are not taken; push the image with a newer client"));
    }
    Err(invalid(format!("media type {} is not one of a manifest", shown(meant))))
}

fn image(fields: &Map<String, Value>, about: &mut About) -> Result<(), Refusal> {
    let config = fields.get("config").ok_or_else(|| invalid("config is missing"))?;
    about.blobs.push(needed(config, "config")?);
    about.blobs.extend(list(fields, "layers", Presence::Must)?);
    if about.artifact_type.is_none() && about.subject.is_some() {
        // "If the artifactType is empty or missing in the image manifest, the value of artifactType MUST be set to the config
        // descriptor mediaType value" (Listing Referrers).
        about.artifact_type = config.get("mediaType").and_then(Value::as_str).map(str::to_owned);
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Must,
    May,
}

/// The descriptors of a list, without those of layers that are not distributed here.
fn list(fields: &Map<String, Value>, name: &'static str, presence: Presence) -> Result<Vec<Needed>, Refusal> {
    let items = match fields.get(name) {
        Some(Value::Array(items)) => items,
        // Tools of old write `null` for an empty list.
        Some(Value::Null) => return Ok(Vec::new()),
        None if presence == Presence::May => return Ok(Vec::new()),
        None => return Err(invalid(format!("{name} is missing"))),
        Some(_) => return Err(invalid(format!("{name} is not a list"))),
    };
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let needed = needed(item, &format!("{name}[{index}]"))?;
        if !is_elsewhere(item) {
            found.push(needed);
        }
    }
    Ok(found)
}

/// Whether a layer is of a type that clients don't push.
fn is_elsewhere(descriptor: &Value) -> bool {
    let media_type = descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
}

fn needed(descriptor: &Value, at: &str) -> Result<Needed, Refusal> {
    let digest = descriptor.get("digest").and_then(Value::as_str);
    let digest = digest.ok_or_else(|| invalid(format!("{at}.digest is missing")))?;
    let digest = digest.parse().map_err(|refusal: Refusal| invalid(format!("{at}.digest: {}", refusal.message)))?;
    let size = descriptor.get("size").and_then(Value::as_u64);
    Ok(Needed { digest, size: size.ok_or_else(|| invalid(format!("{at}.size is not a number of bytes")))? })
}

fn subject(fields: &Map<String, Value>) -> Result<Option<Digest>, Refusal> {
    match fields.get("subject") {
        None | Some(Value::Null) => Ok(None),
        Some(subject) => needed(subject, "subject").map(|needed| Some(needed.digest)),
    }
}

fn annotations(fields: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    match fields.get("annotations") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(all)) if all.values().all(Value::is_string) => Ok(all.clone()),
        Some(_) => Err(invalid("annotations are not texts by name")),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("{name} is not a text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use proptest::prelude::*;
    use serde_json::json;

    fn descriptor(of: &str) -> Value {
        json!({"mediaType": "application/x", "digest": Digest::of(Algorithm::Sha256, of.as_bytes()).as_str(), "size": of.len()})
    }

    fn manifest() -> Value {
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("{}"), "layers": [descriptor("a"), descriptor("bc")]})
    }

    fn read_as(document: &Value, content_type: Option<&str>) -> Result<About, Refusal> {
        read(document.to_string().as_bytes(), content_type)
    }

    #[test]
    fn an_image_needs_its_configuration_and_layers() {
        let about = read_as(&manifest(), Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8")).unwrap();
        assert_eq!((about.blobs.len(), about.manifests.len(), about.blobs[2].size), (3, 0, 2));
        assert_eq!((about.subject, about.artifact_type), (None, None));
        let mut other = manifest();
        other["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
        assert_eq!(read_as(&other, None).unwrap().blobs.len(), 2, "what is not distributed need not be here");
    }

    #[test]
    fn an_artifact_about_something_tells_its_type_and_annotations() {
        let mut one = manifest();
        one["subject"] = descriptor("subject");
        one["annotations"] = json!({"a": "b"});
        let about = read_as(&one, Some(OCI_MANIFEST)).unwrap();
        assert_eq!(
            (about.artifact_type.as_deref(), about.annotations["a"].as_str()),
            (Some("application/x"), Some("b"))
        );
        one["artifactType"] = "application/y".into();
        assert_eq!(read_as(&one, None).unwrap().artifact_type.as_deref(), Some("application/y"));
        let index = json!({"schemaVersion": 2, "manifests": [], "subject": descriptor("subject")});
        assert_eq!(read_as(&index, Some(OCI_INDEX)).unwrap().artifact_type, None);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let with = |path: &str, value: Value| {
            let mut document = manifest();
            *document.pointer_mut(path).unwrap() = value;
            document
        };
        for (document, content_type, said) in [
            (json!([]), Some(OCI_MANIFEST), "not a JSON object"),
            (json!({}), None, "neither Content-Type nor mediaType"),
            (manifest(), Some(OCI_INDEX), "Content-Type is"),
            (with("/mediaType", json!(7)), None, "mediaType is not a text"),
            (with("/mediaType", json!("text/plain")), None, "media type text/plain"),
            (with("/schemaVersion", json!(1)), None, "schemaVersion"),
            (with("/config", json!("x")), None, "config.digest is missing"),
            (with("/config/digest", json!("sha256:../../x")), None, "config.digest: "),
            (with("/layers/1/size", json!(-1)), None, "layers[1].size"),
            (with("/layers", json!({})), None, "layers is not a list"),
            (
                json!({"schemaVersion": 1}),
                Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
                "schema 1",
            ),
        ] {
            let refusal = read_as(&document, content_type).unwrap_err();
            assert!(refusal.message.contains(said), "{document}: {refusal}");
            assert_eq!((refusal.status, refusal.code), (400, Code::ManifestInvalid));
        }
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes(), Some(OCI_MANIFEST)).is_err(), "nested without end");
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,200}") {
            let _either_way = read(text.as_bytes(), Some(OCI_MANIFEST));
        }
    }
}
