//! Which requests are calls, which ask for a page, and which a web page has smuggled in.
//!
//! A browser sends what any web page tells it to, to any address that it can reach: a POST of plain text needs nobody's leave, and a page
//! whose name is made to mean 127.0.0.1 may read the answers too. What no page can do is speak HTTP/2 without TLS, or send
//! `application/grpc` without asking first. So a call must come as gRPC has it; and a page on the loopback device is shown only to who
//! asked for this machine.

use super::Member;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Version};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Whether a request is gRPC: over HTTP/2, by POST, of the content type `application/grpc` with or without a suffix.
pub fn is_call<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && request.method() == Method::POST && is_grpc(request.headers())
}

/// As gRPC-Go reads it.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.to_ascii_lowercase();
    kind.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// By which names this machine may be asked for.
#[derive(Clone)]
pub(super) enum Names {
    /// By any: TLS has seen to it, or no browser on this machine gets here.
    Any,
    /// By an address, as `localhost`, by the machine's name, and by those that the member list tells clients.
    Ours(Arc<[String]>),
}

impl Names {
    /// Of a connection without TLS to this address of ours.
    pub(super) fn of_plain(to: SocketAddr, member: &Member) -> Self {
        if !to.ip().to_canonical().is_loopback() {
            return Names::Any;
        }
        let machine = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let told = member.client_urls.iter().filter_map(|url| Some(host(url.split_once("://")?.1).to_owned()));
        Names::Ours(told.chain(machine).collect())
    }

    /// Whether a request asks for one of them; else the name that it asks for.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<(), String> {
        let Names::Ours(names) = self else { return Ok(()) };
        let header = || request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        // A program that names nobody is no browser.
        let Some(asked) = request.uri().authority().map(|authority| authority.to_string()).or_else(header) else {
            return Ok(());
        };
        let name = host(&asked);
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let ours = |other: &str| name.eq_ignore_ascii_case(other);
        let known = address || name.is_empty() || ours("localhost") || names.iter().any(|name| ours(name));
        if known { Ok(()) } else { Err(name.to_owned()) }
    }
}

/// `HOST:PORT` without the port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, method: Method, kind: Option<&str>) -> Request<()> {
        let mut request = Request::builder().version(version).method(method).uri("/etcdserverpb.KV/Put");
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        request.body(()).unwrap()
    }

    /// Fault S4.
    #[test]
    fn a_call_is_grpc_over_http_2() {
        for kind in ["application/grpc", "application/grpc+proto", "Application/GRPC; charset=utf-8"] {
            assert!(is_call(&request(Version::HTTP_2, Method::POST, Some(kind))), "{kind}");
            assert!(!is_call(&request(Version::HTTP_11, Method::POST, Some(kind))), "{kind} over HTTP/1.1");
            assert!(!is_call(&request(Version::HTTP_2, Method::GET, Some(kind))), "{kind} by GET");
        }
        for kind in [None, Some("text/plain"), Some("application/grpc-web"), Some("application/json")] {
            assert!(!is_call(&request(Version::HTTP_2, Method::POST, kind)), "{kind:?}");
        }
    }

    /// Fault S4: a name of somebody else's that leads here.
    #[test]
    fn the_loopback_device_is_asked_for_by_names_of_this_machine() {
        let member = Member { client_urls: vec!["http://store.example:2379".to_owned()], ..Member::default() };
        let names = Names::of_plain("127.0.0.1:2379".parse().unwrap(), &member);
        let admitted = |host: &str| names.admit(&Request::get("/health").header(HOST, host).body(()).unwrap());
        for host in ["127.0.0.1:2379", "[::1]:2379", "10.0.0.1", "localhost", "LOCALHOST:1", "store.example:2379", ""] {
            assert_eq!(admitted(host), Ok(()), "{host}");
        }
        assert_eq!(names.admit(&Request::get("/health").body(()).unwrap()), Ok(()), "HTTP/1.0 names nobody");
        for host in ["evil.example", "evil.example:2379", "localhost.evil.example", "127.0.0.1.evil.example:80"] {
            assert_eq!(admitted(host), Err(super::host(host).to_owned()));
        }
        let elsewhere = Names::of_plain("192.0.2.1:2379".parse().unwrap(), &member);
        assert_eq!(elsewhere.admit(&Request::get("/health").header(HOST, "store").body(()).unwrap()), Ok(()));
    }
}
