//! What `WWW-Authenticate` asks for (RFC 9110 section 11.6.1; the distribution project's token specification). Pure.

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user and a password.
    Basic,
    /// A token, from there.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The best of what the headers ask for: a token before a password; none if it is nothing that we know.
pub(crate) fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.flat_map(parse).collect();
    let is_token = |one: &&Challenge| matches!(one, Challenge::Bearer { .. });
    all.iter().find(is_token).or_else(|| all.first()).cloned()
}

/// One header may hold several challenges.
fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut open: Option<(String, Vec<(String, String)>)> = None;
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|next: char| !is_token(next)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, left) = value_of(value.trim_start());
                if let Some((_, parameters)) = &mut open {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = left;
            }
            None => {
                challenges.extend(open.take().and_then(close));
                open = Some((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    challenges.extend(open.and_then(close));
    challenges
}

fn is_token(next: char) -> bool {
    next.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(next)
}

fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        return match text.find([',', ' ']) {
            Some(end) => (text[..end].to_owned(), &text[end..]),
            None => (text.to_owned(), ""),
        };
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, next)) = characters.next() {
        match next {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            next => value.push(next),
        }
    }
    (value, "")
}

fn close((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Challenge::Bearer { realm: realm.into(), service: some(service), scope: some(scope) }
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let one = |header: &str| best(std::iter::once(header));
        let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:library/busybox:pull""#;
        let token = bearer("https://auth.example/token", "registry.example", "repository:library/busybox:pull");
        assert_eq!(one(hub), Some(token));
        assert_eq!(one("Basic realm=\"a, b\""), Some(Challenge::Basic));
        assert_eq!(one("basic"), Some(Challenge::Basic));
        let both = r#"Basic realm="x", bearer realm="https://a/t?x=\"1\"" , service=s"#;
        assert_eq!(one(both), Some(bearer("https://a/t?x=\"1\"", "s", "")));
        assert_eq!(one("Bearer service=\"x\""), None, "a token from nowhere");
        assert_eq!(one("Negotiate abc=="), None);
        assert_eq!(best(["Negotiate", "Basic realm=x"].into_iter()), Some(Challenge::Basic));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_ends(header in "[a-zA-Z=\", \\\\é]{0,80}|\\PC{0,60}") {
            let _either_way = parse(&header);
        }
    }
}
