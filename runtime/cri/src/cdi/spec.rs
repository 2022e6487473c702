//! What a file says (CDI, SPEC.md): read whole, and refused by field where it says what the specification does not know.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// Versions of the specification.
const VERSIONS: [&str; 10] = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Yaml,
}

/// A vendor's devices of one class.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Spec {
    cdi_version: String,
    /// `vendor.com/class`
    pub(crate) kind: String,
    /// For people.
    #[serde(default)]
    #[serde(rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) devices: Vec<Device>,
    /// For whoever gets any of the devices.
    #[serde(default)]
    pub(crate) container_edits: Edits,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Device {
    pub(crate) name: String,
    #[serde(default)]
    #[serde(rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    pub(crate) container_edits: Edits,
}

/// What becomes of a container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Edits {
    /// `NAME=VALUE`
    pub(crate) env: Vec<String>,
    pub(crate) device_nodes: Vec<Node>,
    pub(crate) net_devices: Vec<NetDevice>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) hooks: Vec<Hook>,
    #[serde(rename = "additionalGids")]
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) intel_rdt: Option<Map<String, Value>>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Node {
    /// In the container.
    pub(crate) path: String,
    /// On the host, where it has another path there.
    pub(crate) host_path: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<NodeKind>,
    pub(crate) major: Option<i64>,
    pub(crate) minor: Option<i64>,
    pub(crate) file_mode: Option<u32>,
    /// Of `r`, `w` and `m`.
    #[serde(default)]
    pub(crate) permissions: String,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// Kinds of nodes, by their letters in mknod(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum NodeKind {
    #[serde(rename = "b")]
    Block,
    #[serde(rename = "c")]
    Character,
    #[serde(rename = "u")]
    Unbuffered,
    #[serde(rename = "p")]
    Fifo,
}

/// An interface of the host that the container gets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NetDevice {
    pub(crate) host_interface_name: String,
    pub(crate) name: String,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mount {
    pub(crate) host_path: String,
    pub(crate) container_path: String,
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) options: Vec<String>,
}

/// A program of the host that the OCI runtime runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Hook {
    pub(crate) hook_name: HookName,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<String>,
    pub(crate) timeout: Option<i64>,
}

/// When it runs (OCI runtime-spec, config, POSIX-platform Hooks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum HookName {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl HookName {
    /// As `config.json` has it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

impl Spec {
    /// Reads a file's text.
    pub(crate) fn read(text: &str, form: Form) -> Result<Self, String> {
        let value: Value = match form {
            Form::Json => serde_json::from_str(text).map_err(|error| error.to_string())?,
            Form::Yaml => from_yaml(text)?,
        };
        let spec: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), String> {
        if !VERSIONS.contains(&self.cdi_version.trim_start_matches('v')) {
            return Err(format!("cdiVersion: `{}` is not known", self.cdi_version));
        }
        let (vendor, class) = self.kind.split_once('/').unwrap_or((&self.kind, ""));
        if !is_name(vendor, "-_.") || !is_name(class, "-_") || !starts_with_letter(vendor) || !starts_with_letter(class)
        {
            return Err(format!("kind: `{}` is not of the form vendor.com/class", self.kind));
        }
        if self.devices.is_empty() {
            return Err("devices: there is none".to_owned());
        }
        self.container_edits.check().map_err(|why| format!("containerEdits.{why}"))?;
        for (index, device) in self.devices.iter().enumerate() {
            let name = &device.name;
            if !is_name(name, "-_.:") {
                return Err(format!("devices[{index}].name: `{name}` is no name"));
            }
            if self.devices[..index].iter().any(|other| other.name == *name) {
                return Err(format!("devices[{index}].name: `{name}` appears twice"));
            }
            device.container_edits.check().map_err(|why| format!("devices[{index}].containerEdits.{why}"))?;
        }
        Ok(())
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        if let Some(index) = self.env.iter().position(|pair| !pair.contains('=') || pair.starts_with('=')) {
            return Err(format!("env[{index}]: `{}` is not of the form NAME=VALUE", self.env[index]));
        }
        for (index, node) in self.device_nodes.iter().enumerate() {
            let at = |field: &str| format!("deviceNodes[{index}].{field}");
            if !node.path.starts_with('/') {
                return Err(format!("{}: `{}` is not absolute", at("path"), node.path));
            }
            if node.permissions.chars().any(|letter| !"rwm".contains(letter)) {
                return Err(format!("{}: `{}` is not of r, w and m", at("permissions"), node.permissions));
            }
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            if mount.host_path.is_empty() || !mount.container_path.starts_with('/') {
                return Err(format!("mounts[{index}]: hostPath and an absolute containerPath are needed"));
            }
        }
        match self.hooks.iter().position(|hook| !hook.path.starts_with('/')) {
            Some(index) => Err(format!("hooks[{index}].path: `{}` is not absolute", self.hooks[index].path)),
            None => Ok(()),
        }
    }
}

fn starts_with_letter(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic())
}

/// Letters and digits at both ends, and `others` between them.
fn is_name(name: &str, others: &str) -> bool {
    let end = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let inner = |letter: char| letter.is_ascii_alphanumeric() || others.contains(letter);
    end(name.chars().next()) && end(name.chars().next_back()) && name.chars().all(inner)
}

/// The one document of a YAML text, as JSON has it.
fn from_yaml(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    match documents.as_slice() {
        [only] => value(only),
        other => Err(format!("expected one document, found {}", other.len())),
    }
}

fn value(node: &Yaml<'_>) -> Result<Value, String> {
    match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Ok(Value::Null),
            Scalar::Boolean(flag) => Ok(Value::Bool(*flag)),
            Scalar::Integer(number) => Ok(Value::Number((*number).into())),
            Scalar::FloatingPoint(number) => {
                let number = Number::from_f64(number.into_inner());
                number.map(Value::Number).ok_or_else(|| "a number that JSON does not know".to_owned())
            }
            Scalar::String(text) => Ok(Value::String(text.to_string())),
        },
        Yaml::Sequence(entries) => entries.iter().map(value).collect(),
        Yaml::Mapping(entries) => {
            let pair = |(key, entry): (&Yaml<'_>, &Yaml<'_>)| {
                let key = key.as_str().ok_or_else(|| "a key that is no text".to_owned())?;
                Ok((key.to_owned(), value(entry)?))
            };
            entries.iter().map(pair).collect::<Result<Map<_, _>, String>>().map(Value::Object)
        }
        _ => Err("tags and aliases are not understood".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const YAML: &str = "
cdiVersion: 0.6.0
kind: acme.com/gpu
containerEdits:
  env: [\"A=1\"]
devices:
  - name: gpu0
    containerEdits:
      deviceNodes:
        - path: /dev/acme0
          permissions: rw
      mounts:
        - {hostPath: /lib/acme, containerPath: /usr/lib/acme, options: [ro, bind]}
      hooks:
        - {hookName: createContainer, path: /bin/acme-hook, args: [acme-hook, x]}
";

    #[test]
    fn both_forms_say_the_same() {
        let yaml = Spec::read(YAML, Form::Yaml).unwrap();
        let edits = json!({
            "deviceNodes": [{"path": "/dev/acme0", "permissions": "rw"}],
            "mounts": [{"hostPath": "/lib/acme", "containerPath": "/usr/lib/acme", "options": ["ro", "bind"]}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/acme-hook", "args": ["acme-hook", "x"]}],
        });
        let json = json!({"cdiVersion": "0.6.0", "kind": "acme.com/gpu", "containerEdits": {"env": ["A=1"]},
            "devices": [{"name": "gpu0", "containerEdits": edits}]});
        assert_eq!(yaml, Spec::read(&json.to_string(), Form::Json).unwrap());
    }

    #[test]
    fn what_the_specification_does_not_know_is_refused_by_field() {
        let good = json!({"cdiVersion": "0.6.0", "kind": "acme.com/gpu",
            "devices": [{"name": "a", "containerEdits": {"env": ["A=1"]}}]});
        for (pointer, value, expected) in [
            ("/cdiVersion", json!("9.0.0"), "cdiVersion: `9.0.0` is not known"),
            ("/kind", json!("gpu"), "kind: `gpu` is not of the form vendor.com/class"),
            ("/devices", json!([]), "devices: there is none"),
            ("/devices/0/name", json!("-a"), "devices[0].name: `-a` is no name"),
            ("/devices/0/containerEdits/env/0", json!("A"), "devices[0].containerEdits.env[0]: `A` is not of the form"),
            ("/devices/0/containerEdits", json!({"mount": []}), "unknown field `mount`"),
        ] {
            let mut wrong = good.clone();
            *wrong.pointer_mut(pointer).unwrap() = value;
            let refused = Spec::read(&wrong.to_string(), Form::Json).unwrap_err();
            assert!(refused.contains(expected), "{pointer}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\\n]{0,200}", form in prop_oneof![Just(Form::Json), Just(Form::Yaml)]) {
            let _either_way = Spec::read(&text, form);
        }
    }
}
