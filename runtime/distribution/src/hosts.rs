//! Who is asked for a registry's images: containerd's `hosts.toml`, and what holds without one.
//!
//! `<folder>/<registry>/hosts.toml` (a port as `host:port` or `host_port_`), else `<folder>/_default/hosts.toml`, else the registry itself:
//! over TLS, in the open only on this machine's loopback. Read anew for each pull, so that a change needs no restart.

use crate::connect::{Agent, Certificates, Trust};
use crate::credentials::{AuthFile, Credentials};
use crate::error::{Kind, RegistryError};
use crate::realm::{Origin, host, is_loopback};
use crate::repository::Repository;
use crate::token::Tokens;
use crate::toml::{Table, Value, parse};
use http::{HeaderName, HeaderValue};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The registry whose address is not its name.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// The path of the interface (distribution-spec, "Endpoints").
const INTERFACE: &str = "/v2";

/// All registries, as this machine sees them. Cheap to clone; connections and tokens are shared.
#[derive(Debug, Clone, Default)]
pub struct Registries(Arc<Shared>);

#[derive(Debug, Default)]
pub(crate) struct Shared {
    hosts: Option<PathBuf>,
    files: AuthFile,
    pub(crate) agent: Agent,
    pub(crate) tokens: Tokens,
}

impl Registries {
    /// With the folder of `hosts.toml` files, and the files that hold credentials for callers who bring none.
    #[must_use]
    pub fn new(hosts: Option<PathBuf>, files: AuthFile) -> Self {
        Self(Arc::new(Shared { hosts, files, ..Shared::default() }))
    }

    /// The repository `path` of `registry` (as image names have it), with the caller's credentials for that registry.
    ///
    /// # Errors
    /// What this machine is told about the registry cannot be read.
    pub fn repository(
        &self,
        registry: &str,
        path: &str,
        credentials: Option<Credentials>,
    ) -> Result<Repository, RegistryError> {
        let mut endpoints = self.endpoints(registry)?;
        for endpoint in &mut endpoints {
            // The caller's are for the registry itself. A mirror is somebody else.
            let name = if endpoint.own { registry } else { endpoint.origin.authority.as_str() };
            endpoint.credentials = match &credentials {
                Some(given) if endpoint.own => Some(given.clone()),
                _ => self.0.files.find(name, path)?,
            };
        }
        Ok(Repository::new(Arc::clone(&self.0), registry, path, endpoints))
    }

    fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, RegistryError> {
        let Some((file, text)) = self.file_for(registry)? else { return default_endpoints(registry) };
        let bad = |reason: String| RegistryError::new(Kind::Configuration, format!("{}: {reason}", file.display()));
        let said = parse(&text).and_then(|table| read(registry, &table)).map_err(bad)?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        said.into_iter().map(|one| one.load(folder).map_err(bad)).collect()
    }

    fn file_for(&self, registry: &str) -> Result<Option<(PathBuf, String)>, RegistryError> {
        let Some(folder) = &self.0.hosts else { return Ok(None) };
        let plain = registry.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        if !plain || registry.starts_with('.') {
            return Err(RegistryError::new(
                Kind::Configuration,
                format!("registry `{}` is no host", registry.escape_debug()),
            ));
        }
        let other = registry.rsplit_once(':').map(|(host, port)| format!("{host}_{port}_"));
        for name in [Some(registry.to_owned()), other, Some("_default".to_owned())].into_iter().flatten() {
            let file = folder.join(name).join("hosts.toml");
            match std::fs::read_to_string(&file) {
                Ok(text) => return Ok(Some((file, text))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(RegistryError::new(Kind::Configuration, format!("read {}: {error}", file.display())));
                }
            }
        }
        Ok(None)
    }
}

/// Somebody who is asked.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) origin: Origin,
    /// `/v2`, or what stands in its place.
    pub(crate) prefix: String,
    pub(crate) does: Does,
    pub(crate) trust: Trust,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Hosts that may be asked for tokens beside those that the names allow.
    pub(crate) realms: Vec<String>,
    /// Whether it is the registry itself.
    pub(crate) own: bool,
    pub(crate) credentials: Option<Credentials>,
}

/// What an endpoint is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Does {
    /// Content by digest.
    pub(crate) pull: bool,
    /// What a tag stands for.
    pub(crate) resolve: bool,
    pub(crate) push: bool,
}

const EVERYTHING: Does = Does { pull: true, resolve: true, push: true };

fn default_endpoints(registry: &str) -> Result<Vec<Endpoint>, RegistryError> {
    let authority = if registry == HUB.0 { HUB.1 } else { registry };
    // On the loopback either may answer, and nobody else listens.
    let schemes: &[bool] = if is_loopback(host(authority)) { &[false, true] } else { &[true] };
    let endpoint = |https: &bool| {
        let origin = Origin { https: *https, authority: authority.to_ascii_lowercase() };
        let said = Said { origin, prefix: INTERFACE.to_owned(), own: true, ..Said::default() };
        said.load(Path::new("/")).map_err(|reason| RegistryError::new(Kind::Configuration, reason))
    };
    schemes.iter().map(endpoint).collect()
}

/// What a file says of one endpoint.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    origin: Origin,
    prefix: String,
    does: Does,
    certificates: Certificates,
    headers: Vec<(String, String)>,
    realms: Vec<String>,
    own: bool,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            origin: Origin { https: true, authority: String::new() },
            prefix: String::new(),
            does: EVERYTHING,
            certificates: Certificates::default(),
            headers: Vec::new(),
            realms: Vec::new(),
            own: false,
        }
    }
}

impl Said {
    fn load(self, folder: &Path) -> Result<Endpoint, String> {
        let header = |(name, value): &(String, String)| {
            let bad = || format!("header `{}` cannot be sent", name.escape_debug());
            Ok::<_, String>((
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?,
                HeaderValue::from_str(value).map_err(|_| bad())?,
            ))
        };
        Ok(Endpoint {
            headers: self.headers.iter().map(header).collect::<Result<_, _>>()?,
            trust: Trust::load(&self.certificates, folder)?,
            origin: self.origin,
            prefix: self.prefix,
            does: self.does,
            realms: self.realms,
            own: self.own,
            credentials: None,
        })
    }
}

/// The endpoints that a file names, in its order, and last the registry itself or the server in its place. Pure.
fn read(registry: &str, table: &Table) -> Result<Vec<Said>, String> {
    let own = Origin { https: true, authority: if registry == HUB.0 { HUB.1 } else { registry }.to_ascii_lowercase() };
    let mut all = Vec::new();
    if let Some(Value::Table(hosts)) = table.get("host") {
        for (url, settings) in &hosts.0 {
            let Value::Table(settings) = settings else { return Err(format!("host `{url}` is no table")) };
            all.push(one(url, settings, &own).map_err(|reason| format!("host `{url}`: {reason}"))?);
        }
    }
    let server = match table.get("server") {
        Some(Value::Text(url)) => url.clone(),
        Some(_) => return Err("server: it is no text".to_owned()),
        None => own.url(),
    };
    let server = one(&server, table, &own).map_err(|reason| format!("server: {reason}"))?;
    if !all.iter().any(|other| other.origin == server.origin) {
        all.push(Said { own: true, ..server });
    }
    Ok(all)
}

fn one(url: &str, settings: &Table, registry: &Origin) -> Result<Said, String> {
    let text = if url.contains("://") { url.to_owned() } else { format!("{}{url}", scheme_of(url)) };
    let origin = Origin::of(&text).ok_or("it is no http or https URL")?;
    let path = text.splitn(4, '/').nth(3).unwrap_or_default().trim_end_matches('/');
    if path.contains(['?', '#']) || path.split('/').any(|part| part == "..") {
        return Err("its path has what no path of a registry has".to_owned());
    }
    let as_is = boolean(settings, "override_path")?;
    let prefix = match path {
        "" if as_is => String::new(),
        "" => INTERFACE.to_owned(),
        path if as_is || format!("/{path}").ends_with(INTERFACE) => format!("/{path}"),
        path => format!("/{path}{INTERFACE}"),
    };
    let certificates = Certificates {
        authorities: texts(settings, "ca")?.into_iter().map(PathBuf::from).collect(),
        own: clients(settings)?,
        anyone: boolean(settings, "skip_verify")?,
    };
    let own = origin.authority == registry.authority;
    let (does, headers, realms) = (does(settings)?, headers(settings)?, texts(settings, "realms")?);
    Ok(Said { origin, prefix, does, certificates, headers, realms, own })
}

fn scheme_of(authority: &str) -> &'static str {
    if is_loopback(host(authority.split('/').next().unwrap_or_default())) { "http://" } else { "https://" }
}

fn does(settings: &Table) -> Result<Does, String> {
    if settings.get("capabilities").is_none() {
        return Ok(EVERYTHING);
    }
    let mut does = Does { pull: false, resolve: false, push: false };
    for word in texts(settings, "capabilities")? {
        match word.as_str() {
            "pull" => does.pull = true,
            "resolve" => does.resolve = true,
            "push" => does.push = true,
            other => return Err(format!("capabilities: `{other}` is not pull, resolve or push")),
        }
    }
    Ok(does)
}

fn boolean(settings: &Table, key: &str) -> Result<bool, String> {
    match settings.get(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(format!("{key}: it is neither true nor false")),
    }
}

/// A text, or a list of texts.
fn texts(settings: &Table, key: &str) -> Result<Vec<String>, String> {
    let bad = || format!("{key}: it is neither a text nor a list of texts");
    match settings.get(key) {
        None => Ok(Vec::new()),
        Some(value) => of_texts(value).ok_or_else(bad),
    }
}

fn of_texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    match value {
        Value::List(list) => list.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

/// `client`: a file with certificate and key, or pairs of files.
fn clients(settings: &Table) -> Result<Option<(PathBuf, PathBuf)>, String> {
    let bad = || "client: it is neither a file nor a pair of files".to_owned();
    let value = match settings.get("client") {
        None => return Ok(None),
        Some(Value::List(list)) if matches!(list.first(), Some(Value::List(_))) => list.first().ok_or_else(bad)?,
        Some(value) => value,
    };
    match &of_texts(value).ok_or_else(bad)?[..] {
        [both] => Ok(Some((both.into(), both.into()))),
        [certificate, key] => Ok(Some((certificate.into(), key.into()))),
        _ => Err(bad()),
    }
}

fn headers(settings: &Table) -> Result<Vec<(String, String)>, String> {
    let Some(value) = settings.get("header") else { return Ok(Vec::new()) };
    let Value::Table(table) = value else { return Err("header: it is no table".to_owned()) };
    let mut headers = Vec::new();
    for (name, value) in &table.0 {
        let values =
            of_texts(value).ok_or_else(|| format!("header {name}: it is neither a text nor a list of texts"))?;
        headers.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(registry: &str, text: &str) -> Vec<String> {
        let said =
            parse(text).and_then(|table| read(registry, &table)).unwrap_or_else(|error| panic!("{text}: {error}"));
        said.iter()
            .map(|one| format!("{}{}{}", one.origin.url(), one.prefix, if one.own { " own" } else { "" }))
            .collect()
    }

    #[test]
    fn mirrors_come_first_and_the_registry_last() {
        let text = "[host.\"https://m1.example\"]\n[host.\"http://m2.example:5000/proxy\"]\n[host.\"m3.example/x/v2\"]\n\
            [host.\"https://m4.example/raw\"]\noverride_path = true\n[host.\"localhost:5000\"]\n";
        assert_eq!(
            urls("docker.io", text),
            [
                "https://m1.example/v2",
                "http://m2.example:5000/proxy/v2",
                "https://m3.example/x/v2",
                "https://m4.example/raw",
                "http://localhost:5000/v2",
                "https://registry-1.docker.io/v2 own",
            ]
        );
        assert_eq!(urls("a.example", "server = \"http://a.example:80\""), ["http://a.example:80/v2 own"]);
        assert_eq!(
            urls("a.example", "[host.\"http://a.example\"]"),
            ["http://a.example/v2 own", "https://a.example/v2 own"]
        );
    }

    #[test]
    fn settings_are_read_and_mistakes_named() {
        let text = "[host.\"https://m\"]\ncapabilities = [\"pull\"]\nca = [\"a.pem\"]\nclient = [[\"c\", \"k\"]]\nskip_verify = true\n\
            realms = \"auth.example\"\n[host.\"https://m\".header]\nx = [\"1\", \"2\"]";
        let said = read("r.example", &parse(text).unwrap()).unwrap();
        assert_eq!(said[0].does, Does { pull: true, resolve: false, push: false });
        assert_eq!(said[0].certificates.own, Some(("c".into(), "k".into())));
        assert!(said[0].certificates.anyone && !said[1].certificates.anyone);
        assert_eq!((said[0].headers.len(), &said[0].realms[..]), (2, &["auth.example".to_owned()][..]));
        for (text, reason) in [
            ("server = 1", "server: it is no text"),
            ("[host.\"ftp://x\"]", "host `ftp://x`: it is no http or https URL"),
            ("[host.\"https://x\"]\ncapabilities = [\"fly\"]", "`fly` is not pull, resolve or push"),
            ("[host.\"https://x\"]\nskip_verify = \"yes\"", "skip_verify: it is neither true nor false"),
            ("[host.\"https://x/../y\"]", "its path"),
        ] {
            let error = parse(text).and_then(|table| read("r.example", &table)).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn files_are_found_by_the_registrys_name() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, server: &str| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("hosts.toml"), format!("server = \"{server}\"")).unwrap();
        };
        put("_default", "http://default.example");
        put("a.example_5000_", "http://a.example");
        put("b.example:5000", "http://b.example");
        let registries = Registries::new(Some(dir.path().to_owned()), AuthFile::default());
        let first = |registry: &str| registries.endpoints(registry).map(|all| all[0].origin.authority.clone());
        assert_eq!(first("a.example:5000").unwrap(), "a.example");
        assert_eq!(first("b.example:5000").unwrap(), "b.example");
        assert_eq!(first("c.example").unwrap(), "default.example");
        for bad in ["../x", "a/b", "..", "a\0"] {
            assert!(first(bad).is_err(), "{bad:?}");
        }
        let plain = Registries::default().endpoints("127.0.0.1:5000").unwrap();
        assert_eq!(
            plain.iter().map(|one| one.origin.url()).collect::<Vec<_>>(),
            ["http://127.0.0.1:5000", "https://127.0.0.1:5000"]
        );
    }
}
