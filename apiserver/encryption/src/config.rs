//! Who encrypts what (`apiserver.config.k8s.io/v1` EncryptionConfiguration), read strictly and refused in Kubernetes' words.

use crate::GroupResource;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";
const AES_KEY_BYTES: [usize; 3] = [16, 24, 32];
const BOX_KEY_BYTES: [usize; 1] = [32];
/// How long a plugin may take if nothing is said.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);
/// What stands in the store and is no resource of the API.
const NO_RESOURCES: [&str; 3] = ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];

/// Rules, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The first that names a resource counts; later ones that name the same add providers that read.
    pub rules: Vec<Rule>,
}

/// Resources, and who reads and writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `*` stands for any.
    pub resources: Vec<GroupResource>,
    /// The first writes, all read.
    pub providers: Vec<Provider>,
}

/// Who reads and writes values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// AES in Galois/counter mode, bound to the path of the value.
    AesGcm(Vec<Key>),
    /// AES in cipher block chaining mode: nothing notices that a value was changed.
    AesCbc(Vec<Key>),
    /// XSalsa20 and Poly1305, not bound to the path.
    Secretbox(Vec<Key>),
    /// Nobody: values stand there as they are.
    Identity,
    /// A plugin that encrypts keys.
    Kms(Kms),
}

/// A key with a name, which stands before what it has encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The name.
    pub name: String,
    /// The key itself.
    pub secret: Vec<u8>,
}

impl fmt::Debug for Key {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A plugin (KMS v2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kms {
    /// It stands before what is encrypted with its help.
    pub name: String,
    /// The path of its socket.
    pub socket: String,
    /// How long a call may take.
    pub timeout: Duration,
}

/// Why a configuration is none: one sentence for each mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join(", "))]
pub struct ConfigurationError(Vec<String>);

/// Reads, and remembers what is wrong.
#[derive(Default)]
struct Reader {
    wrong: Vec<String>,
    plugins: BTreeSet<String>,
}

impl Configuration {
    /// Reads `value`.
    ///
    /// # Errors
    /// It is none, or one that Kubernetes refuses too; or it names a plugin of KMS v1, which Kubernetes has off.
    pub fn read(value: &Value) -> Result<Self, ConfigurationError> {
        if value["apiVersion"] != API_VERSION || value["kind"] != KIND {
            let (version, kind) = (&value["apiVersion"], &value["kind"]);
            return Err(ConfigurationError(vec![format!(
                "got unexpected config type: {version}, Kind={kind}, want {API_VERSION}, Kind={KIND}"
            )]));
        }
        let mut reader = Reader::default();
        let rules = reader.rules(value);
        if reader.wrong.is_empty() {
            reader.masked(&rules);
        }
        if reader.wrong.is_empty() { Ok(Self { rules }) } else { Err(ConfigurationError(reader.wrong)) }
    }
}

impl Reader {
    fn invalid(&mut self, at: &str, value: &Value, why: &str) {
        self.wrong.push(format!("{at}: Invalid value: {value}: {why}"));
    }

    fn required(&mut self, at: &str, why: &str) {
        self.wrong.push(format!("{at}: Required value: {why}"));
    }

    /// The fields of an object that may have only `known` ones.
    fn fields<'a>(&mut self, value: &'a Value, at: &str, known: &[&str]) -> Option<&'a Map<String, Value>> {
        let Some(fields) = value.as_object() else {
            self.wrong.push(format!("{at}: want an object"));
            return None;
        };
        let strange = fields.keys().filter(|key| !known.contains(&key.as_str()));
        self.wrong.extend(strange.map(|key| format!("strict decoding error: unknown field \"{at}.{key}\"")));
        Some(fields)
    }

    fn list<'a>(&mut self, value: &'a Value, at: &str) -> &'a [Value] {
        match value {
            Value::Null => &[],
            Value::Array(items) => items,
            _ => {
                self.wrong.push(format!("{at}: want a list"));
                &[]
            }
        }
    }

    fn text<'a>(&mut self, value: &'a Value, at: &str) -> &'a str {
        match value {
            Value::Null => "",
            Value::String(text) => text,
            _ => {
                self.wrong.push(format!("{at}: want a string"));
                ""
            }
        }
    }

    fn rules(&mut self, value: &Value) -> Vec<Rule> {
        self.fields(value, KIND, &["apiVersion", "kind", "resources"]);
        let entries = self.list(&value["resources"], "resources");
        if entries.is_empty() {
            self.required("resources", "at least one resources is required");
        }
        let mut rules = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let at = format!("resources[{index}]");
            if self.fields(entry, &at, &["resources", "providers"]).is_none() {
                continue;
            }
            let resources = self.resources(&entry["resources"], &format!("{at}.resources"));
            let at = format!("{at}.providers");
            let named = self.list(&entry["providers"], &at);
            if named.is_empty() {
                self.required(&at, &format!("at least one {at} is required"));
            }
            let providers = named.iter().enumerate();
            let providers =
                providers.filter_map(|(index, one)| self.provider(one, &format!("{at}[{index}]"))).collect();
            rules.push(Rule { resources, providers });
        }
        rules
    }

    fn resources(&mut self, value: &Value, at: &str) -> Vec<GroupResource> {
        let names = self.list(value, at);
        if names.is_empty() {
            self.required(at, &format!("at least one {at} is required"));
        }
        let mut resources = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let name = self.text(name, &at);
            let resource = GroupResource::parse(name);
            match unusable(name, &resource) {
                Some(why) => self.invalid(&at, &name.into(), why),
                None => resources.push(resource),
            }
        }
        let distinct: BTreeSet<&GroupResource> = resources.iter().collect();
        if distinct.len() < resources.len() {
            self.invalid(at, value, "the same resource cannot be specified multiple times");
        }
        let hides = |one: &GroupResource, other: &GroupResource| {
            one != other && (*one == GroupResource::any() || (one.group == other.group && one.resource == "*"))
        };
        if resources.iter().any(|one| resources.iter().any(|other| hides(one, other))) {
            let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed \
                       as they will be masked";
            self.invalid(at, value, why);
        }
        resources
    }

    fn provider(&mut self, value: &Value, at: &str) -> Option<Provider> {
        const KNOWN: [&str; 5] = ["kms", "aesgcm", "aescbc", "secretbox", "identity"];
        let fields = self.fields(value, at, &KNOWN)?;
        let given: Vec<&String> = fields.iter().filter(|(_, said)| !said.is_null()).map(|(name, _)| name).collect();
        let [name] = given[..] else {
            let why = match given.len() {
                0 => {
                    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
                }
                _ => "more than one provider specified in a single element, should split into different list elements",
            };
            // Keys stand in it.
            self.invalid(at, &json!("REDACTED"), why);
            return None;
        };
        let (said, at) = (&fields[name], format!("{at}.{name}"));
        match name.as_str() {
            "aesgcm" => Some(Provider::AesGcm(self.keys(said, &at, &AES_KEY_BYTES)?)),
            "aescbc" => Some(Provider::AesCbc(self.keys(said, &at, &AES_KEY_BYTES)?)),
            "secretbox" => Some(Provider::Secretbox(self.keys(said, &at, &BOX_KEY_BYTES)?)),
            "kms" => self.kms(said, &at).map(Provider::Kms),
            _ => self.fields(said, &at, &[]).map(|_| Provider::Identity),
        }
    }

    fn keys(&mut self, value: &Value, at: &str, lengths: &[usize]) -> Option<Vec<Key>> {
        self.fields(value, at, &["keys"])?;
        let at = format!("{at}.keys");
        let said = self.list(&value["keys"], &at);
        if said.is_empty() {
            self.required(&at, "at least one keys is required");
        }
        let keys = said.iter().enumerate();
        Some(keys.filter_map(|(index, key)| self.key(key, &format!("{at}[{index}]"), lengths)).collect())
    }

    fn key(&mut self, value: &Value, at: &str, lengths: &[usize]) -> Option<Key> {
        self.fields(value, at, &["name", "secret"])?;
        let name = self.text(&value["name"], &format!("{at}.name")).to_owned();
        if name.is_empty() {
            self.required(&format!("{at}.name"), "name is a mandatory field for a key");
        }
        let at = format!("{at}.secret");
        let secret = self.text(&value["secret"], &at);
        if secret.is_empty() {
            self.required(&at, "secret is a mandatory field for a key");
            return None;
        }
        let Ok(secret) = BASE64.decode(secret) else {
            self.invalid(&at, &json!("REDACTED"), "secrets must be base64 encoded");
            return None;
        };
        if !lengths.contains(&secret.len()) {
            let lengths = lengths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let why =
                format!("secret is not of the expected length, got {}, expected one of [{lengths}]", secret.len());
            self.invalid(&at, &json!("REDACTED"), &why);
        }
        Some(Key { name, secret })
    }

    fn kms(&mut self, value: &Value, at: &str) -> Option<Kms> {
        self.fields(value, at, &["apiVersion", "name", "endpoint", "timeout", "cachesize"])?;
        let field = |name: &str| format!("{at}.{name}");
        let name = self.text(&value["name"], &field("name")).to_owned();
        if name.is_empty() {
            self.required(&field("name"), "name is a mandatory field for a provider");
        }
        if name.contains(':') {
            let why = format!("invalid KMS provider name {name}, must not contain ':'");
            self.invalid(&field("name"), &value["name"], &why);
        }
        if !self.plugins.insert(name.clone()) {
            let why = format!("duplicate KMS provider name {name}, names must be unique");
            self.invalid(&field("name"), &value["name"], &why);
        }
        let timeout = match self.text(&value["timeout"], &field("timeout")) {
            "" => Some(KMS_TIMEOUT),
            text => duration(text).filter(|time| !time.is_zero()),
        };
        if timeout.is_none() {
            self.invalid(&field("timeout"), &value["timeout"], "timeout should be a positive value");
        }
        let socket = self.socket(&value["endpoint"], &field("endpoint"));
        if !value["cachesize"].is_null() {
            self.invalid(&field("cachesize"), &value["cachesize"], "cachesize is not supported in v2");
        }
        match self.text(&value["apiVersion"], &field("apiVersion")) {
            "v2" => {}
            "" | "v1" => {
                let why = "KMS v1 is off in Kubernetes 1.36 and not supported here, only v2 is";
                self.invalid(&field("apiVersion"), &json!("v1"), why);
            }
            _ => {
                let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
                self.invalid(&field("apiVersion"), &value["apiVersion"], why);
            }
        }
        Some(Kms { name, socket: socket?, timeout: timeout? })
    }

    fn socket(&mut self, value: &Value, at: &str) -> Option<String> {
        let endpoint = self.text(value, at);
        if endpoint.is_empty() {
            self.invalid(at, &json!(""), "endpoint is a mandatory field for a kms");
            return None;
        }
        let (scheme, path) = endpoint.split_once(':').unwrap_or(("", endpoint));
        if scheme != "unix" {
            let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
            self.invalid(at, value, &why);
            return None;
        }
        Some(path.strip_prefix("//").unwrap_or(path).to_owned())
    }

    /// A rule that an earlier one hides would have no effect.
    fn masked(&mut self, rules: &[Rule]) {
        let mut seen: BTreeSet<GroupResource> = BTreeSet::new();
        for rule in rules {
            for one in &rule.resources {
                for other in [one.any_in_group(), GroupResource::any()] {
                    if seen.contains(&other) {
                        let (one, other) = (one.shown(), other.shown());
                        self.wrong.push(format!("resource {one:?} is masked by earlier rule {other:?}"));
                    }
                }
            }
            seen.extend(rule.resources.iter().cloned());
        }
    }
}

/// Why a resource cannot be named so.
fn unusable(name: &str, resource: &GroupResource) -> Option<&'static str> {
    let GroupResource { group, resource } = resource;
    Some(match name {
        _ if name.to_lowercase() != name => "resource name should not contain capital letters",
        "*" => "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        _ if NO_RESOURCES.contains(&name) => "resources which do not have REST API/s cannot be encrypted",
        _ if group == "events.k8s.io" => {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        }
        _ if group == "extensions" => "'extensions' group has been removed and cannot be used for encryption",
        _ if group == "*" && resource != "*" => "encrypting the same resource across groups is not supported",
        _ => return None,
    })
}

/// One of Go's durations, of one number.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let number: f64 = text[..end].parse().ok()?;
    let seconds = match &text[end..] {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests;
