//! Files of cases beside this test, and the list of differences that are known.

use crate::case::{self, Case};
use crate::facts::Facts;
use crate::kinds::Kind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn file(kind: &Kind) -> PathBuf {
    let several = kind.name().trim_start_matches("truth-");
    folder().join(format!("{}.{several}.jsonl", kind.id()))
}

/// Writes a kind's cases. The first one is the creation of its object: the others say how they differ from it.
pub(crate) fn write(kind: &Kind, cases: &[Case]) {
    let base = base(cases);
    let mut text = String::new();
    for case in cases {
        let facts = case.facts.as_ref().expect("answered");
        // The first is the base itself.
        let line = if text.is_empty() { case::line(case, facts, &Value::Null) } else { case::line(case, facts, &base) };
        writeln!(text, "{line}").expect("a string takes everything");
    }
    fs::write(file(kind), text).expect("the cases can be written");
}

fn base(cases: &[Case]) -> Value {
    cases.first().and_then(|case| case.facts.as_ref()).map_or(Value::Null, |facts| facts.object.clone())
}

/// Reads a kind's cases.
pub(crate) fn read(kind: &Kind) -> Vec<Case> {
    let text = fs::read_to_string(file(kind)).expect("every kind has recorded cases");
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let base = base(&cases);
        cases.push(case::read(&line, &base));
    }
    cases
}

/// Differences, by kind and class, each with its number and the first case that shows it.
#[derive(Default)]
pub(crate) struct Found {
    classes: BTreeMap<(String, String), (usize, String)>,
    asked: usize,
    unequal: usize,
}

impl Found {
    /// The kind is not there.
    pub(crate) fn unserved(&mut self, kind: &Kind) {
        self.classes.insert((kind.id(), "not served".to_owned()), (1, String::new()));
    }

    /// Notes how `got` differs from `wanted`.
    pub(crate) fn compare(&mut self, kind: &Kind, case: &Case, wanted: &Facts, got: &Facts) {
        self.asked += 1;
        let differences = wanted.differences(got);
        self.unequal += usize::from(!differences.is_empty());
        for difference in differences {
            let part = case.verb.split_once('/').map_or(String::new(), |(_, part)| format!("{part}: "));
            let entry = self.classes.entry((kind.id(), format!("{part}{}", difference.class))).or_default();
            entry.0 += 1;
            if entry.1.is_empty() {
                entry.1 = example(case, &difference.detail, wanted, got);
            }
        }
    }

    /// Writes all of it, with examples, to the file that `variable` names.
    pub(crate) fn report(&self, variable: &str) {
        let Some(path) = std::env::var_os(variable) else { return };
        let mut text = format!("{}\n", self.summary());
        for ((kind, class), (count, example)) in &self.classes {
            writeln!(text, "{kind} | {class} | {count} | {example}").expect("a string takes everything");
        }
        fs::write(path, text).expect("the report can be written");
    }

    pub(crate) fn summary(&self) -> String {
        let classes = self.classes.len();
        format!("compared {} answers, {} of them differ, in {classes} classes", self.asked, self.unequal)
    }
}

/// One line: the request, what is different, what both said.
fn example(case: &Case, detail: &str, wanted: &Facts, got: &Facts) -> String {
    let query = if case.query.is_empty() { String::new() } else { format!("?{}", case.query) };
    let change = if case.body.is_null() { Value::from(case.change.clone()) } else { case.body.clone() };
    let told = |facts: &Facts| {
        let causes: Vec<String> = facts.causes.iter().map(|(field, reason)| format!("{field} {reason}")).collect();
        format!("{} {} [{}] {}", facts.code, facts.reason, causes.join(", "), facts.said)
    };
    let clip = |text: String| text.chars().take(400).collect::<String>();
    let (theirs, ours) = (clip(told(wanted)), clip(told(got)));
    format!("{}{query} {} {detail} || theirs: {theirs} || ours: {ours}", case.verb, clip(change.to_string()))
}

/// The differences that are known: `exceptions.txt` has one a line, `kind | class | reason`.
pub(crate) struct Reasons;

impl Reasons {
    fn path() -> PathBuf {
        folder().join("exceptions.txt")
    }

    fn read() -> BTreeMap<(String, String), String> {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        let parse = |line: &str| {
            let mut parts = line.split(" | ").map(str::to_owned);
            let (kind, class) = (parts.next()?, parts.next()?);
            Some(((kind, class), parts.next().unwrap_or_default()))
        };
        text.lines().filter_map(parse).collect()
    }

    /// Every difference has its exception and every exception its difference.
    pub(crate) fn check(found: &Found) {
        let known = Self::read();
        if std::env::var("SKIFF_CASES").as_deref() == Ok("accept") {
            let reason = |key| known.get(key).map_or("open", |reason| &**reason);
            let lines = found.classes.keys().map(|key| format!("{} | {} | {}\n", key.0, key.1, reason(key)));
            return fs::write(Self::path(), lines.collect::<String>()).expect("the exceptions can be written");
        }
        if std::env::var_os("SKIFF_KINDS").is_some() {
            return; // a part says nothing about the whole
        }
        let mut text = String::new();
        for (key, (_, example)) in found.classes.iter().filter(|(key, _)| !known.contains_key(key)) {
            writeln!(text, "new: {} | {}\n  {example}", key.0, key.1).expect("a string takes everything");
        }
        for key in known.keys().filter(|key| !found.classes.contains_key(key)) {
            writeln!(text, "gone: {} | {}", key.0, key.1).expect("a string takes everything");
        }
        assert!(text.is_empty(), "answers differ from exceptions.txt (SKIFF_CASES=accept writes it anew):\n{text}");
    }
}
