//! The runtime-spec's Linux part, clause by clause, as rows that any runtime with runc's command line can be held against.
//!
//! Each row names its clause, says what must hold, and tries it on a real container. skiff-oci must keep every row;
//! the runtimes of `SKIFF_PEERS` are only recorded beside it. `SKIFF_OCI_UNDER_TEST` (programs, separated by colons) puts
//! others in their place. `SKIFF_CONFORMANCE_TABLE=FILE` writes the table, which is `docs/conformance.md`.
//!
//! To add a row, put it in the file of its document; a new file is a new line in [`DOCUMENTS`].

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod config;
mod features;
mod hooks;
mod lab;
mod lifecycle;
mod linux;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod table;

use lab::{Lab, Outcome, Verdict};

/// One clause.
pub(crate) struct Row {
    /// Document and section of the runtime-spec.
    pub(crate) clause: &'static str,
    /// What must hold, in our words.
    pub(crate) says: &'static str,
    /// Tries it.
    pub(crate) check: fn(&Lab) -> Outcome,
}

/// A row.
pub(crate) const fn row(clause: &'static str, says: &'static str, check: fn(&Lab) -> Outcome) -> Row {
    Row { clause, says, check }
}

/// All rows by document.
const DOCUMENTS: &[(&str, &[Row])] = &[
    ("config.md", config::ROWS),
    ("config.md, mounts", mounts::ROWS),
    ("config.md, process", process::ROWS),
    ("config.md, hooks", hooks::ROWS),
    ("config-linux.md", linux::ROWS),
    ("config-linux.md, namespaces", namespaces::ROWS),
    ("config-linux.md, control groups", resources::ROWS),
    ("runtime.md and runtime-linux.md", lifecycle::ROWS),
    ("features.md and features-linux.md", features::ROWS),
];

fn ours() -> Lab {
    Lab { name: "skiff-oci".to_owned(), program: env!("CARGO_BIN_EXE_skiff-oci").into() }
}

/// Every row of `document` holds for our runtime, or this machine cannot show it.
fn keeps(document: &str) {
    let (_, rows) = DOCUMENTS.iter().find(|(name, _)| *name == document).expect("a document of the list");
    let lab = ours();
    let mut broken = Vec::new();
    for row in *rows {
        match (row.check)(&lab) {
            Ok(()) => (),
            Err(Verdict::Skips(why)) => println!("SKIPPED: {}: {}: {why}", row.clause, row.says),
            Err(Verdict::Breaks(how)) => broken.push(format!("{}: {}\n    {how}", row.clause, row.says)),
        }
    }
    assert!(broken.is_empty(), "{} of {} rows\n{}", broken.len(), rows.len(), broken.join("\n"));
}

macro_rules! documents {
    ($($test:ident: $name:literal;)*) => {
        $(#[test] fn $test() { keeps($name) })*
        #[test]
        fn every_document_is_tested() {
            let tested = [$($name),*];
            assert!(DOCUMENTS.iter().map(|(name, _)| *name).eq(tested));
        }
    };
}

documents! {
    config_is_kept: "config.md";
    mounts_are_kept: "config.md, mounts";
    process_is_kept: "config.md, process";
    hooks_are_kept: "config.md, hooks";
    linux_is_kept: "config-linux.md";
    namespaces_are_kept: "config-linux.md, namespaces";
    resources_are_kept: "config-linux.md, control groups";
    lifecycle_is_kept: "runtime.md and runtime-linux.md";
    features_are_kept: "features.md and features-linux.md";
}
