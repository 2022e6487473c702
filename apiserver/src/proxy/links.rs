//! Links that a server behind us gives out: those that lead to itself are made to lead through us.

use super::path;

/// How links have to change.
#[derive(Debug)]
pub(super) struct Links {
    /// The path by which clients reach the server's root.
    pub(super) prefix: String,
    /// The server's address, as we ask it.
    pub(super) there: String,
    /// Our own, as the client asks us.
    pub(super) here: String,
}

impl Links {
    /// The link that leads through us; `None`: `link` is right as it is, because it is relative or leads elsewhere.
    pub(super) fn rewritten(&self, link: &str) -> Option<String> {
        let Parts { start, host, path } = Parts::of(link)?;
        let is_elsewhere = !host.is_empty() && host != self.there && host != self.here;
        if is_elsewhere || !path.starts_with('/') {
            return None;
        }
        let (path, end) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
        // What names us keeps doing so; the server's own address is nothing that a client could reach.
        let start = if host == self.here { start } else { "" };
        let has_prefix = path.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let path = if has_prefix { path.to_owned() } else { path::below(&self.prefix, path) };
        Some(format!("{start}{path}{end}"))
    }
}

/// The parts of a link that matter.
struct Parts<'a> {
    /// Scheme and host, as they stand there.
    start: &'a str,
    host: &'a str,
    /// With query and fragment.
    path: &'a str,
}

impl<'a> Parts<'a> {
    /// `None`: a link of a scheme that has no hosts, such as `mailto:`.
    fn of(link: &'a str) -> Option<Self> {
        let scheme = link.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let scheme = scheme.filter(|at| *at > 0 && link[*at..].starts_with(':')).map_or(0, |at| at + 1);
        let Some(authority) = link[scheme..].strip_prefix("//") else {
            return (scheme == 0).then_some(Self { start: "", host: "", path: link });
        };
        let length = authority.find(['/', '?', '#']).unwrap_or(authority.len());
        let (authority, path) = authority.split_at(length);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        Some(Self { start: &link[..link.len() - path.len()], host, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_server_itself_lead_through_us() {
        let links = Links { prefix: "/p/proxy".into(), there: "10.0.0.1:80".into(), here: "localhost:6443".into() };
        for (link, expected) in [
            ("/a", Some("/p/proxy/a")),
            ("/a/?b=/c#d", Some("/p/proxy/a/?b=/c#d")),
            ("/", Some("/p/proxy/")),
            ("/a/../b", Some("/p/proxy/b")),
            ("/p/proxy/a", Some("/p/proxy/a")),
            ("/p/proxyother", Some("/p/proxy/p/proxyother")),
            ("http://10.0.0.1:80/a", Some("/p/proxy/a")),
            ("//10.0.0.1:80/a", Some("/p/proxy/a")),
            ("https://localhost:6443/a", Some("https://localhost:6443/p/proxy/a")),
            ("http://example.com/a", None),
            ("//example.com/a", None),
            ("http://10.0.0.1:80", None),
            ("a/b", None),
            ("", None),
            ("?q=/a", None),
            ("#top", None),
            ("mailto:a@b", None),
            ("javascript:x('/a')", None),
            ("data:text/html,/a", None),
        ] {
            assert_eq!(links.rewritten(link).as_deref(), expected, "{link}");
        }
    }
}
