//! What the reference answered to some thousands of expressions: message, type, estimate, value, error, cost.

#[path = "shared/world.rs"]
mod world;

use serde_json::Value as Json;
use world::Answer;

/// Of expressions made by chance.
const RECORDED: &str = include_str!("recorded.jsonl");

/// Of the expressions that Kubernetes' own tests of its libraries are about.
const PUBLISHED: &str = include_str!("published.jsonl");

#[test]
fn recorded_answers_are_given_here_too() {
    let worlds = world::worlds();
    let mut wrong = Vec::new();
    let mut all = 0;
    for line in RECORDED.lines().chain(PUBLISHED.lines()) {
        let line: Json = serde_json::from_str(line).expect("a recorded answer is JSON");
        let text = line["e"].as_str().expect("a recorded answer names its expression");
        let world = usize::try_from(line["w"].as_u64().unwrap_or(0)).expect("worlds are few");
        let (theirs, ours) = (Answer::read(&line), worlds[world].ask(text));
        all += 1;
        if theirs != ours {
            wrong.push(format!("{text}\n  recorded {}\n  now      {}", theirs.write(), ours.write()));
        }
    }
    assert!(all >= 2000, "{all} answers are recorded");
    assert!(wrong.is_empty(), "{} of {all} differ:\n{}", wrong.len(), wrong.join("\n"));
}
