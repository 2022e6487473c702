//! What the documents promise about the tree.

use crate::root;

/// `path` and, where it names one, a function or type in it, from every stop of the tour.
fn stops(text: &str) -> Vec<(String, String)> {
    let numbered = text.lines().filter(|line| line.split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok()));
    let words = numbered.map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    words.filter_map(|words| Some((words.first()?.clone(), words.get(1)?.clone()))).collect()
}

#[test]
fn every_stop_of_the_tour_exists() {
    let tour = std::fs::read_to_string(root().join("docs/tour.md")).unwrap();
    let stops = stops(&tour);
    assert!(stops.len() >= 12, "a tour of {} stops", stops.len());
    for (file, name) in stops {
        let text = std::fs::read_to_string(root().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let declared = ["fn", "struct", "enum"].iter().any(|kind| text.contains(&format!("{kind} {name}")));
        assert!(declared, "{file} has no {name}");
    }
}

#[test]
fn the_map_says_of_every_crate_what_it_never_does() {
    let map = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        let heading = format!("### `{member}`");
        let (_, section) = map.split_once(&heading).unwrap_or_else(|| panic!("docs/architecture.md has no {heading}"));
        let section = section.split("\n### ").next().unwrap_or_default();
        assert!(section.contains("**Never here:**"), "{heading} says no never");
    }
}

/// The paths and names of functions that a document quotes as `path.rs`, `path.rs::name` or `path.rs::{name, name}`.
fn quoted_tests(text: &str) -> Vec<(String, Vec<String>)> {
    let words = text.split('`').skip(1).step_by(2).filter(|word| word.contains(".rs"));
    let parts = words.map(|word| word.split_once("::").unwrap_or((word, "")));
    let names = |list: &str| -> Vec<String> {
        let names = list.trim_matches(['{', '}']).split(", ").filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    parts.map(|(path, list)| (path.to_owned(), names(list))).collect()
}

#[test]
fn every_test_of_a_fault_exists() {
    let faults = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let quoted = quoted_tests(&faults);
    assert!(quoted.len() >= 60, "docs/faults.md names {} files", quoted.len());
    for (path, names) in quoted {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for name in names {
            assert!(text.contains(&format!("fn {name}")), "{path} has no {name}");
        }
    }
}
