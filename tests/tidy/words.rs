//! What users read: one writer for standard output, and sentences instead of Rust's debug forms.

use crate::{root, shown, sources};
use std::path::Path;

/// The files that may write to standard output and standard error; all others go through them.
const WRITERS: &[&str] = &["src/out.rs", "runtime/src/report.rs"];

/// Folders whose programs have no users: tests, examples of a crate, and what runs inside cargo.
const WITHOUT_USERS: &[&str] = &[
    "tests/",
    "apiserver/schema/examples/",
    "apiserver/store/examples/",
    "runtime/cri/examples/",
    "runtime/sys/examples/",
    "build/",
    "build.rs",
];

/// The product's code of each file: without tests, and without comments.
pub(crate) fn product() -> impl Iterator<Item = (String, Vec<(usize, String)>)> {
    let is_test = |name: &str| {
        WITHOUT_USERS.iter().any(|folder| name.starts_with(folder))
            || ["/tests/", "/fuzz/"].iter().any(|folder| name.contains(folder))
            || ["/tests.rs", "/build.rs"].iter().any(|file| name.ends_with(file))
    };
    sources().into_iter().map(|path| (shown(&path), path)).filter(move |(name, _)| !is_test(name)).map(
        |(name, path)| {
            let lines = code(&path);
            (name, lines)
        },
    )
}

/// Lines and their numbers, up to the tests of the file.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.to_owned()));
    let lines = lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]" || !text.contains("\nmod tests {"));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// Fault N11: `println!` panics when nobody reads any more, as in `skiff get events | true`.
#[test]
fn one_file_of_a_program_writes_to_standard_output() {
    let prints =
        |line: &str| ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("].iter().any(|word| line.contains(word));
    none_is("use show!, tell! or complain!", |name, line| !WRITERS.contains(&name) && prints(line));
    assert!(WRITERS.iter().all(|name| root().join(name).exists()), "a writer has moved");
}

/// What an error, or a part of one, is called in our code.
const ERRORS: &[&str] = &["error", "err", "status", "code", "cause", "source", "failure", "refusal", "refused"];

/// Crates that talk to API servers, whose errors kube shows in its debug form when they are asked for their text.
const CLIENTS: &[&str] =
    &["src/", "kubelet/src/", "kubelet/proxy/src/", "apiserver/controllers/src/", "apiserver/scheduler/src/"];

/// Debug forms of something called like an error that are meant: file, part of the line, and why.
const MEANT: &[(&str, &str, &str)] =
    &[("apiserver/schema/src/kinds/testing.rs", "error.kind", "tables of tests name a reason by its variant")];

/// What a line shows in its debug form, if that is an error.
fn dumped(line: &str) -> Option<&'static str> {
    if ["panic!(", "assert", "unreachable!("].iter().any(|word| line.contains(word)) {
        return None;
    }
    let is_named = |name: &str, word: &str| name.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
    let shown = line.split('{').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once(":?}").or_else(|| rest.split_once(":#?}"))?;
        // Without a name in the braces it is one of the arguments, which follow the text.
        let arguments = || line.rsplit_once('"').map_or("", |(_, arguments)| arguments);
        (!name.contains('}')).then(|| if name.is_empty() { arguments() } else { name })
    });
    let is_logged = line.contains("tracing::") || line.trim_start().starts_with('?');
    let fields = line.split(['(', ',', ' ']).filter_map(|word| word.strip_prefix('?')).filter(|_| is_logged);
    let names: Vec<&str> = shown.chain(fields).collect();
    ERRORS.iter().copied().find(|word| names.iter().any(|name| is_named(name, word)))
}

/// The lines that `is_wrong`, with `advice`.
pub(crate) fn none_is(advice: &str, is_wrong: impl Fn(&str, &str) -> bool) {
    let found = product().flat_map(|(name, lines)| {
        let wrong = lines.into_iter().filter(|(_, line)| is_wrong(&name, line));
        wrong.map(|(number, line)| format!("{name}:{number}: {}", line.trim())).collect::<Vec<_>>()
    });
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{advice}:\n{}", found.join("\n"));
}

/// Fault N12: `skiff up --node-name 'A B'` ended with 2,000 characters of Rust. An error is told by its text.
#[test]
fn nobody_reads_the_debug_form_of_an_error() {
    let is_meant = |name: &str, line: &str| MEANT.iter().any(|(file, part, _why)| *file == name && line.contains(part));
    none_is("tell the error by its text", |name, line| dumped(line).is_some() && !is_meant(name, line));
}

/// Of a refusal by the API server, `{error}` is such a debug form.
#[test]
fn clients_tell_errors_in_sentences() {
    let is_client = |name: &str| CLIENTS.iter().any(|folder| name.starts_with(folder));
    let is_plain = |line: &str| ["%error", "%source", "{error:#}"].iter().any(|form| line.contains(form));
    none_is("use skiff_client::sentence", |name, line| is_client(name) && is_plain(line));
}

#[test]
fn debug_forms_of_errors_are_found() {
    for line in [
        r#"format!("cannot: {error:?}")"#,
        r#"format!("{}: {:?}", name, error)"#,
        r#"format!("{}: {} ({:?})", a, status.message(), status.code())"#,
        r#"tracing::warn!(?error, "lost")"#,
        r#"tracing::warn!(cause = ?source, "lost")"#,
        r#"write!(out, "{failure:#?}")"#,
    ] {
        assert!(dumped(line).is_some(), "{line}");
    }
    for line in [r#"format!("{name:?} is no name: {error}")"#, r#"assert!(ok, "{error:?}")"#, "maybe?;", "a(b?, error)"]
    {
        assert!(dumped(line).is_none(), "{line}");
    }
}
