//! Figures as Markdown.

use super::measure::Figures;
use super::programs::{Program, READONLY};

/// Medians by program.
pub(crate) fn all(figures: &Figures, programs: &[Program]) -> String {
    let names: Vec<_> = programs.iter().map(|program| program.name).collect();
    let mut lines = vec![format!("| median | {} |", names.join(" | ")), format!("|---|{}", "---|".repeat(names.len()))];
    for row in &figures.rows {
        let cells = names.iter().map(|name| match figures.median(row, name) {
            Some(value) if row.ends_with("ms") => format!("{value:.2}"),
            Some(value) => format!("{value:.0}"),
            None => "–".to_owned(),
        });
        lines.push(format!("| {row} | {} |", cells.collect::<Vec<_>>().join(" | ")));
    }
    lines.join("\n")
}

/// A goal: a row of ours, against another program's or a number, at most.
struct Goal(&'static str, Option<&'static str>, f64);

const CRUN: Option<&str> = Some("crun-1.21");
const GOALS: &[Goal] = &[
    Goal("run, back to back, ms", CRUN, 0.5),
    Goal("run, after 250 ms, ms", CRUN, 0.5),
    Goal("run, back to back, ms", Some("floor"), 1.3),
    Goal("run, after 250 ms, ms", Some("floor"), 1.3),
    Goal("run, back to back, processor ms", Some("floor"), 1.3),
    Goal("create+start+delete, back to back, ms", CRUN, 0.5),
    Goal("create+start+delete, after 250 ms, ms", CRUN, 0.5),
    Goal("exec, back to back, ms", CRUN, 0.6),
    Goal("exec, after 250 ms, ms", CRUN, 0.6),
    Goal("peak memory of run, KiB", None, 1.8 * 1024.0),
    Goal("smallest memory limit that works, KiB", None, 256.0),
    Goal("program, KiB", None, 2048.0),
];

/// Whether each goal is met.
pub(crate) fn goals(figures: &Figures) -> String {
    let mut lines = vec!["| goal | seen | at most | |".to_owned(), "|---|---|---|---|".to_owned()];
    let both = GOALS.iter().flat_map(|goal| [(goal, "skiff-oci"), (goal, READONLY)]);
    for (Goal(row, other, most), name) in both {
        let Some(ours) = figures.median(row, name) else { continue };
        let against = match other {
            Some(name) => figures.median(row, name),
            None => Some(1.0),
        };
        let Some(against) = against else { continue };
        let (seen, what) = (ours / against, other.map_or_else(String::new, |name| format!(" / {name}")));
        let verdict = if seen <= *most { "met" } else { "**missed**" };
        lines.push(format!("| {name}: {row}{what} | {seen:.2} | {most:.2} | {verdict} |"));
    }
    lines.join("\n")
}
