//! Which plugins there are: a file or a folder of files of `kubelet.config.k8s.io/v1`, kind `CredentialProviderConfig`.

use serde::Deserialize;
use skiff_proto::duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Versions of the words between kubelet and plugin.
const VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
];

/// Why plugins cannot be taken as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder cannot be read.
    #[error("read {}: {source}", .path.display())]
    Read {
        /// Of the file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {why}", .path.display())]
    Malformed {
        /// Of the file.
        path: PathBuf,
        /// Which field, and what is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    providers: Vec<ProviderConfig>,
}

/// One plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// The name of its program in the plugins' folder.
    pub name: String,
    /// For which images it is asked.
    pub match_images: Vec<String>,
    /// How long an answer holds that does not say so, as text.
    #[serde(default)]
    pub default_cache_duration: String,
    /// The version of its words.
    pub api_version: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables besides the kubelet's own.
    #[serde(default)]
    pub env: Vec<Variable>,
    /// Which token of the pod's service account it is given.
    #[serde(default)]
    pub token_attributes: Option<Attributes>,
}

/// A variable of a plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Of the token that a plugin gets.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attributes {
    /// For whom it is.
    pub service_account_token_audience: String,
    /// `ServiceAccount`: answers are kept for all pods of an account. `Token`: for one token only.
    #[serde(default)]
    pub cache_type: String,
    /// Whether the plugin is asked for pods with an account only.
    pub require_service_account: bool,
    /// Annotations that the account must have for the plugin to be asked, and that are passed on.
    #[serde(default)]
    pub required_service_account_annotation_keys: Vec<String>,
    /// Annotations that are passed on if the account has them.
    #[serde(default)]
    pub optional_service_account_annotation_keys: Vec<String>,
}

impl ProviderConfig {
    /// How long an answer holds that does not say so.
    pub(crate) fn cache_duration(&self) -> Duration {
        duration::parse(&self.default_cache_duration).unwrap_or_default()
    }
}

/// The plugins of a file, or of all `.json`, `.yaml` and `.yml` files of a folder in the order of their names.
pub(crate) fn read(path: &Path) -> Result<Vec<ProviderConfig>, ConfigError> {
    let mut all: BTreeMap<String, ()> = BTreeMap::new();
    let mut providers = Vec::new();
    for file in files(path)? {
        let text = fs::read_to_string(&file).map_err(|source| ConfigError::Read { path: file.clone(), source })?;
        let found = parse(&text).map_err(|why| ConfigError::Malformed { path: file.clone(), why })?;
        for provider in found {
            if all.insert(provider.name.clone(), ()).is_some() {
                let why = format!("providers.name: Duplicate value: \"{}\"", provider.name);
                return Err(ConfigError::Malformed { path: file, why });
            }
            providers.push(provider);
        }
    }
    Ok(providers)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(failed)?.flatten().map(|entry| entry.path());
    let is_ours = |file: &PathBuf| {
        let kind = file.extension().and_then(|kind| kind.to_str());
        matches!(kind, Some("json" | "yaml" | "yml")) && !file.is_dir()
    };
    let mut files: Vec<_> = entries.filter(is_ours).collect();
    files.sort();
    if files.is_empty() {
        let why = "no configuration files found in the folder".to_owned();
        return Err(ConfigError::Malformed { path: path.to_owned(), why });
    }
    Ok(files)
}

fn parse(text: &str) -> Result<Vec<ProviderConfig>, String> {
    let file: File = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    let known = ["v1", "v1beta1", "v1alpha1"]
        .iter()
        .any(|version| file.api_version == format!("kubelet.config.k8s.io/{version}"));
    if !known || file.kind != "CredentialProviderConfig" {
        let found = format!("{}, {}", file.api_version, file.kind);
        return Err(format!("expected kubelet.config.k8s.io/v1, CredentialProviderConfig, found {found}"));
    }
    if file.providers.is_empty() {
        return Err("providers: Required value: at least 1 item in plugins is required".to_owned());
    }
    file.providers.iter().try_for_each(check)?;
    Ok(file.providers)
}

fn check(provider: &ProviderConfig) -> Result<(), String> {
    let name = &provider.name;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', ' ']) {
        return Err(format!(
            "providers.name: Invalid value: \"{name}\": expected the name of a file, without '/' and spaces"
        ));
    }
    if !VERSIONS.contains(&provider.api_version.as_str()) {
        let (given, known) = (&provider.api_version, VERSIONS.join("\", \""));
        return Err(format!("providers.apiVersion: Unsupported value: \"{given}\": supported values: \"{known}\""));
    }
    if provider.match_images.is_empty() {
        return Err("providers.matchImages: Required value: at least 1 item in matchImages is required".to_owned());
    }
    match provider.default_cache_duration.as_str() {
        "" => return Err("providers.defaultCacheDuration: Required value".to_owned()),
        text if duration::parse(text).is_none() => {
            return Err(format!(
                "providers.defaultCacheDuration: Invalid value: \"{text}\": expected a time such as 12h or 0s"
            ));
        }
        _ => {}
    }
    provider.token_attributes.as_ref().map_or(Ok(()), |attributes| check_token(provider, attributes))
}

fn check_token(provider: &ProviderConfig, attributes: &Attributes) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("providers.tokenAttributes{what}"));
    if attributes.service_account_token_audience.is_empty() {
        return wrong(".serviceAccountTokenAudience: Required value");
    }
    if provider.api_version != VERSIONS[0] {
        return wrong(&format!(": Forbidden: tokenAttributes is only supported for {} API version", VERSIONS[0]));
    }
    let required: BTreeSet<_> = attributes.required_service_account_annotation_keys.iter().collect();
    let optional: BTreeSet<_> = attributes.optional_service_account_annotation_keys.iter().collect();
    if !attributes.require_service_account && !required.is_empty() {
        let why = "requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set";
        return wrong(&format!(".requiredServiceAccountAnnotationKeys: Forbidden: {why}"));
    }
    if let Some(both) = required.intersection(&optional).next() {
        return wrong(&format!(": Invalid value: \"{both}\": annotation keys cannot be both required and optional"));
    }
    match attributes.cache_type.as_str() {
        "ServiceAccount" | "Token" => Ok(()),
        "" => wrong(".cacheType: Required value: ServiceAccount or Token"),
        other => wrong(&format!(
            ".cacheType: Unsupported value: \"{other}\": supported values: \"ServiceAccount\", \"Token\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn provider() -> Value {
        json!({"name": "ecr", "matchImages": ["*.io"], "defaultCacheDuration": "12h", "apiVersion": VERSIONS[0], "args": ["get"],
            "env": [{"name": "A", "value": "b"}]})
    }

    fn with(changes: Value) -> Result<Vec<ProviderConfig>, String> {
        let mut one = provider();
        for (key, value) in changes.as_object().unwrap() {
            one[key] = value.clone();
        }
        let file =
            json!({"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [one]});
        parse(&file.to_string())
    }

    #[test]
    fn what_is_whole_is_read() {
        let read = with(json!({})).unwrap().remove(0);
        assert_eq!((read.name.as_str(), read.cache_duration()), ("ecr", Duration::from_secs(12 * 3600)));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_field() {
        let token = |changes: Value| {
            let mut one =
                json!({"serviceAccountTokenAudience": "a", "cacheType": "Token", "requireServiceAccount": false});
            for (key, value) in changes.as_object().unwrap() {
                one[key] = value.clone();
            }
            json!({"tokenAttributes": one})
        };
        for (changes, field) in [
            (json!({"name": "../sh"}), "providers.name"),
            (json!({"matchImages": []}), "providers.matchImages"),
            (json!({"apiVersion": "v1"}), "providers.apiVersion"),
            (json!({"defaultCacheDuration": ""}), "providers.defaultCacheDuration: Required"),
            (json!({"defaultCacheDuration": "-1h"}), "providers.defaultCacheDuration: Invalid"),
            (json!({"matchImage": []}), "unknown field"),
            (token(json!({"cacheType": "Pod"})), "tokenAttributes.cacheType: Unsupported"),
            (token(json!({"cacheType": ""})), "tokenAttributes.cacheType: Required"),
            (token(json!({"serviceAccountTokenAudience": ""})), "serviceAccountTokenAudience: Required"),
            (token(json!({"requiredServiceAccountAnnotationKeys": ["a"]})), "requireServiceAccount cannot be false"),
        ] {
            let told = with(changes).unwrap_err();
            assert!(told.contains(field), "{told}");
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_names_and_no_name_twice() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let mut one = provider();
            one["name"] = json!(name);
            json!({"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [one]})
                .to_string()
        };
        assert!(read(dir.path()).unwrap_err().to_string().contains("no configuration files"));
        for (at, name) in [("b.yaml", "second"), ("a.json", "first"), ("c.txt", "none")] {
            fs::write(dir.path().join(at), file(name)).unwrap();
        }
        let names: Vec<_> = read(dir.path()).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["first", "second"]);
        fs::write(dir.path().join("d.yml"), file("first")).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().ends_with("providers.name: Duplicate value: \"first\""));
    }
}
