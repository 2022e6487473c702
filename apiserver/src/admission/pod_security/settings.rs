//! What administrators say of the standards at a start: `PodSecurityConfiguration` of `pod-security.admission.config.k8s.io/v1`.

use super::policy::{Level, Policy, Version};
use serde_json::{Map, Value};

/// Defaults for namespaces without labels, and who is looked at by nobody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(super) defaults: Policy,
    namespaces: Vec<String>,
    users: Vec<String>,
    runtime_classes: Vec<String>,
}

/// The group of the file, and the versions of it that say the same.
const GROUP: &str = "pod-security.admission.config.k8s.io/";

fn names(told: &Value, field: &str) -> Result<Vec<String>, String> {
    let list = &told["exemptions"][field];
    let entries = match list {
        Value::Null => return Ok(Vec::new()),
        Value::Array(entries) => entries,
        _ => return Err(format!("exemptions.{field} is no list")),
    };
    let mut names: Vec<String> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match entry.as_str().filter(|name| !name.is_empty()) {
            Some(name) if names.iter().any(|known| known == name) => {
                return Err(format!("exemptions.{field}[{index}]: Duplicate value: \"{name}\""));
            }
            Some(name) => names.push(name.to_owned()),
            None => return Err(format!("exemptions.{field}[{index}] is no name")),
        }
    }
    Ok(names)
}

impl Settings {
    /// Reads what the plugin is told; nothing, if it is told nothing.
    ///
    /// # Errors
    /// It is of another kind, says something that is not known, or asks for a level or version that does not exist: the field and why.
    pub(crate) fn parse(told: &Value) -> Result<Self, String> {
        if told.is_null() {
            return Ok(Self::default());
        }
        let version = told["apiVersion"].as_str().unwrap_or_default();
        let known = version.strip_prefix(GROUP).is_some_and(|version| matches!(version, "v1" | "v1beta1" | "v1alpha1"));
        if !known || told["kind"] != "PodSecurityConfiguration" {
            return Err(format!("is no PodSecurityConfiguration of {GROUP}v1"));
        }
        let mut defaults = Policy::default();
        let modes = [("enforce", &mut defaults.enforce), ("audit", &mut defaults.audit), ("warn", &mut defaults.warn)];
        for (mode, standard) in modes {
            let said = |field: &str| told["defaults"][field].as_str().filter(|word| !word.is_empty());
            let refused =
                |field: &str, word: &str, why: &str| format!("defaults.{field}: Invalid value: \"{word}\": {why}");
            if let Some(word) = said(mode) {
                let (level, wrong) = Level::parse(word);
                wrong.map_or(Ok(()), |why| Err(refused(mode, word, why)))?;
                standard.level = level;
            }
            let field = format!("{mode}-version");
            if let Some(word) = said(&field) {
                let (version, wrong) = Version::parse(word);
                wrong.map_or(Ok(()), |why| Err(refused(&field, word, why)))?;
                standard.version = version;
            }
        }
        only(told, &["apiVersion", "kind", "defaults", "exemptions"], "")?;
        let modes = ["enforce", "enforce-version", "audit", "audit-version", "warn", "warn-version"];
        only(&told["defaults"], &modes, "defaults.")?;
        only(&told["exemptions"], &["namespaces", "usernames", "runtimeClasses"], "exemptions.")?;
        Ok(Self {
            defaults,
            namespaces: names(told, "namespaces")?,
            users: names(told, "usernames")?,
            runtime_classes: names(told, "runtimeClasses")?,
        })
    }

    pub(super) fn spares_namespace(&self, name: &str) -> bool {
        self.namespaces.iter().any(|spared| spared == name)
    }

    pub(super) fn spares_user(&self, name: &str) -> bool {
        self.users.iter().any(|spared| spared == name)
    }

    /// By the class that runs a pod.
    pub(super) fn spares_class(&self, spec: &Value) -> bool {
        let class = spec["runtimeClassName"].as_str();
        class.is_some_and(|class| self.runtime_classes.iter().any(|spared| spared == class))
    }
}

/// Refuses what is not known, because it would be passed over in silence.
fn only(object: &Value, known: &[&str], path: &str) -> Result<(), String> {
    let mut fields = object.as_object().into_iter().flat_map(Map::keys);
    match fields.find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(format!("unknown field \"{path}{field}\"")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(defaults: &Value, exemptions: &Value) -> Value {
        json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": defaults, "exemptions": exemptions})
    }

    #[test]
    fn a_file_says_defaults_and_exemptions() {
        let read = Settings::parse(&told(
            &json!({"enforce": "baseline", "warn": "restricted", "warn-version": "v1.30"}),
            &json!({"namespaces": ["kube-system"], "usernames": ["u"], "runtimeClasses": ["vm"]}),
        ));
        let read = read.expect("it is right");
        assert_eq!(
            (read.defaults.enforce.to_string(), read.defaults.warn.to_string()),
            ("baseline:latest".to_owned(), "restricted:v1.30".to_owned())
        );
        assert!(read.spares_namespace("kube-system") && !read.spares_namespace("default"));
        assert!(read.spares_user("u") && read.spares_class(&json!({"runtimeClassName": "vm"})));
        assert!(!read.spares_class(&json!({})));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let none = json!({});
        let rows = [
            (
                told(&json!({"enforce": "strict"}), &none),
                "defaults.enforce: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
            ),
            (
                told(&json!({"audit-version": "1"}), &none),
                "defaults.audit-version: Invalid value: \"1\": must be \"latest\" or \"v1.x\"",
            ),
            (told(&none, &json!({"namespaces": ["a", "a"]})), "exemptions.namespaces[1]: Duplicate value: \"a\""),
            (told(&none, &json!({"users": []})), "unknown field \"exemptions.users\""),
            (json!({"kind": "x"}), "is no PodSecurityConfiguration of pod-security.admission.config.k8s.io/v1"),
        ];
        for (file, why) in rows {
            assert_eq!(Settings::parse(&file).err().as_deref(), Some(why), "{file}");
        }
    }
}
