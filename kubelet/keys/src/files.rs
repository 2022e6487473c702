//! What was issued, on disk: a kubeconfig with the client's certificate and key in it, and a file with those of the server. Only their
//! owner may read them, and a crash leaves the old one or the new one.

use crate::{KeysError, Places, text};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};
use skiff_authn::certificate::{names, validity as validity_of};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A certificate with its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    /// Reads what [`Pair::write`] wrote; `None`: nothing was.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, KeysError> {
        // The certificate comes first.
        let split = |text: String| {
            let at = text.rfind("-----BEGIN PRIVATE KEY-----")?;
            Some(Self { certificate: text.get(..at)?.to_owned(), key: text.get(at..)?.to_owned() })
        };
        Ok(read(path)?.and_then(split))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), KeysError> {
        write(path, &format!("{}{}", self.certificate, self.key))
    }

    /// From when until when it holds, in seconds since 1970.
    pub(crate) fn validity(&self) -> Option<(i64, i64)> {
        validity_of(self.certificate.as_bytes())
    }

    /// Whether it is for all of `places`.
    pub(crate) fn is_for(&self, places: &Places) -> bool {
        let Some((dns, ips)) = names(self.certificate.as_bytes()) else { return false };
        places.names.iter().all(|name| dns.contains(name)) && places.ips.iter().all(|ip| ips.contains(ip))
    }
}

/// The kubeconfig at `path`, as it is written; `None`: there is none.
pub(crate) fn read_kubeconfig(path: &Path) -> Result<Option<Value>, KeysError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let parsed = serde_norway::from_str(&text);
    parsed.map(Some).map_err(|error| KeysError::Kubeconfig { path: path.to_owned(), problem: error.to_string() })
}

/// From when until when the first user's certificate holds.
pub(crate) fn validity(kubeconfig: &Value) -> Option<(i64, i64)> {
    let data = text(&kubeconfig["users"][0]["user"]["client-certificate-data"]);
    validity_of(&BASE64.decode(data).ok()?)
}

/// A kubeconfig that leads where the one at `path` leads, without its user, and without a word of other files.
pub(crate) fn template(path: &Path) -> Result<Value, KeysError> {
    let wrong = |problem: &str| KeysError::Kubeconfig { path: path.to_owned(), problem: problem.to_owned() };
    let written = read_kubeconfig(path)?.ok_or_else(|| wrong("there is no such file"))?;
    let named = |list: &str, name: &str, part: &str| {
        let all = written[list].as_array().into_iter().flatten();
        all.into_iter().find(|one| one["name"] == name).map(|one| one[part].clone())
    };
    let context = named("contexts", text(&written["current-context"]), "context");
    let context = context.ok_or_else(|| wrong("it has no current context"))?;
    let cluster = named("clusters", text(&context["cluster"]), "cluster");
    let cluster = cluster.ok_or_else(|| wrong("its context has no cluster"))?;
    let authority = crate::authority(path)?;
    let cluster = json!({"server": cluster["server"], "certificate-authority-data": BASE64.encode(authority)});
    Ok(json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "default",
        "clusters": [{"name": "default", "cluster": cluster}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
    }))
}

/// Writes `kubeconfig` with the node and its certificate as its only user.
pub(crate) fn write_kubeconfig(path: &Path, mut kubeconfig: Value, node: &str, pair: &Pair) -> Result<(), KeysError> {
    let user = format!("system:node:{node}");
    for context in kubeconfig["contexts"].as_array_mut().into_iter().flatten() {
        context["context"]["user"] = user.as_str().into();
    }
    kubeconfig["users"] = json!([{"name": user, "user": {
        "client-certificate-data": BASE64.encode(&pair.certificate),
        "client-key-data": BASE64.encode(&pair.key),
    }}]);
    write(path, &format!("{kubeconfig:#}\n"))
}

fn read(path: &Path) -> Result<Option<String>, KeysError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeysError::File { operation: "read", path: path.to_owned(), source }),
    }
}

fn write(path: &Path, content: &str) -> Result<(), KeysError> {
    let temporary = path.with_extension("new");
    let work = || -> std::io::Result<()> {
        let mut file: File = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    work().map_err(|source| KeysError::File { operation: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use std::os::unix::fs::PermissionsExt;

    fn pair(names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    #[test]
    fn what_is_written_is_read_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubelet.pem");
        assert!(Pair::read(&path).unwrap().is_none());
        let pair = pair(&["n", "192.0.2.1"]);
        pair.write(&path).unwrap();
        assert!(Pair::read(&path).unwrap().unwrap() == pair);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let places = |names: &[&str], ips: &[&str]| Places {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        };
        assert!(pair.is_for(&places(&["n"], &["192.0.2.1"])));
        assert!(!pair.is_for(&places(&["n"], &["192.0.2.2"])), "the node has got another address");
        assert!(!pair.is_for(&places(&["m"], &[])));
    }

    #[test]
    fn a_node_goes_where_its_token_led() {
        let folder = tempfile::tempdir().unwrap();
        let (bootstrap, own) = (folder.path().join("bootstrap"), folder.path().join("own"));
        fs::write(folder.path().join("ca.crt"), "authority").unwrap();
        let text = "{current-context: b, contexts: [{name: b, context: {cluster: y, user: t}}],
            clusters: [{name: y, cluster: {server: 'https://192.0.2.1:6443', certificate-authority: ca.crt}}],
            users: [{name: t, user: {token: abcdef.0123456789abcdef}}]}";
        fs::write(&bootstrap, text).unwrap();
        write_kubeconfig(&own, template(&bootstrap).unwrap(), "n", &pair(&["n"])).unwrap();
        let written = read_kubeconfig(&own).unwrap().unwrap();
        assert_eq!(written["clusters"][0]["cluster"]["server"], "https://192.0.2.1:6443");
        assert_eq!(written["clusters"][0]["cluster"]["certificate-authority-data"], BASE64.encode("authority"));
        assert_eq!(written["contexts"][0]["context"]["user"], "system:node:n");
        assert!(!written.to_string().contains("abcdef"), "the token is not the node's");
        assert!(validity(&written).is_some());
        fs::write(&bootstrap, "{}").unwrap();
        assert!(template(&bootstrap).unwrap_err().to_string().ends_with("it has no current context"));
    }
}
