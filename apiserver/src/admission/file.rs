//! The file of `--admission-control-config-file` (`apiserver.config.k8s.io/v1` AdmissionConfiguration): what plugins are told at a start.

use crate::remote::trust::{ClientPair, Credentials, User};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What plugins are told, by name.
#[derive(Debug, Clone, Default)]
pub struct AdmissionFile {
    plugins: Vec<(String, Value)>,
    path: PathBuf,
}

/// Why a file is not usable: which one, and what is wrong in it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct AdmissionFileError {
    path: PathBuf,
    problem: String,
}

fn wrong(path: &Path, problem: impl Into<String>) -> AdmissionFileError {
    AdmissionFileError { path: path.to_owned(), problem: problem.into() }
}

fn read(path: &Path) -> Result<Value, AdmissionFileError> {
    let text = std::fs::read_to_string(path).map_err(|error| wrong(path, error.to_string()))?;
    serde_norway::from_str(&text).map_err(|error| wrong(path, error.to_string()))
}

/// What plugins may be told here.
const PLUGINS: [&str; 8] = [
    "EventRateLimit",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "PodNodeSelector",
    "PodSecurity",
    "PodTolerationRestriction",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

impl AdmissionFile {
    /// Reads the file, and those that it names.
    ///
    /// # Errors
    /// One of them cannot be read or is of another kind, or a plugin is told something that is not known here.
    pub fn read(path: &Path) -> Result<Self, AdmissionFileError> {
        let file = self::read(path)?;
        let kinds = ["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"];
        if file["kind"] != "AdmissionConfiguration" || !kinds.iter().any(|known| file["apiVersion"] == **known) {
            return Err(wrong(path, "is no AdmissionConfiguration of apiserver.config.k8s.io/v1"));
        }
        let mut plugins = Vec::new();
        for (index, plugin) in file["plugins"].as_array().into_iter().flatten().enumerate() {
            let name = plugin["name"].as_str().unwrap_or_default().to_owned();
            if !PLUGINS.contains(&&*name) {
                return Err(wrong(path, format!("plugins[{index}].name: {name:?} is told nothing here")));
            }
            let configuration = match plugin["path"].as_str().filter(|text| !text.is_empty()) {
                Some(beside) => self::read(&beside_file(path, beside))?,
                None => plugin["configuration"].clone(),
            };
            plugins.push((name, configuration));
        }
        Ok(Self { plugins, path: path.to_owned() })
    }

    /// What a plugin is told, as it reads that; `null`: nothing.
    pub(crate) fn told<T>(
        &self,
        plugin: &str,
        parse: fn(&Value) -> Result<T, String>,
    ) -> Result<T, AdmissionFileError> {
        let told = self.plugins.iter().find(|(name, _)| name == plugin).map(|(_, told)| told);
        parse(told.unwrap_or(&Value::Null)).map_err(|problem| wrong(&self.path, format!("plugin {plugin}: {problem}")))
    }

    /// That something in the folders that plugins are told of cannot be used.
    pub(crate) fn misled(&self, why: String) -> AdmissionFileError {
        wrong(&self.path, why)
    }

    /// That a plugin needs to be told something.
    pub(crate) fn lacks(&self, plugin: &str, what: &str) -> AdmissionFileError {
        wrong(&self.path, format!("plugin {plugin}: {what}"))
    }

    /// As whom the hooks of a plugin are asked.
    pub(crate) fn credentials(&self, plugin: &str) -> Result<Credentials, AdmissionFileError> {
        let told = self.plugins.iter().find(|(name, _)| name == plugin).map(|(_, told)| told);
        let kubeconfig = told.and_then(|told| told["kubeConfigFile"].as_str()).filter(|text| !text.is_empty());
        let Some(kubeconfig) = kubeconfig else { return Ok(Credentials::default()) };
        let path = beside_file(&self.path, kubeconfig);
        let file = read(&path)?;
        let users = file["users"].as_array().into_iter().flatten();
        let users = users.map(|entry| {
            let name = entry["name"].as_str().unwrap_or_default().to_owned();
            user(&entry["user"], &path).map(|user| (name, user))
        });
        Ok(Credentials::of(users.collect::<Result<_, _>>()?))
    }
}

fn beside_file(file: &Path, named: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(named)
}

fn user(user: &Value, path: &Path) -> Result<User, AdmissionFileError> {
    let certificate = pem(user, "client-certificate", path)?;
    let key = pem(user, "client-key", path)?;
    let authorization = match (user["token"].as_str(), user["username"].as_str(), user["tokenFile"].as_str()) {
        (Some(token), ..) if !token.is_empty() => Some(format!("Bearer {token}")),
        (_, Some(name), _) if !name.is_empty() => {
            let password = user["password"].as_str().unwrap_or_default();
            Some(format!("Basic {}", BASE64.encode(format!("{name}:{password}"))))
        }
        (_, _, Some(file)) if !file.is_empty() => {
            let file = beside_file(path, file);
            let token = std::fs::read_to_string(&file).map_err(|error| wrong(&file, error.to_string()))?;
            Some(format!("Bearer {}", token.trim()))
        }
        _ => None,
    };
    let pair = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ClientPair { certificate, key }),
        (None, None) => None,
        _ => return Err(wrong(path, "a user has a client certificate without its key, or a key alone")),
    };
    Ok(User { pair, authorization })
}

/// `field` names a file, `field-data` holds it in base64.
fn pem(user: &Value, field: &str, path: &Path) -> Result<Option<String>, AdmissionFileError> {
    if let Some(data) = user[format!("{field}-data")].as_str().filter(|text| !text.is_empty()) {
        let bytes = BASE64.decode(data).map_err(|error| wrong(path, format!("{field}-data: {error}")))?;
        return String::from_utf8(bytes).map(Some).map_err(|error| wrong(path, format!("{field}-data: {error}")));
    }
    let Some(named) = user[field].as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
    let file = beside_file(path, named);
    std::fs::read_to_string(&file).map(Some).map_err(|error| wrong(&file, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_asked_as_whom_a_kubeconfig_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write(
            "hooks.kubeconfig",
            "users: [{name: 'a.n.svc', user: {token: t}}, {name: '*', user: {username: u, password: p}}]",
        );
        write(
            "admission.yaml",
            "{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: ValidatingAdmissionWebhook, \
             configuration: {kubeConfigFile: hooks.kubeconfig}}]}",
        );
        let file = AdmissionFile::read(&folder.path().join("admission.yaml")).expect("a file");
        let credentials = file.credentials("ValidatingAdmissionWebhook").expect("credentials");
        let of = |host| credentials.for_server(host, 443).and_then(|user| user.authorization.as_deref());
        assert_eq!((of("a.n.svc"), of("b.example")), (Some("Bearer t"), Some("Basic dTpw")));
        let others = file.credentials("MutatingAdmissionWebhook").expect("none");
        assert!(others.for_server("a.n.svc", 443).is_none());
        write(
            "wrong.yaml",
            "{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: X}]}",
        );
        let why = AdmissionFile::read(&folder.path().join("wrong.yaml")).expect_err("an unknown plugin").to_string();
        assert!(why.ends_with("plugins[0].name: \"X\" is told nothing here"), "{why}");
    }
}
