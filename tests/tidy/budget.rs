//! Lengths, unsafe, unwrap: budgets that keep the longest function readable.

use crate::{shown, sources};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;

#[test]
fn files_are_one_module_each() {
    for path in sources() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines; this is two modules", shown(&path));
    }
}

#[test]
fn functions_can_be_read_at_once() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for (name, lines) in functions(&text) {
            assert!(
                lines <= FUNCTION_LINES_MAX,
                "{}: {name} has {lines} lines; which decision inside deserves a name?",
                shown(&path)
            );
        }
    }
}

/// Names and lengths of functions: from the line with `fn` to the first closing brace in the same column.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        let Some(at) = code.find("fn ").filter(|at| *at == 0 || code[..*at].split(' ').all(is_qualifier)) else {
            continue;
        };
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == close || line.starts_with(&format!("{close} ")));
        let declared = code.ends_with(';');
        if let (Some(length), false) = (end, declared) {
            let name = code[at + 3..].split(['(', '<']).next().unwrap_or_default();
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "" | "pub" | "pub(crate)" | "pub(super)" | "async" | "const" | "unsafe" | "extern" | "\"C\"")
}

#[test]
fn unsafe_stands_behind_one_door() {
    for path in sources() {
        let name = shown(&path);
        if name.starts_with("runtime/sys/") || name.starts_with("tests/tidy/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let found = text.lines().find(|line| {
            let code = line.split("//").next().unwrap_or_default();
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| code.contains(word))
        });
        assert!(found.is_none(), "{name}: {}", found.unwrap_or_default());
    }
}

#[test]
fn nothing_is_left_to_do_later() {
    for path in sources() {
        let name = shown(&path);
        if name.starts_with("tests/tidy/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["todo!(", "unimplemented!(", "FIXME", "#[ignore"] {
            assert!(!text.contains(word), "{name} says {word}");
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{}: no module doc", shown(&path));
    }
}

/// A module that has children is `name.rs` beside the folder `name`. Only test targets share helpers as `support/mod.rs`,
/// because cargo would take a file beside them for a test of its own.
#[test]
fn a_module_has_the_name_of_its_file() {
    let named_mod = |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name == "mod.rs");
    let in_tests = |path: &std::path::PathBuf| path.components().any(|part| part.as_os_str() == "tests");
    let wrong = sources().into_iter().filter(|path| named_mod(path) && !in_tests(path));
    let wrong: Vec<String> = wrong.map(|path| shown(&path)).collect();
    assert!(wrong.is_empty(), "these belong one folder up, under their folder's name: {wrong:?}");
}
