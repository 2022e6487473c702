//! Compares this engine with a reference that evaluates the same lines.
//!
//! `generate SEED COUNT` prints worlds and expressions made by chance; a reference answers each line; `compare` reads its answers and prints
//! where this engine answers otherwise; `record` prints them as cases of the tests.

#[path = "../tests/shared/generator.rs"]
mod generator;
#[path = "../tests/shared/world.rs"]
mod world;

use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufWriter, Write};
use world::Answer;

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = BufWriter::new(std::io::stdout().lock());
    match args.first().map(String::as_str) {
        Some("generate") => {
            let number = |at: usize| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(1);
            generate(&mut out, number(1), number(2))
        }
        Some("worlds") => worlds(&mut out),
        Some("compare") => compare(&mut out),
        Some("record") => record(&mut out),
        _ => writeln!(out, "usage: differential generate SEED COUNT | worlds | compare | record"),
    }
}

fn worlds(out: &mut impl Write) -> std::io::Result<()> {
    world::written().iter().try_for_each(|world| writeln!(out, "{}", json!({"world": world})))
}

fn generate(out: &mut impl Write, seed: u64, count: u64) -> std::io::Result<()> {
    worlds(out)?;
    let mut generator = generator::Generator::seeded(seed);
    for _ in 0..count {
        let (world, text) = generator.next();
        writeln!(out, "{}", json!({"w": world, "e": text}))?;
    }
    out.flush()
}

fn answers() -> impl Iterator<Item = Json> {
    std::io::stdin().lock().lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok())
}

fn compare(out: &mut impl Write) -> std::io::Result<()> {
    let worlds = world::worlds();
    let (mut all, mut counts) = (0_u64, BTreeMap::<&str, u64>::new());
    for line in answers() {
        let text = line["e"].as_str().unwrap_or_default();
        let world = usize::try_from(line["w"].as_u64().unwrap_or(0)).unwrap_or(0);
        let (theirs, ours) = (Answer::read(&line), worlds[world].ask(text));
        all += 1;
        if theirs == ours {
            *counts.entry(outcome(&ours)).or_default() += 1;
            continue;
        }
        *counts.entry("different").or_default() += 1;
        writeln!(out, "world {world}: {text}\n  theirs {}\n  ours   {}", theirs.write(), ours.write())?;
    }
    writeln!(out, "{all} compared: {counts:?}")
}

fn outcome(answer: &Answer) -> &'static str {
    if !answer.compile.is_empty() {
        "refused"
    } else if !answer.program.is_empty() {
        "constant refused"
    } else if !answer.error.is_empty() {
        "error"
    } else {
        "value"
    }
}

fn record(out: &mut impl Write) -> std::io::Result<()> {
    answers().try_for_each(|line| writeln!(out, "{line}"))
}
