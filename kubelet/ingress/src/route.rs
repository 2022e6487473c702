//! What a rule says: which requests it is for, and what becomes of them. No I/O, and no Kubernetes object: Ingress and HTTPRoute are
//! both read into these words.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::cmp::Ordering;
use std::time::Duration;

/// Which hosts a rule is for; names are in lower case, without a dot at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Whatever is asked for.
    Any,
    /// `*.` and this, for exactly one label: what Ingress means by a wildcard.
    OneBelow(String),
    /// `*.` and this, for one label or more: what Gateway API means by it.
    AllBelow(String),
    /// This name.
    Exact(String),
}

impl Host {
    /// Reads the host of an Ingress: empty, a name, or `*.` before one.
    #[must_use]
    pub fn of_ingress(text: &str) -> Self {
        match (text, text.strip_prefix("*.")) {
            ("", _) => Self::Any,
            (_, Some(rest)) => Self::OneBelow(rest.to_ascii_lowercase()),
            _ => Self::Exact(text.to_ascii_lowercase()),
        }
    }

    /// Reads a hostname of Gateway API.
    #[must_use]
    pub fn of_gateway(text: &str) -> Self {
        match Self::of_ingress(text) {
            Self::OneBelow(rest) => Self::AllBelow(rest),
            other => other,
        }
    }

    /// Whether it is for `name`, which is in lower case and has no port.
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own == name,
            Self::OneBelow(rest) => {
                name.split_once('.').is_some_and(|(label, after)| !label.is_empty() && after == rest)
            }
            Self::AllBelow(rest) => {
                name.strip_suffix(rest.as_str()).and_then(|labels| labels.strip_suffix('.')).is_some_and(
                    // `.example.com` has no label before the dot.
                    |labels| !labels.is_empty(),
                )
            }
        }
    }

    /// The more exact is the greater: a name before wildcards, a longer wildcard before a shorter one.
    fn exactness(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::OneBelow(rest) | Self::AllBelow(rest) => (1, rest.len()),
            Self::Exact(name) => (2, name.len()),
        }
    }
}

/// Which paths a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Those that no other rule of the host is for: the default backend of an Ingress.
    Otherwise,
    /// This and all below, element by element; without a slash at the end, so that all paths are below the empty one.
    Prefix(String),
    /// This path.
    Exact(String),
}

impl PathMatch {
    /// A prefix as objects have it: `/foo` and `/foo/` are the same.
    #[must_use]
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(text.trim_end_matches('/').to_owned())
    }

    /// Whether it is for `path`.
    #[must_use]
    pub fn is_for(&self, path: &str) -> bool {
        match self {
            Self::Otherwise => true,
            Self::Exact(own) => own == path,
            Self::Prefix(own) => {
                path.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    fn exactness(&self) -> (u8, usize) {
        match self {
            Self::Otherwise => (0, 0),
            Self::Prefix(own) => (1, own.len()),
            Self::Exact(own) => (2, own.len()),
        }
    }
}

/// Where a rule stands among those that say the same: older objects first, then by name, then as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// When the object was created, in seconds since 1970.
    pub created: i64,
    /// Namespace and name of the object.
    pub object: String,
    /// Its place in the object.
    pub index: usize,
}

/// Which requests, and what becomes of them: `A` is an [`Action`] as objects say it, or one that can be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule<A> {
    /// The hosts.
    pub host: Host,
    /// The paths.
    pub path: PathMatch,
    /// The method; `None`: any.
    pub method: Option<Method>,
    /// Headers that a request must have.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Parameters of the query that it must have.
    pub query: Vec<(String, String)>,
    /// Where it stands among equals.
    pub order: Order,
    /// What becomes of the request.
    pub action: A,
}

impl<A> Rule<A> {
    /// A rule that looks at host and path only.
    pub fn new(host: Host, path: PathMatch, order: Order, action: A) -> Self {
        Self { host, path, method: None, headers: Vec::new(), query: Vec::new(), order, action }
    }

    /// The same for another action.
    pub fn with<B>(self, make: impl FnOnce(A, &Order) -> B) -> Rule<B> {
        let action = make(self.action, &self.order);
        let Self { host, path, method, headers, query, order, .. } = self;
        Rule { host, path, method, headers, query, order, action }
    }

    /// Whether it is for a request.
    pub fn is_for(&self, asked: &Asked<'_>) -> bool {
        self.host.is_for(asked.host) && self.is_for_rest(asked)
    }

    /// Whether it is for a request whose host it is known to be for.
    pub(crate) fn is_for_rest(&self, asked: &Asked<'_>) -> bool {
        self.path.is_for(asked.path)
            && self.method.as_ref().is_none_or(|method| method == asked.method)
            && self.headers.iter().all(|(name, value)| asked.headers.get_all(name).iter().any(|has| has == value))
            && self.query.iter().all(|(name, value)| asked.parameter(name).is_some_and(|has| has == *value))
    }

    /// `Less`: this rule is asked before the other. Host, then path as Kubernetes ranks them (exact paths, then the longest prefix), then
    /// as Gateway API goes on: a method, more headers, more parameters, age, name.
    pub fn precedence(&self, other: &Self) -> Ordering {
        let by = |rule: &Self| {
            let count = (rule.method.is_some(), rule.headers.len(), rule.query.len());
            (rule.host.exactness(), rule.path.exactness(), count)
        };
        by(other).cmp(&by(self)).then_with(|| self.order.cmp(&other.order))
    }
}

/// What of a request rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// In lower case, without port and without a dot at the end.
    pub host: &'a str,
    /// As it was sent.
    pub path: &'a str,
    /// Behind the question mark.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// The first value of a parameter.
    fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut named = pairs.filter(|(key, _)| decoded(key) == name);
        named.next().map(|(_, value)| decoded(value))
    }
}

/// A part of a query as it was meant (`application/x-www-form-urlencoded`).
fn decoded(text: &str) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let pair = (*byte == b'%').then(|| hex(bytes.get(at + 1)).zip(hex(bytes.get(at + 2)))).flatten();
        match (byte, pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok())) {
            (_, Some(meant)) => {
                out.push(meant);
                at += 2;
            }
            (b'+', None) => out.push(b' '),
            (plain, None) => out.push(*plain),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It goes on to a service.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here, with this status: what a rule leads to is not there.
    Answer(u16),
}

/// How a request goes on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Forward {
    /// Where to; one of them is chosen by weight.
    pub to: Vec<Weighted>,
    /// What changes in it.
    pub request: HeaderChange,
    /// What changes in its answer.
    pub response: HeaderChange,
    /// The host that the service sees.
    pub host: Option<HeaderValue>,
    /// The path that it sees.
    pub path: Option<PathChange>,
    /// Who gets a copy of it; the answers are dropped.
    pub mirrors: Vec<Mirror>,
    /// How long the answer may take to begin, with all that is tried.
    pub within: Option<Duration>,
    /// How long the answer of one endpoint may take to begin.
    pub try_within: Option<Duration>,
    /// The cookie that leads a client to the same endpoint again.
    pub affinity: Option<String>,
    /// How long its body may be.
    pub body_bytes_max: Option<u64>,
}

/// One place where a request may go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weighted {
    /// Its share.
    pub weight: u32,
    /// The service; `None`: it cannot be used, and its share is answered with 500.
    pub to: Option<Backend>,
    /// What changes in requests that go there.
    pub request: HeaderChange,
    /// What changes in their answers.
    pub response: HeaderChange,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The namespace.
    pub namespace: String,
    /// The service.
    pub service: String,
    /// The port, by number or name.
    pub port: PortRef,
}

/// A port of a service, as a backend names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// A service that gets copies of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The service.
    pub to: Backend,
    /// How many of how many requests.
    pub share: (u32, u32),
}

/// What changes in headers: first what is set, then what is added, then what is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChange {
    /// Set, whatever was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Added to what was there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

impl HeaderChange {
    /// Makes the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChange {
    /// It is this one.
    Full(String),
    /// This stands where the prefix stood that the rule is for: old and new.
    Prefix(String, String),
}

impl PathChange {
    /// The path that stands in the place of `path`.
    #[must_use]
    pub fn of(&self, path: &str) -> String {
        match self {
            Self::Full(new) => new.clone(),
            Self::Prefix(old, new) => {
                let rest = path.strip_prefix(old.trim_end_matches('/')).unwrap_or(path);
                let joined = format!("{}{rest}", new.trim_end_matches('/'));
                if joined.starts_with('/') { joined } else { format!("/{joined}") }
            }
        }
    }
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme; `None`: that of the request.
    pub scheme: Option<String>,
    /// The host; `None`: that of the request.
    pub host: Option<String>,
    /// The port; `None`: the scheme's own if a scheme is named, else the one that was asked.
    pub port: Option<u16>,
    /// What changes in the path.
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Redirect {
    /// The address for a request that came to `port` of `host` by `scheme`.
    #[must_use]
    pub fn location(&self, asked: &Asked<'_>, scheme: &str, port: u16) -> String {
        let to = self.scheme.as_deref().unwrap_or(scheme);
        let usual = |scheme: &str| if scheme == "https" { 443 } else { 80 };
        let port = self.port.unwrap_or(if self.scheme.is_some() { usual(to) } else { port });
        let host = self.host.as_deref().unwrap_or(asked.host);
        let path = self.path.as_ref().map_or_else(|| asked.path.to_owned(), |change| change.of(asked.path));
        let port = if port == usual(to) { String::new() } else { format!(":{port}") };
        let query = asked.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{to}://{host}{port}{path}{query}")
    }
}
