//! Heads of requests and answers on their way through: what belongs to one connection is left out, where the request came from is
//! written down, and what could be read in two ways is refused. No I/O.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use std::net::SocketAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers of one connection only (RFC 9110, section 7.6.1); `Proxy-Authorization` is for proxies that a client was told of.
const OF_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Who is on the other end of a connection, and how it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The client.
    pub(crate) address: SocketAddr,
    /// The port that it came to.
    pub(crate) port: u16,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
}

impl Peer {
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// The host that a request asks for: lower case, without port and without a dot at the end.
///
/// # Errors
/// It names none where it has to, or several: who reads another of them than we do would be somewhere else.
pub(crate) fn host(parts: &Parts) -> Result<String, StatusCode> {
    let mut headers = parts.headers.get_all(HOST).iter();
    let (header, other) = (headers.next(), headers.next());
    if other.is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let header = header.map(|value| value.to_str().map_err(|_| StatusCode::BAD_REQUEST)).transpose()?;
    // The target's authority counts before the header (RFC 9112, section 3.2.2).
    let said = match (parts.uri.authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(header)) => header,
        (None, None) if parts.version < Version::HTTP_11 => "",
        (None, None) => return Err(StatusCode::BAD_REQUEST),
    };
    let without_user = said.rsplit_once('@').map_or(said, |(_, host)| host);
    let name = match without_user.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => without_user,
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'\\' | b',');
    if !name.bytes().all(is_plain) {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(name.trim_end_matches('.').to_ascii_lowercase())
}

/// Whether a path has an element `.` or `..`, however it is written: whoever resolves it would see another path than rules did.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    let is_dot = |element: &str| {
        let mut rest = element;
        let mut dots = 0;
        while let Some(after) =
            rest.strip_prefix('.').or_else(|| rest.strip_prefix("%2e")).or_else(|| rest.strip_prefix("%2E"))
        {
            (rest, dots) = (after, dots + 1);
        }
        rest.is_empty() && (dots == 1 || dots == 2)
    };
    (path.contains('.') || path.contains("%2e") || path.contains("%2E")) && path.split(['/', '\\']).any(is_dot)
        || path.contains("%00")
}

/// Takes out what belongs to the connection, and what its `Connection` header names.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            // These say where the body ends and who is meant: no connection can own them.
            if name != HOST && name != CONTENT_LENGTH {
                headers.remove(name);
            }
        }
    }
    for name in &OF_CONNECTION {
        headers.remove(name);
    }
}

/// Makes the head of a client's request that of ours to an endpoint, all but the target: version, headers, where it came from.
pub(crate) fn onwards(parts: &mut Parts, host: &str, peer: &Peer) {
    let upgrade = upgrade_of(&parts.headers);
    let wants_trailers = parts.headers.get_all(TE).iter().any(|value| value.as_bytes() == b"trailers");
    // A client that asks before it sends is told to go on when the endpoint begins to read.
    parts.headers.remove(EXPECT);
    drop_hop_by_hop(&mut parts.headers);
    if let Some(upgrade) = upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, upgrade);
    }
    if wants_trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    join_cookies(&mut parts.headers);
    let authority = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let asked = authority.or_else(|| parts.headers.get(HOST).cloned());
    let asked = asked.unwrap_or_else(|| HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("")));
    // What a client says of itself here nobody has checked.
    parts.headers.remove(FORWARDED);
    if let Ok(address) = HeaderValue::from_str(&peer.address.ip().to_canonical().to_string()) {
        parts.headers.insert(REAL_IP, address.clone());
        parts.headers.insert(FORWARDED_FOR, address);
    }
    parts.headers.insert(FORWARDED_PORT, HeaderValue::from(peer.port));
    parts.headers.insert(FORWARDED_PROTO, HeaderValue::from_static(peer.scheme()));
    parts.headers.insert(FORWARDED_HOST, asked.clone());
    parts.headers.insert(HOST, asked);
    parts.version = Version::HTTP_11;
}

/// What a client wants to speak instead of HTTP, if it does.
pub(crate) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")))
    };
    let upgrade = headers.get(UPGRADE)?;
    // To go over to HTTP/2 within a connection is between the client and us, and we do not.
    let is_h2c = upgrade.as_bytes().eq_ignore_ascii_case(b"h2c");
    (!is_h2c && headers.get_all(CONNECTION).iter().any(asks)).then(|| upgrade.clone())
}

/// HTTP/2 lets a client send its cookies in several headers, HTTP/1.1 in one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The target for an endpoint: path and query, and for HTTP/2 all of it.
pub(crate) fn target(uri: &Uri, path: Option<&str>, authority: Option<(&str, &str)>) -> Option<Uri> {
    let own = uri.path_and_query().map_or("/", |own| own.as_str());
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = path.map_or_else(|| own.to_owned(), |path| format!("{path}{query}"));
    match authority {
        None => path.parse().ok(),
        Some((scheme, authority)) => {
            Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
        }
    }
}

/// Methods that may be sent twice and mean the same (RFC 9110, section 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_host_is_read_in_one_way_or_refused() {
        let said = |uri: &str, headers: &[(&str, &str)]| host(&parts(uri, headers)).ok();
        assert_eq!(said("/", &[("host", "A.b:80")]).as_deref(), Some("a.b"));
        assert_eq!(said("/", &[("host", "a.b.")]).as_deref(), Some("a.b"));
        assert_eq!(said("http://c.d/x", &[("host", "a.b")]).as_deref(), Some("c.d"));
        assert_eq!(said("/", &[("host", "[::1]:80")]).as_deref(), Some("[::1]"));
        for wrong in [&[("host", "a"), ("host", "b")][..], &[("host", "a/b")], &[("host", "a,b")], &[]] {
            assert_eq!(said("/", wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn paths_that_others_would_resolve_are_ambiguous() {
        for path in ["/a/../b", "/..", "/a/.", "/a/%2e%2E/b", "/a/.%2e", "/a\\..\\b", "/%00"] {
            assert!(is_ambiguous(path), "{path}");
        }
        for path in ["/", "/a.b/..c/...", "/a/.hidden", "/%2f"] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let mut parts = parts(
            "/",
            &[
                ("host", "a.b"),
                ("connection", "close, X-Own, Host"),
                ("x-own", "1"),
                ("te", "trailers"),
                ("transfer-encoding", "chunked"),
                ("proxy-authorization", "secret"),
                ("x-forwarded-for", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("kept", "1"),
            ],
        );
        let peer = Peer { address: "192.0.2.7:1234".parse().unwrap(), port: 443, tls: true };
        onwards(&mut parts, "a.b", &peer);
        let seen: std::collections::BTreeMap<&str, &str> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let wanted = [
            ("cookie", "a=1; b=2"),
            ("host", "a.b"),
            ("kept", "1"),
            ("te", "trailers"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "a.b"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.7"),
        ];
        assert_eq!(seen, wanted.into());
    }

    #[test]
    fn upgrades_go_through_but_not_to_h2c() {
        let peer = Peer { address: "192.0.2.7:1234".parse().unwrap(), port: 80, tls: false };
        for (wanted, goes) in [("websocket", true), ("h2c", false)] {
            let mut parts = parts("/", &[("host", "a"), ("connection", "Upgrade"), ("upgrade", wanted)]);
            onwards(&mut parts, "a", &peer);
            assert_eq!(parts.headers.contains_key(UPGRADE), goes, "{wanted}");
        }
    }

    #[test]
    fn cookies_and_targets() {
        let parts = parts("/p?q=1", &[("host", "a"), ("cookie", "x=1; s=ab")]);
        assert_eq!((cookie(&parts.headers, "s"), cookie(&parts.headers, "y")), (Some("ab"), None));
        assert_eq!(target(&parts.uri, Some("/n"), None).unwrap().to_string(), "/n?q=1");
        assert_eq!(target(&parts.uri, None, Some(("http", "h:1"))).unwrap().to_string(), "http://h:1/p?q=1");
    }
}
