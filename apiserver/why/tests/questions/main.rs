//! Questions that users of nodes ask, each with the state of a cluster and the sentences that it gets.
//!
//! `cases/NAME.txt` holds what is answered; `SKIFF_CASES=accept cargo test -p skiff-why` writes it anew. The words that a sentence has to
//! hold stand beside each state, so that a text that was accepted in haste still fails.

#![allow(clippy::unwrap_used, reason = "a state that is written wrongly fails the test")]

mod ends; // containers that end, pods that are ended or do not go
mod network; // services, names, policies
mod nodes; // nodes, and what makes pods
mod places; // pods without a node
mod starts; // containers that do not start
mod world; // states of clusters

use skiff_why::Style;
use std::path::Path;
use world::Case;

fn cases() -> Vec<Case> {
    [places::cases(), starts::cases(), ends::cases(), network::cases(), nodes::cases()].into_iter().flatten().collect()
}

#[test]
fn every_question_has_its_sentence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/questions/cases");
    let accept = std::env::var("SKIFF_CASES").is_ok_and(|value| value == "accept");
    let mut wrong = Vec::new();
    for case in cases() {
        let answer = case.answer();
        let text = format!("{}\nexit code {}\n", answer.text(Style::PLAIN), answer.verdict().code());
        for word in case.words {
            if !text.contains(word) {
                wrong.push(format!("{}: {word:?} is not in\n{text}", case.name));
            }
        }
        let file = folder.join(format!("{}.txt", case.name));
        if accept {
            std::fs::write(&file, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if expected != text {
            wrong.push(format!("{}: expected\n{expected}\nand it says\n{text}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each of the 25 questions has a state, by the number at the start of its name; and no text is left over.
#[test]
fn no_question_is_forgotten() {
    let names: Vec<_> = cases().iter().map(|case| case.name).collect();
    for number in 1..=25 {
        let start = format!("{number:02}-");
        assert!(names.iter().any(|name| name.starts_with(&start)), "question {number} has no state");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/questions/cases");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        assert!(names.iter().any(|name| file == format!("{name}.txt")), "{file} belongs to no state");
    }
}

/// A server that answers nothing is no reason to guess.
#[test]
fn what_nobody_answers_is_not_guessed() {
    for case in cases() {
        let answer = case.without_answers();
        assert!(answer.findings.is_empty(), "{}: {:?}", case.name, answer.findings);
        assert_eq!(answer.verdict().code(), 2, "{}", case.name);
    }
}
