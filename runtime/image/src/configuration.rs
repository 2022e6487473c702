//! Reads an image's configuration (image-spec, config.md), as forgivingly as those who run images do.

use crate::ImageError;
use crate::documents::{host_architecture, parse};
use oci_spec::image::ImageConfiguration;
use serde_json::{Map, Value, json};

/// What nobody here reads: odd things in it must not keep an image out.
const UNREAD: &str = "history";
/// Go writes sets as objects whose values mean nothing.
const SETS: [&str; 2] = ["Volumes", "ExposedPorts"];

/// The configuration in these bytes. What old builders leave out is what it goes without saying: this machine's platform, and no
/// layers.
pub(crate) fn read(bytes: &[u8]) -> Result<ImageConfiguration, ImageError> {
    let mut document: Map<String, Value> = parse("image configuration", bytes)?;
    document.remove(UNREAD);
    if let Some(config) = document.get_mut("config").and_then(Value::as_object_mut) {
        SETS.iter().for_each(|name| clean(config, name));
    }
    say(&mut document, "architecture", json!(host_architecture()));
    say(&mut document, "os", json!("linux"));
    say(&mut document, "rootfs", json!({}));
    if let Some(rootfs) = document.get_mut("rootfs").and_then(Value::as_object_mut) {
        say(rootfs, "type", json!("layers"));
        say(rootfs, "diff_ids", json!([]));
    }
    serde_json::from_value(Value::Object(document))
        .map_err(|error| ImageError::malformed("image configuration", error.to_string()))
}

/// Leaves of a set its members only; what is no set goes.
fn clean(config: &mut Map<String, Value>, name: &str) {
    match config.get_mut(name) {
        Some(Value::Object(set)) => set.values_mut().for_each(|value| *value = json!({})),
        _ => drop(config.remove(name)),
    }
}

/// Sets what is not there: absent, null and empty are the same to Go, which wrote it.
fn say(document: &mut Map<String, Value>, name: &str, value: Value) {
    let unsaid = |value: &Value| value.is_null() || value.as_str() == Some("");
    if document.get(name).is_none_or(unsaid) {
        document.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault C4: a configuration without architecture; and its kind.
    #[test]
    fn what_old_builders_leave_out_goes_without_saying() {
        for text in [
            r#"{}"#,
            r#"{"architecture": "", "os": null, "rootfs": {"type": "layers"}, "config": null}"#,
            r#"{"rootfs": {"type": "layers", "diff_ids": null}, "history": [{"created": 7}]}"#,
            r#"{"config": {"Volumes": {"/x": null}, "ExposedPorts": ["80"], "Env": null, "Cmd": null}}"#,
        ] {
            let config = read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(config.architecture().to_string(), host_architecture(), "{text}");
            assert_eq!((config.os().to_string().as_str(), config.rootfs().diff_ids().len()), ("linux", 0), "{text}");
        }
        for text in ["[]", r#"{"config": {"Cmd": "sh"}}"#, r#"{"rootfs": 7}"#] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
