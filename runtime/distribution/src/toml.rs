//! The part of TOML 1.0 that `hosts.toml` is written in: tables, strings on one line, booleans, integers, arrays, inline tables, comments.
//! The order of tables is kept, because it is the order in which mirrors are asked. What is not of this part is refused, not misread.

use std::iter::Peekable;
use std::str::Chars;

/// How deep arrays and inline tables may be in one another.
const DEPTH_MAX: u32 = 8;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    Integer(i64),
    List(Vec<Value>),
    Table(Table),
}

/// Keys and values in the order of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Table(pub(crate) Vec<(String, Value)>);

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn table(&mut self, path: &[String]) -> Result<&mut Self, String> {
        let Some((first, rest)) = path.split_first() else { return Ok(self) };
        let at = match self.0.iter().position(|(name, _)| name == first) {
            Some(at) => at,
            None => {
                self.0.push((first.clone(), Value::Table(Self::default())));
                self.0.len() - 1
            }
        };
        match &mut self.0[at].1 {
            Value::Table(table) => table.table(rest),
            _ => Err(format!("`{first}` is a value, not a table")),
        }
    }

    fn put(&mut self, path: &[String], value: Value) -> Result<(), String> {
        let Some((last, parents)) = path.split_last() else { return Err("a key is empty".to_owned()) };
        let table = self.table(parents)?;
        if table.get(last).is_some() {
            return Err(format!("`{last}` is there twice"));
        }
        table.0.push((last.clone(), value));
        Ok(())
    }
}

/// Parses a document; the error names the line.
pub(crate) fn parse(text: &str) -> Result<Table, String> {
    let mut reader = Reader { rest: text.chars().peekable(), line: 1 };
    reader.document().map_err(|reason| format!("line {}: {reason}", reader.line))
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Table, String> {
        let (mut document, mut current) = (Table::default(), Vec::new());
        let mut opened: Vec<Vec<String>> = Vec::new();
        loop {
            self.blank();
            match self.rest.peek() {
                None => return Ok(document),
                Some('[') => {
                    self.next();
                    if self.rest.peek() == Some(&'[') {
                        return Err("arrays of tables have no place here".to_owned());
                    }
                    current = self.key()?;
                    self.expect(']')?;
                    if opened.contains(&current) {
                        return Err(format!("the table `{}` is there twice", current.join(".")));
                    }
                    opened.push(current.clone());
                    document.table(&current)?;
                }
                Some(_) => {
                    let key = self.key()?;
                    self.expect('=')?;
                    self.spaces();
                    let value = self.value(DEPTH_MAX)?;
                    document.table(&current)?.put(&key, value)?;
                }
            }
            self.end_of_line()?;
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.spaces();
        match self.next() {
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(format!("`{wanted}` is expected, not `{}`", found.escape_debug())),
            None => Err(format!("`{wanted}` is expected, not the end")),
        }
    }

    fn spaces(&mut self) {
        while self.rest.next_if(|&next| next == ' ' || next == '\t').is_some() {}
    }

    /// Spaces, lines and comments.
    fn blank(&mut self) {
        loop {
            match self.rest.peek() {
                Some(' ' | '\t' | '\r' | '\n') => drop(self.next()),
                Some('#') => while self.rest.next_if(|&next| next != '\n').is_some() {},
                _ => return,
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), String> {
        self.spaces();
        match self.rest.peek() {
            None | Some('\n' | '\r' | '#') => Ok(()),
            Some(other) => Err(format!("`{}` is too much in this line", other.escape_debug())),
        }
    }

    /// `a."b c".d`
    fn key(&mut self) -> Result<Vec<String>, String> {
        let mut parts = Vec::new();
        loop {
            self.spaces();
            parts.push(match self.rest.peek() {
                Some('"' | '\'') => self.text()?,
                _ => self.word()?,
            });
            self.spaces();
            if self.rest.next_if_eq(&'.').is_none() {
                return Ok(parts);
            }
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let is_word = |next: &char| next.is_ascii_alphanumeric() || matches!(next, '_' | '-' | '+');
        let mut word = String::new();
        while let Some(next) = self.rest.next_if(is_word) {
            word.push(next);
        }
        if word.is_empty() { Err("a key or a value is expected".to_owned()) } else { Ok(word) }
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        let depth = depth.checked_sub(1).ok_or("arrays and tables are nested too deep")?;
        match self.rest.peek() {
            Some('"' | '\'') => self.text().map(Value::Text),
            Some('[') => self.list(depth),
            Some('{') => self.inline(depth),
            _ => match self.word()?.as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                number => number
                    .replace('_', "")
                    .parse()
                    .map(Value::Integer)
                    .map_err(|_| format!("`{number}` is no value that is used here")),
            },
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, String> {
        self.expect('[')?;
        let mut list = Vec::new();
        loop {
            self.blank();
            if self.rest.next_if_eq(&']').is_some() {
                return Ok(Value::List(list));
            }
            list.push(self.value(depth)?);
            self.blank();
            if self.rest.next_if_eq(&',').is_none() {
                self.expect(']')?;
                return Ok(Value::List(list));
            }
        }
    }

    fn inline(&mut self, depth: u32) -> Result<Value, String> {
        self.expect('{')?;
        let mut table = Table::default();
        self.spaces();
        if self.rest.next_if_eq(&'}').is_some() {
            return Ok(Value::Table(table));
        }
        loop {
            let key = self.key()?;
            self.expect('=')?;
            self.spaces();
            table.put(&key, self.value(depth)?)?;
            self.spaces();
            if self.rest.next_if_eq(&',').is_none() {
                self.expect('}')?;
                return Ok(Value::Table(table));
            }
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let quote = self.next().unwrap_or('"');
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err("a text has no end on its line".to_owned()),
                Some(found) if found == quote => break,
                Some('\\') if quote == '"' => text.push(self.escape()?),
                Some(found) => text.push(found),
            }
        }
        if text.is_empty() && self.rest.peek() == Some(&quote) {
            return Err("texts over several lines have no place here".to_owned());
        }
        Ok(text)
    }

    fn escape(&mut self) -> Result<char, String> {
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some(same @ ('"' | '\\')) => return Ok(same),
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err("a `\\` stands before something that needs none".to_owned()),
        };
        let code: String = (0..digits).filter_map(|_| self.next()).collect();
        let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| "a `\\u` is followed by no character's number".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_hosts_files_look_like_is_read_in_order() {
        let text = "# a comment\nserver = \"https://b.example\" # and one\n\n[host.\"https://z.example\"]\n  capabilities = [\"pull\", \n 'resolve', ]\r\n  skip_verify = true\n\
            dial_timeout=\"1s\"\n[host.\"https://a.example\".header]\nx-y = [\"1\"]\n[host.'http://c']\nclient = {a=1, b.c = [ ]}\n";
        let table = parse(text).unwrap();
        assert_eq!(table.get("server"), Some(&Value::Text("https://b.example".into())));
        let Some(Value::Table(hosts)) = table.get("host") else { panic!("{table:?}") };
        let names: Vec<_> = hosts.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["https://z.example", "https://a.example", "http://c"]);
        let Value::Table(first) = &hosts.0[0].1 else { panic!() };
        assert_eq!(first.get("skip_verify"), Some(&Value::Bool(true)));
        let list = Value::List(vec![Value::Text("pull".into()), Value::Text("resolve".into())]);
        assert_eq!(first.get("capabilities"), Some(&list));
    }

    #[test]
    fn what_is_not_read_is_refused_with_its_line() {
        for (text, reason) in [
            ("a = 1\na = 2", "line 2: `a` is there twice"),
            ("[a]\n[a]", "line 2: the table `a` is there twice"),
            ("[[a]]", "arrays of tables"),
            ("a = \"\"\"x\"\"\"", "several lines"),
            ("a = 'x", "no end"),
            ("a = 1979-05-27T07:32:00Z", "is no value that is used here"),
            ("a b", "`=` is expected"),
            ("a = 1 b", "too much"),
            ("a = [[[[[[[[[1]]]]]]]]]", "nested too deep"),
            ("a = 1\n[a]", "`a` is a value"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[ab.=\\[\\]{}\"',#\n\\\\u0-9 ]{0,60}|\\PC{0,40}") {
            let _either_way = parse(&text);
        }
    }
}
