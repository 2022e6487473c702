//! `skiff store fsck`: proves that a store's state equals its history.
//!
//! A folder is read as it is, and not written to. Of a server a snapshot is taken and restored into a folder for temporary
//! files, which proves the history that it serves, though not its file.

use super::print::{print, size};
use super::progress::watched;
use super::snapshot::{restore, save_to};
use super::which;
use crate::cli::FsckArgs;
use anyhow::{Context, bail};
use serde_json::json;
use skiff_store::fsck::{Report, fsck};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub(super) async fn run(args: &FsckArgs) -> anyhow::Result<()> {
    let (name, report) = match &args.which.data_dir {
        Some(folder) => (folder.display().to_string(), check(folder.clone()).await?),
        None => served(args).await?,
    };
    let value = json!({
        "store": name, "sound": report.is_sound(), "revision": report.revision, "compactRevision": report.compacted,
        "records": report.records, "recordBytes": report.record_bytes, "totalKey": report.keys,
        "leases": report.leases, "findings": report.findings,
    });
    print(args.form, &value, || shown(&name, &report))?;
    if !report.is_sound() {
        bail!("{name} is damaged: {} findings", report.findings.len());
    }
    Ok(())
}

async fn check(folder: PathBuf) -> anyhow::Result<Report> {
    let looking = tokio::task::spawn_blocking(move || fsck(&folder));
    Ok(watched("reading all of it", looking).await.context("fsck")??)
}

async fn served(args: &FsckArgs) -> anyhow::Result<(String, Report)> {
    let opened = which::first(&args.which).await?;
    let scratch = Scratch::new()?;
    let (file, folder) = (scratch.0.join("snapshot"), scratch.0.join("data"));
    save_to(&opened, &file).await?;
    restore(file, folder.clone()).await?;
    Ok((opened.name, check(folder).await?))
}

fn shown(name: &str, report: &Report) -> String {
    let Report { revision, compacted, records, keys, leases, .. } = report;
    let verdict = if report.is_sound() { "sound" } else { "DAMAGED" };
    let figures = format!(
        "{name}: {verdict}; revision {revision}, compacted to {compacted}, {records} records of history ({}), {keys} keys, {leases} leases",
        size(report.record_bytes)
    );
    report.findings.iter().map(|finding| format!("{finding}\n")).collect::<String>() + &figures
}

/// A folder for temporary files. Dropped: removed.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("skiff-fsck-{}", std::process::id()));
        make(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

/// It must be new: in a folder that everybody may write to, an old one could be anybody's.
fn make(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), error = skiff_client::sentence(&error), "cannot remove the folder");
        }
    }
}
