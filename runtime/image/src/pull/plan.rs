//! What a registry delivered: an image, an index and which of its images is for this machine, or what we cannot read. Pure.

use crate::configuration;
use crate::documents::{self, Descriptor, IndexOrManifest, host_architecture, host_platform};
use crate::error::expect;
use crate::{Digest, ImageError};
use skiff_distribution::Document;

/// What a document is.
#[derive(Debug)]
pub(super) enum Delivered {
    /// A manifest.
    Image(IndexOrManifest),
    /// An index, and the digest of what it has for this machine.
    Index(Digest),
}

/// The digest of a document, which has to be the one that was asked for, and the one that the registry says it has.
pub(super) fn digest(wanted: Option<Digest>, document: &Document) -> Result<Digest, ImageError> {
    let actual = Digest::of(&document.bytes);
    let said = document.digest.as_deref().filter(|text| text.starts_with("sha256:"));
    let said = said.map(str::parse::<Digest>).transpose()?;
    for expected in [wanted, said].into_iter().flatten() {
        expect("manifest", &expected, &actual)?;
    }
    Ok(actual)
}

/// Says what a document is; its own word counts more than that of the header.
pub(super) fn delivered(media_type: &str, bytes: &[u8]) -> Result<Delivered, ImageError> {
    let schema: serde_json::Value = documents::parse("manifest", bytes)?;
    if schema["schemaVersion"] == 1 || media_type.starts_with("application/vnd.docker.distribution.manifest.v1") {
        return Err(ImageError::Unimplemented(
            "the registry has only a manifest of schema 1, which Docker gave up in 2017 and whose layers cannot be checked: \
             push the image again with a program of these years"
                .to_owned(),
        ));
    }
    let node: IndexOrManifest = documents::parse("manifest", bytes)?;
    let own = if node.media_type.is_empty() { media_type } else { &node.media_type };
    match (&node.manifests, &node.config) {
        (Some(manifests), None) => choose(manifests).map(Delivered::Index),
        (None, Some(config)) => match documents::not_an_image(config, node.layers.as_deref().unwrap_or_default()) {
            Some(kind) => {
                Err(ImageError::malformed("manifest", format!("it is of {}, which is no image", kind.escape_debug())))
            }
            None => Ok(Delivered::Image(node)),
        },
        _ => Err(ImageError::malformed("manifest", format!("{} is neither an index nor an image", own.escape_debug()))),
    }
}

/// The image for this machine: that of its platform, before one that says nothing of platforms.
fn choose(manifests: &[Descriptor]) -> Result<Digest, ImageError> {
    let ours = manifests.iter().find(|one| {
        one.platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == host_architecture())
    });
    let silent = || manifests.iter().find(|one| one.platform.is_none() && documents::is_node(one));
    if let Some(chosen) = ours.or_else(silent) {
        return chosen.digest.parse();
    }
    let mut others: Vec<String> = manifests
        .iter()
        .filter_map(|one| one.platform.as_ref())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .filter(|platform| platform != "unknown/unknown")
        .collect();
    others.sort_unstable();
    others.dedup();
    let others =
        if others.is_empty() { "nothing that runs".to_owned() } else { others.join(", ").escape_debug().to_string() };
    Err(ImageError::malformed("index", format!("there is no image for {} in it, only for: {others}", host_platform())))
}

/// Refuses an image of another platform that came without an index.
pub(super) fn check_platform(config: &[u8]) -> Result<(), ImageError> {
    let config = configuration::read(config)?;
    let platform = format!("{}/{}", config.os(), config.architecture());
    if platform == host_platform() {
        return Ok(());
    }
    let reason = format!("it is for {}, this machine is {}", platform.escape_debug(), host_platform());
    Err(ImageError::malformed("image", reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor(content: &str, os: &str, architecture: &str) -> Value {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(content.as_bytes()).to_string(),
            "size": 1, "platform": {"os": os, "architecture": architecture, "variant": "v8"}})
    }

    fn said(document: &Value) -> String {
        delivered("", document.to_string().as_bytes()).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn the_image_of_this_machine_is_chosen() {
        let other = if host_architecture() == "amd64" { "s390x" } else { "amd64" };
        let silent = json!({"digest": Digest::of(b"silent").to_string(), "size": 1});
        let all = json!({"manifests": [silent, descriptor("w", "windows", host_architecture()), descriptor("o", "linux", other),
            descriptor("ours", "linux", host_architecture()), descriptor("second", "linux", host_architecture())]});
        let chosen = |document: &Value| match delivered("", document.to_string().as_bytes()).unwrap() {
            Delivered::Index(digest) => digest,
            Delivered::Image(_) => panic!("an image"),
        };
        assert_eq!(chosen(&all), Digest::of(b"ours"));
        assert_eq!(chosen(&json!({"manifests": [all["manifests"][0].clone()]})), Digest::of(b"silent"));
        let none = json!({"manifests": [descriptor("w", "windows", "amd64"), descriptor("a", "unknown", "unknown")]});
        assert!(said(&none).ends_with("only for: windows/amd64"), "{}", said(&none));
    }

    #[test]
    fn what_is_no_image_is_said() {
        let layer = json!([{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "x", "size": 1}]);
        let config = |kind: &str| json!({"mediaType": kind, "digest": "x", "size": 1});
        assert!(said(&json!({"schemaVersion": 1, "fsLayers": []})).contains("schema 1"));
        assert!(said(&json!({"config": config("application/vnd.example.sbom"), "layers": layer})).contains("no image"));
        assert!(
            said(&json!({"config": config("application/vnd.oci.image.config.v1+json"), "manifests": []}))
                .contains("neither")
        );
        assert!(said(&json!([])).starts_with("manifest: "));
        let good = json!({"config": config("application/vnd.oci.image.config.v1+json"), "layers": layer});
        assert!(matches!(delivered("x", good.to_string().as_bytes()), Ok(Delivered::Image(_))));
        let old = delivered("application/vnd.docker.distribution.manifest.v1+prettyjws", b"{}");
        assert!(old.unwrap_err().to_string().contains("schema 1"));
    }

    #[test]
    fn a_document_is_what_was_asked_for_or_nothing() {
        let document = |digest: Option<&str>| Document {
            media_type: String::new(),
            digest: digest.map(str::to_owned),
            bytes: b"x".to_vec(),
        };
        let (right, wrong) = (Digest::of(b"x"), Digest::of(b"y"));
        assert_eq!(digest(Some(right), &document(None)).unwrap(), right);
        assert_eq!(digest(None, &document(Some(&right.to_string()))).unwrap(), right);
        assert!(digest(Some(wrong), &document(None)).is_err());
        assert!(digest(None, &document(Some(&wrong.to_string()))).is_err());
        assert!(digest(None, &document(Some("sha256:../../etc/passwd"))).is_err());
        assert_eq!(
            digest(None, &document(Some("sha512:00"))).unwrap(),
            right,
            "of what we cannot check, our own counts"
        );
    }
}
