//! The table of all rows and all runtimes.

use super::lab::{Lab, Verdict};
use super::{DOCUMENTS, ours};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Peers by the names that `tests/peers` gives them.
const PEERS: &[&str] = &["runc-1.1.15", "runc-1.3", "crun-1.21"];

/// The runtimes to compare, and a folder that must outlive them.
fn labs(folder: &Path) -> Vec<Lab> {
    if let Some(list) = std::env::var_os("SKIFF_OCI_UNDER_TEST") {
        return std::env::split_paths(&list).map(|program| Lab { name: name_of(&program), program }).collect();
    }
    let Some(peers) = std::env::var_os("SKIFF_PEERS").map(PathBuf::from) else {
        println!("SKIPPED: conformance table: SKIFF_PEERS is not set");
        return Vec::new();
    };
    let mut labs = vec![ours()];
    for name in PEERS {
        let program = peers.join(name);
        if program.exists() {
            labs.push(Lab { name: (*name).to_owned(), program: wrapped(folder, name, &program) });
        } else {
            println!("SKIPPED: conformance table: {name}: is not among the peers");
        }
    }
    labs
}

fn name_of(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// crun refuses a host that has a version 2 tree beside version 1; it gets a mount namespace without that tree.
fn wrapped(folder: &Path, name: &str, program: &Path) -> PathBuf {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if !name.starts_with("crun") || !unified.exists() {
        return program.to_owned();
    }
    let script = format!(
        "#!/bin/sh\nexec unshare -m --propagation slave sh -c 'umount {}; exec \"$0\" \"$@\"' {} \"$@\"\n",
        unified.display(),
        program.display()
    );
    let path = folder.join(name);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn the_table_of_all_runtimes() {
    if std::env::var_os("SKIFF_CONFORMANCE_TABLE").is_none() {
        println!("SKIPPED: conformance table: SKIFF_CONFORMANCE_TABLE is not set");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let labs = labs(folder.path());
    let (mut table, mut notes) = (String::new(), String::new());
    let mut kept = vec![0; labs.len()];
    let mut tried = vec![0; labs.len()];
    for (document, rows) in DOCUMENTS {
        let heads: String = labs.iter().map(|lab| format!(" {} |", lab.name)).collect();
        write!(
            table,
            "\n## {document}\n\n| clause | what must hold |{heads}\n|---|---|{}\n",
            "---|".repeat(labs.len())
        )
        .unwrap();
        for row in *rows {
            write!(table, "| {} | {} |", row.clause, row.says).unwrap();
            for (index, lab) in labs.iter().enumerate() {
                let cell = match (row.check)(lab) {
                    Ok(()) => {
                        kept[index] += 1;
                        tried[index] += 1;
                        "yes"
                    }
                    Err(Verdict::Skips(_)) => "–",
                    Err(Verdict::Breaks(how)) => {
                        tried[index] += 1;
                        writeln!(notes, "- {}, {}, {}: {}", lab.name, row.clause, row.says, line(&how)).unwrap();
                        "**no**"
                    }
                };
                write!(table, " {cell} |").unwrap();
            }
            table.push('\n');
        }
        progress(document);
    }
    let sums: Vec<_> = labs
        .iter()
        .zip(kept.iter().zip(&tried))
        .map(|(lab, (kept, tried))| format!("{} {kept} of {tried}", lab.name))
        .collect();
    publish(&format!("{}.\n{table}\n## What the others do instead\n\n{notes}", sums.join(", ")));
}

/// Says how far it is, past the capture of the test harness: in a guest it takes half an hour.
fn progress(document: &str) {
    let _nobody_may_listen =
        std::io::Write::write_all(&mut std::io::stderr(), format!("PROGRESS: {document} done\n").as_bytes());
}

/// A finding as one line of Markdown, without what differs from run to run.
fn line(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !word.contains("/tmp/") && !word.contains("clause-"));
    let short: String = words.collect::<Vec<_>>().join(" ").chars().take(160).collect();
    short.replace(['|', '`', '<', '>', '*'], "'")
}

fn publish(table: &str) {
    let has = |name: &str| Path::new("/sys/fs/cgroup").join(name).exists();
    let (own, in_a_guest) = ("conformance.md", "conformance-v2.md");
    let (package, file, other, layout) = match (has("cgroup.controllers"), has("unified")) {
        (true, _) => ("skiff-vm", in_a_guest, own, "cgroup version 2 alone"),
        (_, true) => ("skiff-oci", own, in_a_guest, "hybrid cgroups"),
        (_, false) => ("skiff-oci", own, in_a_guest, "cgroup version 1 alone"),
    };
    let head = format!(
        "# Conformance to the runtime-spec\n\nEach row is a test (`runtime/tests/conformance`) that names its clause. \
         `–`: this machine cannot show it.\n\
         A runtime that is older than a field breaks the rows of that field; rows that start with `runc` are of its command \
         line.\nWritten by `SKIFF_CONFORMANCE_TABLE=docs/{file} cargo test -p {package} the_table` with the\nprograms of \
         `tests/peers`, on a host with {layout}. With other cgroups: [{other}]({other}).\n\n"
    );
    let file = std::env::var("SKIFF_CONFORMANCE_TABLE").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace's folder");
    fs::write(root.join(file), format!("{head}{table}")).unwrap();
}
