//! Who may be asked for a token, and who may be told a password for it. A registry names the place in its 401, and whoever can write that
//! answer can name any place; so the place has to belong to the registry, or to be named on this machine (`realms` in `hosts.toml`). Pure.

/// Scheme and authority of a URL, in lower case, and whether it is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    /// `host:port` as it was written, without user.
    pub(crate) authority: String,
}

impl Origin {
    /// Of an absolute URL of http or https.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?.as_str().to_ascii_lowercase();
        (!authority.contains('@')).then_some(Self { https, authority })
    }

    /// Without the port.
    pub(crate) fn host(&self) -> &str {
        host(&self.authority)
    }

    /// `https://host:port`
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }
}

/// The host of an authority, brackets included.
pub(crate) fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether what is said to this host stays on this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether `realm` may be asked on behalf of `registry`; `told` are hosts that this machine's configuration names; `secret` says whether
/// something that others must not see goes there.
///
/// # Errors
/// It may not: a sentence.
pub(crate) fn check(registry: &Origin, realm: &str, told: &[String], secret: bool) -> Result<Origin, String> {
    let origin =
        Origin::of(realm).ok_or_else(|| format!("the token realm {} is no URL", crate::error::shown(realm)))?;
    let same = origin.host() == registry.host();
    let is_as_open_as_it = same && !registry.https;
    if !(origin.https || is_as_open_as_it || is_loopback_pair(registry, &origin)) {
        return Err(format!("the token realm {} is not encrypted", origin.url()));
    }
    if same || !secret || told.iter().any(|host| host == origin.host() || *host == origin.authority) {
        return Ok(origin);
    }
    if is_kin(registry.host(), origin.host()) || is_loopback_pair(registry, &origin) {
        return Ok(origin);
    }
    Err(format!(
        "the token realm {} is not of {}: credentials are not sent there (`realms` in hosts.toml allows it)",
        origin.url(),
        registry.authority
    ))
}

fn is_loopback_pair(one: &Origin, other: &Origin) -> bool {
    is_loopback(one.host()) && is_loopback(other.host())
}

/// Whether two names are of one owner, as far as names tell: one is the other's domain, or both are in one domain that somebody can own.
fn is_kin(one: &str, other: &str) -> bool {
    let is_address = |host: &str| host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if is_address(one) || is_address(other) {
        return false;
    }
    let below =
        |inner: &str, outer: &str| is_owned(outer) && inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.'));
    let domain = |host: &str| host.split_once('.').map(|(_, domain)| domain.to_owned());
    below(one, other)
        || below(other, one)
        || domain(one).is_some_and(|of_one| is_owned(&of_one) && Some(of_one) == domain(other))
}

/// Whether a domain is likely one owner's: `docker.io` and not `io`, nor `co.uk`, nor what a provider gives away by name.
fn is_owned(domain: &str) -> bool {
    /// Domains whose names belong to customers (of the public suffix list, those under which registries are run).
    const SHARED: [&str; 10] = [
        "github.io",
        "gitlab.io",
        "amazonaws.com",
        "azurewebsites.net",
        "cloudapp.net",
        "herokuapp.com",
        "web.app",
        "run.app",
        "azurecr.io",
        "pages.dev",
    ];
    let labels: Vec<&str> = domain.split('.').collect();
    let [.., second, top] = labels[..] else { return false };
    let is_country = top.len() == 2 && second.len() <= 3 && labels.len() == 2;
    !is_country && !SHARED.contains(&domain) && !domain.ends_with(".amazonaws.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(registry: &str, realm: &str, secret: bool) -> Result<(), String> {
        check(&Origin::of(registry).unwrap(), realm, &["sso.corp.example".to_owned()], secret).map(drop)
    }

    #[test]
    fn credentials_go_to_whom_they_belong() {
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://a.example:5000", "https://a.example:5001/token"),
            ("https://a.example", "https://sso.corp.example/token"),
            ("http://127.0.0.1:5000", "http://localhost:5001/token"),
            ("http://plain.example:5000", "http://plain.example/token"),
        ] {
            assert_eq!(told(registry, realm, true), Ok(()), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("https://a.example.com", "https://evil.com/token"),
            ("https://ghcr.io", "https://evil.io/token"),
            ("https://a.co.uk", "https://b.co.uk/token"),
            ("https://a.github.io", "https://b.github.io/token"),
            ("https://1.dkr.ecr.eu-west-1.amazonaws.com", "https://2.dkr.ecr.eu-west-1.amazonaws.com/t"),
            ("https://a.example.com", "http://a.example.com/token"),
            ("http://127.0.0.1:5000", "http://10.0.0.1/token"),
            ("https://10.0.0.1", "https://10.0.0.2/token"),
            ("https://a.example.com", "https://a.example.com@evil.com/token"),
            ("https://a.example.com", "file:///etc/passwd"),
            ("https://a.example.com", "/token"),
        ] {
            assert!(told(registry, realm, true).is_err(), "{registry} {realm}");
        }
    }

    #[test]
    fn who_has_nothing_to_hide_may_ask_whom_the_registry_names_but_not_in_the_open() {
        assert_eq!(told("https://a.example", "https://tokens.elsewhere.example2/t", false), Ok(()));
        assert!(told("https://a.example", "http://tokens.elsewhere.example2/t", false).is_err());
    }
}
