//! One run of a plugin: a request on its standard input, an answer on its standard output (`credentialprovider.kubelet.k8s.io`).

use crate::config::ProviderConfig;
use serde::Deserialize;
use serde_json::json;
use skiff_proto::duration;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long a plugin may take (as the kubelet of Kubernetes has it).
const RUN_SECONDS_MAX: u64 = 60;

/// Users and passwords by the pattern of what they are for.
pub(crate) type Auths = BTreeMap<String, (String, String)>;

/// For what else an answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Scope {
    Image,
    Registry,
    Global,
}

/// What a plugin said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) scope: Scope,
    pub(crate) lasts: Option<Duration>,
    pub(crate) auths: Auths,
}

/// What a plugin is asked.
pub(crate) struct Question<'a> {
    /// A whole name, without tag and digest.
    pub(crate) image: &'a str,
    /// Of the pod's service account; empty without.
    pub(crate) token: &'a str,
    /// Of the same account.
    pub(crate) annotations: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: Scope,
    #[serde(default)]
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, Auth>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    username: String,
    password: String,
}

/// Asks the plugin.
pub(crate) async fn ask(folder: &Path, config: &ProviderConfig, question: &Question<'_>) -> Result<Answer, String> {
    let (name, image) = (&config.name, question.image);
    let wrong = |why: String| format!("run credential provider plugin {name} for image {image}: {why}");
    let work = run(folder, config, request(config, question));
    let ended = tokio::time::timeout(Duration::from_secs(RUN_SECONDS_MAX), work).await;
    let output = ended.map_err(|_| wrong(format!("it takes longer than {RUN_SECONDS_MAX} s")))?;
    let output = output.map_err(|error| wrong(error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(wrong(format!("{}: {}", output.status, words.trim())));
    }
    read(config, &output.stdout).map_err(wrong)
}

async fn run(folder: &Path, config: &ProviderConfig, request: Vec<u8>) -> std::io::Result<std::process::Output> {
    let mut command = Command::new(folder.join(&config.name));
    command.args(&config.args).envs(config.env.iter().map(|variable| (&variable.name, &variable.value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that answers without having read has closed its end, which is its right.
        let _may_be_closed = stdin.write_all(&request).await;
    }
    child.wait_with_output().await
}

fn request(config: &ProviderConfig, question: &Question<'_>) -> Vec<u8> {
    let mut request = json!({
        "kind": "CredentialProviderRequest", "apiVersion": config.api_version, "image": question.image,
    });
    if !question.token.is_empty() {
        request["serviceAccountToken"] = question.token.into();
    }
    if !question.annotations.is_empty() {
        request["serviceAccountAnnotations"] = json!(question.annotations);
    }
    format!("{request}\n").into_bytes()
}

/// Errors say nothing of the answer's bytes, which may be a password.
fn read(config: &ProviderConfig, bytes: &[u8]) -> Result<Answer, String> {
    let response: Response = serde_json::from_slice(bytes).map_err(|error| {
        format!("its answer is no CredentialProviderResponse: line {} column {}", error.line(), error.column())
    })?;
    if response.api_version != config.api_version || response.kind != "CredentialProviderResponse" {
        let expected = &config.api_version;
        return Err(format!("its answer is not of {expected}, kind CredentialProviderResponse"));
    }
    let lasts = match response.cache_duration.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            Some(duration::parse(text).ok_or_else(|| "cacheDuration: expected a time such as 12h".to_owned())?)
        }
    };
    let auths = response.auth.unwrap_or_default().into_iter();
    let auths = auths.map(|(key, auth)| (key, (auth.username, auth.password))).collect();
    Ok(Answer { scope: response.cache_key_type, lasts, auths })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn config() -> ProviderConfig {
        let config = json!({"name": "p", "matchImages": ["r.io"], "defaultCacheDuration": "0s",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1"});
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn what_is_asked_names_the_account_only_where_there_is_one() {
        let asked = |token: &str, annotations: &BTreeMap<String, String>| -> Value {
            serde_json::from_slice(&request(&config(), &Question { image: "r.io/a", token, annotations })).unwrap()
        };
        let bare = json!({"kind": "CredentialProviderRequest", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "image": "r.io/a"});
        assert_eq!(asked("", &BTreeMap::new()), bare);
        let full = asked("t", &BTreeMap::from([("role".to_owned(), "x".to_owned())]));
        assert_eq!(
            (&full["serviceAccountToken"], &full["serviceAccountAnnotations"]["role"]),
            (&json!("t"), &json!("x"))
        );
    }

    #[test]
    fn an_answer_is_of_the_version_that_was_asked_for() {
        let answer = |version: &str, scope: &str, lasts: Value| {
            let auth = json!({"r.io": {"username": "u", "password": "secret"}});
            let answer = json!({"kind": "CredentialProviderResponse", "apiVersion": version, "cacheKeyType": scope,
                "cacheDuration": lasts, "auth": auth});
            read(&config(), answer.to_string().as_bytes())
        };
        let version = "credentialprovider.kubelet.k8s.io/v1";
        let good = answer(version, "Registry", json!("6h")).unwrap();
        assert_eq!((good.scope, good.lasts), (Scope::Registry, Some(Duration::from_secs(6 * 3600))));
        assert_eq!(good.auths["r.io"], ("u".to_owned(), "secret".to_owned()));
        assert_eq!(answer(version, "Global", Value::Null).unwrap().lasts, None);
        for wrong in [
            answer("v2", "Image", Value::Null),
            answer(version, "Pod", Value::Null),
            answer(version, "Image", json!("x")),
        ] {
            assert!(!wrong.unwrap_err().contains("secret"));
        }
    }
}
