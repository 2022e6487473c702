//! The command line of runc, read by hand: options before and after the container's id, `--x v` and `--x=v`.
//!
//! Pure: words in, words out. What the words mean is decided in `cmd`.

use crate::error::{Error, Result};

/// An option: its long name, an optional letter, and whether it takes a value.
pub(crate) struct Opt(pub(crate) &'static str, pub(crate) Option<char>, pub(crate) Takes);

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// It is a switch; `--x=false` turns it off.
    Nothing,
    /// It takes the next word, or what follows `=`.
    Value,
}

/// Where options end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nowhere: options may follow positional words.
    Never,
    /// At this many positional words; the rest belongs to a program.
    AfterPositionals(usize),
}

/// Words sorted into options and positionals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words {
    options: Vec<(&'static str, String)>,
    /// What is no option.
    pub(crate) positionals: Vec<String>,
}

impl Words {
    /// Sorts `words` by `table`.
    ///
    /// # Errors
    /// An unknown option, a missing value.
    pub(crate) fn sort(words: &[String], table: &[Opt], end: End) -> Result<Self> {
        let mut sorted = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" || sorted.is_over(end) {
                let rest = if word == "--" { None } else { Some(word) };
                sorted.positionals.extend(rest.into_iter().chain(words).cloned());
                break;
            }
            match word.strip_prefix('-') {
                Some(option) if !option.is_empty() => sorted.take(option, table, &mut words)?,
                _ => sorted.positionals.push(word.clone()),
            }
        }
        Ok(sorted)
    }

    fn is_over(&self, end: End) -> bool {
        matches!(end, End::AfterPositionals(count) if self.positionals.len() >= count)
    }

    fn take<'w>(&mut self, option: &str, table: &[Opt], words: &mut impl Iterator<Item = &'w String>) -> Result<()> {
        // urfave/cli, which runc uses, takes `-root` for `--root`; so does this.
        let option = option.strip_prefix('-').unwrap_or(option);
        let (name, inline) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let is_it = |opt: &&Opt| opt.0 == name || opt.1.is_some_and(|letter| name == letter.to_string());
        let Some(opt) = table.iter().find(is_it) else {
            return self.take_letters(option, table);
        };
        let value = match (opt.2, inline) {
            (_, Some(value)) => value,
            (Takes::Nothing, None) => "true".to_owned(),
            (Takes::Value, None) => {
                words.next().cloned().ok_or_else(|| Error::Usage(format!("option --{} needs a value", opt.0)))?
            }
        };
        self.options.push((opt.0, value));
        Ok(())
    }

    /// `-it`: several switches in one word.
    fn take_letters(&mut self, letters: &str, table: &[Opt]) -> Result<()> {
        for letter in letters.chars() {
            let switch = table.iter().find(|opt| opt.1 == Some(letter) && opt.2 == Takes::Nothing);
            let switch = switch.ok_or_else(|| Error::Usage(format!("unknown option `{letters}`")))?;
            self.options.push((switch.0, "true".to_owned()));
        }
        Ok(())
    }

    /// The last value given for `name`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// All values given for `name`, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.options.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Gives `name` a value, as if it had been the last one given.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.options.push((name, value.to_owned()));
    }

    /// Whether the switch `name` is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false" && value != "0")
    }
}

/// The options before the command.
pub(crate) const GLOBAL: &[Opt] = &[
    Opt("root", None, Takes::Value),
    Opt("log", None, Takes::Value),
    Opt("log-format", None, Takes::Value),
    Opt("debug", None, Takes::Nothing),
    Opt("systemd-cgroup", None, Takes::Nothing),
    Opt("rootless", None, Takes::Value),
    Opt("criu", None, Takes::Value),
    Opt("version", Some('v'), Takes::Nothing),
    Opt("help", Some('h'), Takes::Nothing),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &[Opt] = &[
        Opt("bundle", Some('b'), Takes::Value),
        Opt("force", Some('f'), Takes::Nothing),
        Opt("tty", Some('t'), Takes::Nothing),
    ];

    fn sort(line: &str, end: End) -> Result<Words> {
        Words::sort(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), TABLE, end)
    }

    #[test]
    fn options_stand_before_and_after_the_id() {
        for line in ["--bundle /b id --force", "id --force --bundle=/b", "-b /b -f id", "--force=true -b=/b id"] {
            let words = sort(line, End::Never).unwrap();
            assert_eq!((words.value("bundle"), words.is_on("force")), (Some("/b"), true), "{line}");
            assert_eq!(words.positionals, ["id"], "{line}");
        }
    }

    #[test]
    fn a_program_keeps_its_own_options() {
        let words = sort("-ft id ls -l --force", End::AfterPositionals(2)).unwrap();
        assert_eq!(words.positionals, ["id", "ls", "-l", "--force"]);
        assert!(words.is_on("tty"));
        assert_eq!(sort("id -- -x", End::Never).unwrap().positionals, ["id", "-x"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(sort("--nonsense", End::Never).unwrap_err().to_string().contains("nonsense"));
        assert!(sort("--bundle", End::Never).unwrap_err().to_string().contains("--bundle needs a value"));
    }

    proptest! {
        #[test]
        fn sorting_never_panics_and_keeps_every_positional(words in proptest::collection::vec("[-=a-z]{0,6}", 0..8)) {
            if let Ok(sorted) = Words::sort(&words, TABLE, End::Never) {
                prop_assert!(sorted.positionals.len() <= words.len());
                prop_assert!(sorted.positionals.iter().all(|word| words.contains(word)));
            }
        }
    }
}
