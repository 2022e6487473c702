//! The table of field numbers, `fields.txt`. It is searched, not parsed: protobuf bodies are rare.

const TABLE: &str = include_str!("fields.txt");

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A field of the JSON object; `keep_zero`: 0, false and "" say something.
    Field {
        /// Its name in JSON.
        name: &'static str,
        /// Whether a zero value counts as given.
        keep_zero: bool,
    },
    /// A message whose fields are those of its holder.
    Embedded(&'static str),
}

/// The field `number` of the message `definition`.
pub(super) fn find(definition: &str, number: u32) -> Option<Entry> {
    row(definition)?.split(' ').find_map(|word| entry(word, number))
}

/// The fields of a message, as they stand in the table.
pub(super) fn row(definition: &str) -> Option<&'static str> {
    let (package, name) = definition.rsplit_once('.')?;
    let mut lines = TABLE.lines().skip_while(|line| *line != package).skip(1).take_while(|line| line.starts_with(' '));
    lines.find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(' '))
}

fn entry(word: &'static str, number: u32) -> Option<Entry> {
    let end = word.find([':', '='])?;
    let (digits, rest) = word.split_at(end);
    if digits.parse() != Ok(number) {
        return None;
    }
    if let Some(message) = rest.strip_prefix('=') {
        return Some(Entry::Embedded(message));
    }
    let name = rest.strip_prefix(':')?;
    let bare = name.strip_suffix('*');
    Some(Entry::Field { name: bare.unwrap_or(name), keep_zero: bare.is_some() })
}
