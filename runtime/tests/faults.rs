//! Every step of every command fails once, and kills the runtime once: after `delete --force` nothing may be left.
//!
//! A command is run with a trace first; then once more for each step that it reached, each time that it reached it, with a
//! planned error and with a planned kill there. What is left afterwards is looked for in the mounts, the processes, the
//! cgroups, the folders and on the host itself. The next case uses the same id, so it also shows that the id is free.
//!
// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used)]

mod faults {
    pub(super) mod leaks;
    pub(super) mod scenario;
}
mod support;

use faults::leaks::Snapshot;
use faults::scenario::{STARTED, Scenario, Spot};
use std::io::Write;
use std::time::{Duration, Instant};

/// What the runtime may be asked, and what must have happened before. `exec` and `run` end by themselves.
const COMMANDS: &[(&str, &[&str])] = &[
    ("create", &[]),
    (STARTED, &[]),
    ("run", &[]),
    ("start", &["create"]),
    ("exec", &["create", "start"]),
    ("kill", &["create", "start"]),
    ("pause", &["create", "start"]),
    ("resume", &["create", "start", "pause"]),
    ("update", &["create", "start"]),
    ("delete", &["create", "start", "kill"]),
    ("delete --force", &["create", "start", "pause"]),
];

/// A command that is stopped by a fault must not take longer than this; it only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// Steps at which a death looks to the command like success: the last ones before the program, which might have died as
/// early itself; and those of killing and freezing a container, which are repeated until they have had their effect.
const UNSEEN: &[&str] = &["seccomp.load", "exec.payload", "cgroup.kill", "cgroup.freeze"];
const ACTIONS: &[&str] = &["error(5)", "kill"];

fn sweep(scenario: &Scenario) {
    scenario.isolate_mounts();
    let begun = Instant::now();
    let clean = Snapshot::take(scenario);
    let (mut cases, mut found) = (0, Vec::new());
    for (command, before) in COMMANDS {
        let spots = reached(scenario, command, before);
        assert!(!spots.is_empty(), "{command} has no steps");
        for (spot, action) in spots.iter().flat_map(|spot| ACTIONS.iter().map(move |action| (spot, *action))) {
            let fault = format!("{}:{}={action}", spot.step, spot.count);
            before.iter().for_each(|word| scenario.do_well(word));
            let ended = scenario.run(command, &[("SKIFF_FAULT", &fault)], PATIENCE);
            let deleted = scenario.run("delete --force", &[], PATIENCE);
            let mut left = clean.settle(scenario, PATIENCE);
            match ended {
                Ok(said) if said.code == 0 && action == "kill" && !UNSEEN.contains(&spot.step.as_str()) => {
                    left.push("nothing was killed".to_owned());
                }
                Ok(_) => (),
                Err(why) => left.push(format!("{command} {why}")),
            }
            match deleted {
                Ok(said) if said.code == 0 => (),
                other => left.push(format!("delete --force: {other:?}")),
            }
            if !left.is_empty() {
                found.push(format!("{command} with {fault}: {}", left.join("; ")));
                scenario.clear();
            }
            cases += 1;
        }
        progress(&format!(
            "{}: {command} done, {cases} cases in {:.0} s",
            scenario.name,
            begun.elapsed().as_secs_f64()
        ));
    }
    println!("{}: {cases} cases in {:.0} s", scenario.name, begun.elapsed().as_secs_f64());
    assert!(found.is_empty(), "{} of {cases} cases leave something:\n{}", found.len(), found.join("\n"));
}

/// Says how far it is, past the capture of the test harness: whoever watches must see that it is not stuck.
fn progress(words: &str) {
    let _nobody_may_listen = writeln!(std::io::stderr(), "PROGRESS: {words}");
}

/// Where `command` can be disturbed.
fn reached(scenario: &Scenario, command: &str, before: &[&str]) -> Vec<Spot> {
    before.iter().for_each(|word| scenario.do_well(word));
    let mut spots = scenario.trace(command);
    scenario.do_well("delete --force");
    if command == STARTED {
        let before = scenario.trace("create");
        scenario.do_well("delete --force");
        spots.retain(|spot| !before.contains(spot));
    }
    spots
}

#[test]
fn a_container_with_everything() {
    sweep(&Scenario::with_everything());
}

#[test]
fn a_container_in_a_user_namespace_that_joins_a_network() {
    sweep(&Scenario::with_users());
}

#[test]
fn a_container_with_a_terminal() {
    sweep(&Scenario::with_terminal());
}
