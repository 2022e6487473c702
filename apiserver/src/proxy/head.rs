//! What goes on, and what comes back, of the headers (RFC 9110, section 7.6.1: what is about one connection stays on it).

use crate::caller::Peer;
use axum::extract::Request;
use http::header::{self, CONNECTION, HeaderMap, HeaderName, HeaderValue, TE};

/// Who asked, and whoever passed it on before us.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The path by which the client asked.
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// About one connection.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What would let a server behind us speak for the API server in a browser.
const CORS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Moves the headers of `request` into `onward`, which has its Host already.
pub(crate) fn forward(onward: &mut HeaderMap, request: &mut Request, uri: Option<&str>) {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string());
    let headers = request.headers_mut();
    let trailers = headers.get(TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let mut kept = headers.clone();
    strip(&mut kept);
    kept.remove(TE);
    kept.remove(header::HOST);
    if trailers {
        kept.insert(TE, HeaderValue::from_static("trailers"));
    }
    let before = kept.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned);
    let chain: Vec<String> = before.chain(peer).collect();
    if let (false, Ok(chain)) = (chain.is_empty(), HeaderValue::from_str(&chain.join(", "))) {
        kept.insert(FORWARDED_FOR, chain);
    }
    if let Some(Ok(uri)) = uri.map(HeaderValue::from_str) {
        kept.insert(FORWARDED_URI, uri);
    }
    onward.extend(kept);
}

/// Takes off an answer what is not for the client.
pub(crate) fn backward(headers: &mut HeaderMap) {
    strip(headers);
    for name in CORS {
        headers.remove(name);
    }
}

fn strip(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let named: Vec<HeaderName> =
        lines.flat_map(|line| line.split(',')).filter_map(|word| word.trim().parse().ok()).collect();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_is_about_a_connection_stays_on_it() {
        let mut request = Request::new(axum::body::Body::empty());
        *request.headers_mut() = map(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("keep-alive", "5"),
            ("host", "api"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "192.0.2.1"),
        ]);
        request.extensions_mut().insert(Peer(IpAddr::from([127, 0, 0, 1])));
        let mut onward = map(&[("host", "there")]);
        forward(&mut onward, &mut request, Some("/p/proxy/a"));
        let expected = map(&[
            ("host", "there"),
            ("te", "trailers"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "192.0.2.1, 127.0.0.1"),
            ("x-forwarded-uri", "/p/proxy/a"),
        ]);
        assert_eq!(onward, expected);
    }

    #[test]
    fn answers_permit_no_other_pages() {
        let mut answer = map(&[("access-control-allow-origin", "*"), ("transfer-encoding", "chunked"), ("etag", "x")]);
        backward(&mut answer);
        assert_eq!(answer, map(&[("etag", "x")]));
    }
}
