//! `$NAME`, `${NAME:-word}` and quotes: what a word says when variables have values.
//!
//! Source: Dockerfile reference, "Environment replacement". Modifiers that cut patterns are refused in words.

/// How deep a word stands inside words.
const DEPTH_MAX: u32 = 16;
/// Bytes of what a word may become: `ENV a=$a$a` doubles at each line.
const BYTES_MAX: usize = 1 << 20;

/// The word without quotes and escapes, and with values for names. A name that `value` does not know is empty.
pub(crate) fn word(text: &str, escape: char, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut reader = Reader { rest: text, escape, value, depth: 0 };
    let said = reader.until(None)?;
    if said.len() > BYTES_MAX {
        return Err(format!("{} bytes in one word, more than {BYTES_MAX}", said.len()));
    }
    Ok(said)
}

struct Reader<'a> {
    rest: &'a str,
    escape: char,
    value: &'a dyn Fn(&str) -> Option<String>,
    depth: u32,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    /// What stands before `end`, which is taken too.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut said = String::new();
        while let Some(character) = self.next() {
            match character {
                close if Some(close) == end => return Ok(said),
                '\'' => said.push_str(&self.single()?),
                '"' => said.push_str(&self.double()?),
                '$' => said.push_str(&self.variable()?),
                escape if escape == self.escape => said.extend(self.next()),
                other => said.push(other),
            }
            if said.len() > BYTES_MAX {
                return Err(format!("more than {BYTES_MAX} bytes in one word"));
            }
        }
        match end {
            Some(end) => Err(format!("a {end} is missing")),
            None => Ok(said),
        }
    }

    fn single(&mut self) -> Result<String, String> {
        let (said, rest) = self.rest.split_once('\'').ok_or("a ' is not closed")?;
        let said = said.to_owned();
        self.rest = rest;
        Ok(said)
    }

    fn double(&mut self) -> Result<String, String> {
        let mut said = String::new();
        loop {
            match self.next().ok_or("a \" is not closed")? {
                '"' => return Ok(said),
                '$' => said.push_str(&self.variable()?),
                // Between double quotes an escape means itself before most characters.
                escape if escape == self.escape => match self.next().ok_or("a \" is not closed")? {
                    meant if meant == '"' || meant == '$' || meant == self.escape => said.push(meant),
                    other => said.extend([escape, other]),
                },
                other => said.push(other),
            }
        }
    }

    fn variable(&mut self) -> Result<String, String> {
        if let Some(rest) = self.rest.strip_prefix('{') {
            self.rest = rest;
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err("variables are nested too deep".to_owned());
            }
            let said = self.braced();
            self.depth -= 1;
            return said;
        }
        match self.name() {
            "" => Ok("$".to_owned()),
            name => Ok((self.value)(name).unwrap_or_default()),
        }
    }

    fn name(&mut self) -> &'a str {
        let rest = self.rest;
        let is_part = |character: char| character == '_' || character.is_ascii_alphanumeric();
        let end = match rest.chars().next() {
            // $1 is one digit, as in a shell.
            Some(first) if first.is_ascii_digit() => 1,
            _ => rest.find(|character| !is_part(character)).unwrap_or(rest.len()),
        };
        let (name, after) = rest.split_at(end);
        self.rest = after;
        name
    }

    fn braced(&mut self) -> Result<String, String> {
        let name = self.name().to_owned();
        if name.is_empty() {
            return Err("${ without a name".to_owned());
        }
        let empty_counts = self.rest.starts_with(':');
        if empty_counts {
            self.next();
        }
        let value = (self.value)(&name);
        let is_set = value.as_ref().is_some_and(|value| !(empty_counts && value.is_empty()));
        match self.next() {
            Some('}') if !empty_counts => Ok(value.unwrap_or_default()),
            Some('-') => {
                let other = self.until(Some('}'))?;
                Ok(value.filter(|_| is_set).unwrap_or(other))
            }
            Some('+') => {
                let other = self.until(Some('}'))?;
                Ok(if is_set { other } else { String::new() })
            }
            Some('?') => {
                let reason = self.until(Some('}'))?;
                let reason = if reason.is_empty() { "it has no value".to_owned() } else { reason };
                value.filter(|_| is_set).ok_or_else(|| format!("{name}: {reason}"))
            }
            None => Err(format!("${{{name} is not closed")),
            Some(other) => {
                Err(format!("${{{name}{other}…}}: of modifiers only :-, :+, :?, -, + and ? are implemented"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(text: &str) -> Result<String, String> {
        let value = |name: &str| match name {
            "a" => Some("1 2".to_owned()),
            "empty" => Some(String::new()),
            _ => None,
        };
        word(text, '\\', &value)
    }

    #[test]
    fn variables_have_values_where_quotes_let_them() {
        for (text, expected) in [
            ("$a", "1 2"),
            ("x${a}y", "x1 2y"),
            ("'$a'", "$a"),
            ("\"$a\"", "1 2"),
            ("\\$a", "$a"),
            ("\"\\$a\\n\"", "$a\\n"),
            ("$no", ""),
            ("${no:-b$a}", "b1 2"),
            ("${empty:-c}", "c"),
            ("${empty-c}", ""),
            ("${a:+d}", "d"),
            ("${empty+d}", "d"),
            ("${no:+d}", ""),
            ("${no:-${a}}", "1 2"),
            ("${a:?gone}", "1 2"),
            ("$", "$"),
            ("a$-", "a$-"),
            ("\\a", "a"),
            ("$1x", "x"),
        ] {
            assert_eq!(said(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["${", "${a", "${}", "'a", "\"a", "${a#b}", "${no:?gone}", "${a:}"] {
            assert!(said(bad).is_err(), "{bad}");
        }
        assert_eq!(said("${no:?gone}").unwrap_err(), "no: gone");
        assert!(said(&"${x:-".repeat(40)).is_err());
    }

    proptest! {
        #[test]
        fn words_without_signs_say_themselves(text in "[a-z/.:=-]{0,30}") {
            prop_assert_eq!(said(&text).unwrap(), text);
        }

        #[test]
        fn nothing_panics(text in "[a$\\{\\}:+?'\"\\\\-]{0,40}") {
            let _either_way = said(&text);
        }
    }
}
