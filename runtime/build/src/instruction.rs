//! A logical line to an instruction. Variables keep their names: their values are known when the stage is made.

use crate::lines::Line;
use crate::{BuildError, words};
use serde_json::{Map, Value, json};

/// What a RUN, CMD or ENTRYPOINT executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// As it is.
    Exec(Vec<String>),
    /// By the stage's shell.
    Shell(String),
}

/// COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copied {
    /// ADD, which unpacks archives.
    pub(crate) add: bool,
    /// A stage or an image, instead of the context.
    pub(crate) from: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) sources: Vec<String>,
    pub(crate) to: String,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Instruction {
    From {
        platform: Option<String>,
        image: String,
        name: Option<String>,
    },
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Copy(Copied),
    Run(Command),
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Workdir(String),
    User(String),
    Expose(Vec<String>),
    Volume(Vec<String>),
    Stopsignal(String),
    /// In the form of Docker's configuration.
    Healthcheck(Value),
    Maintainer(String),
}

/// An instruction, where and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: u32,
    /// For people.
    pub(crate) text: String,
    pub(crate) instruction: Instruction,
}

const KNOWN: &str = "FROM, ARG, COPY, ADD, ENV, LABEL, RUN, CMD, ENTRYPOINT, SHELL, WORKDIR, USER, EXPOSE, VOLUME, STOPSIGNAL, HEALTHCHECK and MAINTAINER";

/// Reads a line.
pub(crate) fn read(line: &Line, escape: char) -> Result<Step, BuildError> {
    let (keyword, rest) = line.text.split_once(char::is_whitespace).unwrap_or((&line.text, ""));
    let keyword = keyword.to_ascii_uppercase();
    let rest = rest.trim();
    let instruction =
        of(&keyword, rest, escape).map_err(|why| BuildError::at(line.number, format!("{keyword}: {why}")))?;
    let text = format!("{keyword} {}", rest.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(Step { line: line.number, text, instruction })
}

fn of(keyword: &str, rest: &str, escape: char) -> Result<Instruction, String> {
    if rest.is_empty() && !matches!(keyword, "CMD" | "ENTRYPOINT") {
        let known = matches!(keyword, "ONBUILD") || KNOWN.split([',', ' ']).any(|known| known == keyword);
        return Err(if known { "nothing follows it".to_owned() } else { unknown(keyword) });
    }
    match keyword {
        "FROM" => from(rest, escape),
        "ARG" => args(rest, escape),
        "ENV" => Ok(Instruction::Env(pairs(rest, escape)?)),
        "LABEL" => Ok(Instruction::Label(pairs(rest, escape)?)),
        "COPY" => copied(rest, false),
        "ADD" => copied(rest, true),
        "RUN" => run(rest),
        "CMD" => Ok(Instruction::Cmd(command(rest))),
        "ENTRYPOINT" => Ok(Instruction::Entrypoint(command(rest))),
        "SHELL" => match words::json(rest) {
            Some(shell) if !shell.is_empty() => Ok(Instruction::Shell(shell)),
            _ => Err("it must be a list in JSON, as [\"/bin/sh\", \"-c\"]".to_owned()),
        },
        "WORKDIR" => Ok(Instruction::Workdir(rest.to_owned())),
        "USER" => Ok(Instruction::User(single(rest, escape)?)),
        "EXPOSE" => Ok(Instruction::Expose(words::split(rest, escape)?)),
        "VOLUME" => Ok(Instruction::Volume(words::json(rest).map_or_else(|| words::split(rest, escape), Ok)?)),
        "STOPSIGNAL" => Ok(Instruction::Stopsignal(single(rest, escape)?)),
        "HEALTHCHECK" => healthcheck(rest).map(Instruction::Healthcheck),
        "MAINTAINER" => Ok(Instruction::Maintainer(rest.to_owned())),
        "ONBUILD" => Err("it is not implemented: write the instruction where it is to run".to_owned()),
        _ => Err(unknown(keyword)),
    }
}

fn unknown(keyword: &str) -> String {
    let keyword = keyword.escape_debug();
    format!("there is no instruction {keyword}; there are {KNOWN}")
}

fn single(rest: &str, escape: char) -> Result<String, String> {
    let [one] = &words::split(rest, escape)?[..] else { return Err("one word is needed".to_owned()) };
    Ok(one.clone())
}

fn from(rest: &str, escape: char) -> Result<Instruction, String> {
    let (options, rest) = words::options(rest);
    let mut platform = None;
    for (name, value) in options {
        match (name.as_str(), value) {
            ("platform", Some(value)) => platform = Some(value),
            (name, _) => return Err(no_option(name, "--platform")),
        }
    }
    let words = words::split(rest, escape)?;
    match &words[..] {
        [image] => Ok(Instruction::From { platform, image: image.clone(), name: None }),
        [image, word, name] if word.eq_ignore_ascii_case("as") => {
            let first = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic());
            let rest = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one));
            if !first(name) || !rest(name) {
                let why = "a stage's name begins with a letter and has letters, digits, -, _ and .";
                return Err(format!("{}: {why}", name.escape_debug()));
            }
            Ok(Instruction::From { platform, image: image.clone(), name: Some(name.to_ascii_lowercase()) })
        }
        _ => Err("it is neither FROM IMAGE nor FROM IMAGE AS NAME".to_owned()),
    }
}

fn no_option(name: &str, known: &str) -> String {
    format!("--{} is not implemented; of options it has {known}", name.escape_debug())
}

fn args(rest: &str, escape: char) -> Result<Instruction, String> {
    let all = words::split(rest, escape)?.into_iter().map(|word| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word, None),
    });
    let all: Vec<_> = all.collect();
    match all.iter().find(|(name, _)| name.is_empty()) {
        Some(_) => Err("a name is empty".to_owned()),
        None => Ok(Instruction::Arg(all)),
    }
}

/// `NAME=VALUE …`, or of old `NAME VALUE`.
fn pairs(rest: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = words::split(rest, escape)?;
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = rest.split_once(char::is_whitespace).ok_or_else(|| format!("{first} has no value"))?;
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(format!("{word}: a name is empty")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("{word} is not NAME=VALUE: a value with spaces needs quotes")),
    };
    words.iter().map(pair).collect()
}

fn command(rest: &str) -> Command {
    words::json(rest).map_or_else(|| Command::Shell(rest.to_owned()), Command::Exec)
}

fn run(rest: &str) -> Result<Instruction, String> {
    let (options, rest) = words::options(rest);
    if let Some((name, _)) = options.first() {
        return Err(format!("--{} is not implemented", name.escape_debug()));
    }
    refuse_here_document(rest)?;
    match command(rest) {
        Command::Exec(words) if words.is_empty() => Err("the list is empty".to_owned()),
        command => Ok(Instruction::Run(command)),
    }
}

/// `<<EOF`; arithmetic in a shell has a space or a digit after its sign.
fn refuse_here_document(rest: &str) -> Result<(), String> {
    let begins = |word: &str| {
        let name = word.trim_start_matches("<<").trim_start_matches('-').trim_start_matches(['"', '\'']);
        word.starts_with("<<")
            && !word.starts_with("<<<")
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
    };
    if rest.split_whitespace().any(begins) {
        return Err("here-documents (<<EOF) are not implemented".to_owned());
    }
    Ok(())
}

fn copied(rest: &str, add: bool) -> Result<Instruction, String> {
    let (options, rest) = words::options(rest);
    let mut copied = Copied { add, from: None, owner: None, mode: None, sources: Vec::new(), to: String::new() };
    for (name, value) in options {
        let value = value.filter(|value| !value.is_empty());
        match (name.as_str(), value) {
            ("from", Some(value)) if !add => copied.from = Some(value),
            ("chown", Some(value)) => copied.owner = Some(value),
            ("chmod", Some(value)) => copied.mode = Some(value),
            // A layer of ours stands by itself anyway.
            ("link", None) => {}
            ("link", Some(value)) if matches!(value.as_str(), "true" | "false") => {}
            ("from" | "chown" | "chmod", None) => return Err(format!("--{name} has no value")),
            (name, _) => {
                let known = if add { "--chown, --chmod and --link" } else { "--from, --chown, --chmod and --link" };
                return Err(no_option(name, known));
            }
        }
    }
    refuse_here_document(rest)?;
    let mut words = words::json(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
    copied.to = words.pop().unwrap_or_default();
    if words.is_empty() || copied.to.is_empty() {
        return Err("a source and a place are needed".to_owned());
    }
    let is_remote = |word: &&String| {
        ["http://", "https://", "git@", "git://", "ssh://"].iter().any(|scheme| word.starts_with(scheme))
    };
    if let Some(remote) = words.iter().find(is_remote) {
        return Err(format!("{}: only files of the context can be added", remote.escape_debug()));
    }
    copied.sources = words;
    Ok(Instruction::Copy(copied))
}

/// `NONE`, or `[options] CMD command`, in Docker's form: times are nanoseconds.
fn healthcheck(rest: &str) -> Result<Value, String> {
    let (options, rest) = words::options(rest);
    let mut check = Map::new();
    for (name, value) in options {
        let value = value.unwrap_or_default();
        let field = match name.as_str() {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => "Retries",
            name => {
                return Err(no_option(name, "--interval, --timeout, --start-period, --start-interval and --retries"));
            }
        };
        let number = if field == "Retries" { value.parse().ok() } else { nanoseconds(&value) };
        let number: u64 = number.ok_or_else(|| format!("--{name}={}: it is no such number", value.escape_debug()))?;
        check.insert(field.to_owned(), json!(number));
    }
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let test = match (kind.to_ascii_uppercase().as_str(), rest.trim()) {
        ("NONE", "") => json!(["NONE"]),
        ("CMD", "") => return Err("CMD: a command is needed".to_owned()),
        ("CMD", rest) => match command(rest) {
            Command::Shell(text) => json!(["CMD-SHELL", text]),
            Command::Exec(words) => [vec!["CMD".to_owned()], words].concat().into(),
        },
        _ => return Err("it is neither NONE nor CMD with a command".to_owned()),
    };
    check.insert("Test".to_owned(), test);
    Ok(Value::Object(check))
}

/// Go's durations: `1m30s`, `500ms`.
fn nanoseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|one: char| !one.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ms", 1_000_000),
            ("us", 1000),
            ("ns", 1),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ];
        let (unit, each) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        sum = sum.checked_add(number.checked_mul(*each)?)?;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Instruction, String> {
        read(&Line { number: 7, text: text.to_owned() }, '\\')
            .map(|step| step.instruction)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn forms_are_told_apart() {
        assert_eq!(of("cmd [\"a\", \"b\"]"), Ok(Instruction::Cmd(Command::Exec(vec!["a".into(), "b".into()]))));
        assert_eq!(of("CMD [a, b]"), Ok(Instruction::Cmd(Command::Shell("[a, b]".into()))));
        assert_eq!(of("ENV a b  c"), Ok(Instruction::Env(vec![("a".into(), "b  c".into())])));
        let both = vec![("a".into(), "\"1 2\"".into()), ("b".into(), "3".into())];
        assert_eq!(of("ENV a=\"1 2\" b=3"), Ok(Instruction::Env(both)));
        let check = json!({"Test": ["CMD-SHELL", "curl x"], "Interval": 90_000_000_000_u64, "Retries": 3});
        assert_eq!(of("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x"), Ok(Instruction::Healthcheck(check)));
        let stage = Instruction::From { platform: None, image: "x:1".into(), name: Some("b".into()) };
        assert_eq!(of("FROM x:1 as B"), Ok(stage));
    }

    /// Every sentence that a person may read about a line.
    #[test]
    fn refusals_say_the_line_and_the_reason() {
        let bad = [
            "FROM",
            "FROM a b",
            "FROM a AS 1",
            "FROM --x=y a",
            "RUN",
            "RUN []",
            "RUN --mount=type=cache,target=/x make",
            "RUN cat <<EOF",
            "COPY a",
            "COPY --from a b",
            "COPY --exclude=x a b",
            "ADD --from=x a b",
            "ADD https://x/y /z",
            "ENV a",
            "ENV a=1 b",
            "LABEL =x",
            "SHELL /bin/sh",
            "USER a b",
            "HEALTHCHECK CURL x",
            "HEALTHCHECK --interval=x NONE",
            "ONBUILD RUN x",
            "COPPY a b",
            "ENV a='x",
            "ARG =x",
            "STOPSIGNAL a b",
            "HEALTHCHECK CMD",
        ];
        let all: Vec<String> = bad.iter().map(|text| of(text).unwrap_err()).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    proptest! {
        #[test]
        fn nothing_panics(keyword in "(FROM|ARG|COPY|ADD|ENV|RUN|HEALTHCHECK|VOLUME|EXPOSE|X)", rest in "[ -~]{0,40}") {
            let _either_way = of(&format!("{keyword} {rest}"));
        }
    }
}
