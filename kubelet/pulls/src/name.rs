//! Images' names, and the patterns that credentials and plugins have for them (kubelet, `matchImages`; a client's `auths`).

/// Where images come from whose name has no host.
const DEFAULT_HOST: &str = "docker.io";
/// Under which name clients keep the credentials of that one.
const DEFAULT_KEY: &str = "index.docker.io";

/// The name without tag and digest.
#[must_use]
pub fn without_tag(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let last = image.rfind('/').map_or(0, |at| at + 1);
    image[last..].find(':').map_or(image, |at| &image[..last + at])
}

/// The whole name of the repository, as plugins are asked for it: `nginx:1` is of `docker.io/library/nginx`.
#[must_use]
pub fn repository(image: &str) -> String {
    let name = without_tag(image);
    match name.split_once('/') {
        Some((DEFAULT_KEY, path)) => whole(path),
        Some((DEFAULT_HOST, path)) => whole(path),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        _ => whole(name),
    }
}

fn whole(path: &str) -> String {
    if path.contains('/') { format!("{DEFAULT_HOST}/{path}") } else { format!("{DEFAULT_HOST}/library/{path}") }
}

/// A host by its parts, its port, and what follows.
struct Place<'a> {
    parts: Vec<&'a str>,
    port: &'a str,
    path: &'a str,
}

impl<'a> Place<'a> {
    /// None for what is no address.
    fn of(text: &'a str) -> Option<Self> {
        if text.contains([' ', '\t', '\n', '"', '<', '>']) || text.is_empty() {
            return None;
        }
        let end = text.find('/').unwrap_or(text.len());
        let (host, path) = text.split_at(end);
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        Some(Self { parts: name.split('.').collect(), port, path })
    }
}

/// Whether `pattern` fits `image`: host part by part with `*` and `?` in each, the port as it stands, and the path by its start.
#[must_use]
pub fn matches(pattern: &str, image: &str) -> bool {
    let (Some(pattern), Some(image)) = (Place::of(pattern), Place::of(image)) else { return false };
    pattern.port == image.port
        && pattern.parts.len() == image.parts.len()
        && image.path.starts_with(pattern.path)
        && pattern.parts.iter().zip(&image.parts).all(|(pattern, part)| glob(pattern, part))
}

/// Whether credentials that are kept under `key` are for `image`, a whole name.
pub(crate) fn is_key_of(key: &str, image: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    // Clients keep the address of the interface, not that of images.
    let key = match key.split_once('/') {
        Some((host, rest)) => match rest.strip_prefix("v1/").or_else(|| rest.strip_prefix("v2/")) {
            Some("") => host.to_owned(),
            Some(path) => format!("{host}/{path}"),
            None => key.trim_end_matches('/').to_owned(),
        },
        None => key.to_owned(),
    };
    matches(&key, image) || (key == DEFAULT_KEY && image.split('/').next() == Some(DEFAULT_HOST))
}

/// `*` stands for any characters, `?` for one, and `\` before a character for that character.
fn glob(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| glob(rest.as_str(), &text[at..]))
        }
        Some(first) => {
            let escaped = first == '\\';
            let wanted = if escaped { rest.next() } else { Some(first) };
            let mut given = text.chars();
            let is_same = given.next().is_some_and(|one| Some(one) == wanted || (first == '?' && !escaped));
            is_same && glob(rest.as_str(), given.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_whole() {
        for (image, whole) in [
            ("nginx", "docker.io/library/nginx"),
            ("team/app:1", "docker.io/team/app"),
            ("docker.io/nginx@sha256:00", "docker.io/library/nginx"),
            ("localhost/x:1", "localhost/x"),
            ("127.0.0.1:5000/a/b:1@sha256:00", "127.0.0.1:5000/a/b"),
        ] {
            assert_eq!(repository(image), whole);
        }
        assert_eq!(without_tag("127.0.0.1:5000/a"), "127.0.0.1:5000/a");
    }

    #[test]
    fn hosts_match_part_by_part_ports_whole_and_paths_by_their_start() {
        for (pattern, image) in [
            ("123456789.dkr.ecr.us-east-1.amazonaws.com", "123456789.dkr.ecr.us-east-1.amazonaws.com/app"),
            ("*.azurecr.io", "mine.azurecr.io/team/app"),
            ("*.*.registry.io", "a.b.registry.io/x"),
            ("gcr.io", "gcr.io/x"),
            ("registry.io:8080/path", "registry.io:8080/path/app"),
            ("app*.k8s.io", "app-one.k8s.io/x"),
            ("a?.io", "ab.io/x"),
        ] {
            assert!(matches(pattern, image), "{pattern} {image}");
        }
        for (pattern, image) in [
            ("*.io", "a.b.io/x"),
            ("*.azurecr.io", "azurecr.io/x"),
            ("registry.io", "registry.io:8080/x"),
            ("registry.io:*", "registry.io:8080/x"),
            ("registry.io/team", "registry.io/other"),
            ("not an address", "registry.io/x"),
            ("", "registry.io/x"),
        ] {
            assert!(!matches(pattern, image), "{pattern} {image}");
        }
    }

    #[test]
    fn keys_of_clients_are_read_too() {
        assert!(is_key_of("https://index.docker.io/v1/", "docker.io/library/nginx"));
        assert!(is_key_of("http://example.com/v2/team", "example.com/team/app"));
        assert!(!is_key_of("index.docker.io", "example.com/app"));
    }
}
