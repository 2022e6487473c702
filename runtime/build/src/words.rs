//! Splits the rest of a line into words; quotes stay, because what `$NAME` means depends on them.

/// Words with their quotes. An escape takes the next character's meaning away.
pub(crate) fn split(text: &str, escape: char) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut escaped) = (None, false);
    for character in text.chars() {
        if escaped {
            escaped = false;
            word.push(character);
            continue;
        }
        match (quote, character) {
            (None, space) if space.is_whitespace() => words.extend(taken(&mut word)),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.push(character);
            }
            (Some(open), close) if open == close => {
                quote = None;
                word.push(close);
            }
            // Between single quotes nothing has a meaning.
            (open, other) => {
                escaped = other == escape && open != Some('\'');
                word.push(other);
            }
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is not closed"));
    }
    words.extend(taken(&mut word));
    Ok(words)
}

fn taken(word: &mut String) -> Option<String> {
    (!word.is_empty()).then(|| std::mem::take(word))
}

/// The words of `["a", "b"]`, if this is what it looks like.
pub(crate) fn json(text: &str) -> Option<Vec<String>> {
    text.trim_start().starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// Options at the beginning (`--name=value` or `--name`), and the rest.
pub(crate) fn options(text: &str) -> (Vec<(String, Option<String>)>, &str) {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while let Some(option) = rest.strip_prefix("--") {
        let end = option.find(char::is_whitespace).unwrap_or(option.len());
        let (option, after) = option.split_at(end);
        rest = after.trim_start();
        if option.is_empty() {
            break;
        }
        all.push(match option.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (option.to_owned(), None),
        });
    }
    (all, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_and_escapes_keep_a_word_together() {
        assert_eq!(split(r#"a="b c" d\ e 'f "g' h"#, '\\').unwrap(), [r#"a="b c""#, r"d\ e", r#"'f "g'"#, "h"]);
        assert_eq!(split(r#""a\"b" c"#, '\\').unwrap(), [r#""a\"b""#, "c"]);
        assert!(split("a 'b", '\\').is_err());
    }

    #[test]
    fn options_come_first() {
        let (all, rest) = options("--from=a --link  b --c");
        assert_eq!(all, [("from".to_owned(), Some("a".to_owned())), ("link".to_owned(), None)]);
        assert_eq!(rest, "b --c");
        assert_eq!(options("-- --x").1, "--x");
    }

    proptest! {
        #[test]
        fn splitting_never_panics(text in "[ a\"'\\\\$=]{0,40}") {
            let _either_way = split(&text, '\\');
            options(&text);
        }
    }
}
