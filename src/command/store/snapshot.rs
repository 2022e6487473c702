//! `skiff store snapshot`: a whole store as one file.

use super::print::{print, size};
use super::progress::{Progress, watched};
use super::which::{self, Opened};
use crate::cli::{SnapshotCommand, SnapshotRestoreArgs, SnapshotSaveArgs, SnapshotStatusArgs};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_store::snapshot::{self, Summary};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of the trailer: a SHA-256 of all before it. etcd's snapshots have it too.
const SUM_BYTES: usize = 32;

pub(super) async fn run(command: SnapshotCommand) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Save(args) => save(&args).await,
        SnapshotCommand::Restore(args) => restored(args).await,
        SnapshotCommand::Status(args) => status(args).await,
    }
}

async fn save(args: &SnapshotSaveArgs) -> anyhow::Result<()> {
    let opened = which::first(&args.which).await?;
    let saved = save_to(&opened, &args.file).await;
    let name = opened.name.clone();
    opened.close().await;
    let saved = saved?;
    let value = json!({
        "endpoint": name, "file": args.file.display().to_string(), "totalSize": saved.bytes, "sha256": saved.sum,
    });
    print(args.form, &value, || {
        format!("saved {} of {name} to {}, sha256 {}", size(saved.bytes), args.file.display(), saved.sum)
    })
}

/// A file that was written.
pub(super) struct Saved {
    pub(super) bytes: u64,
    /// Of its content, in hex.
    pub(super) sum: String,
}

/// Writes a snapshot beside `file`, proves it whole, and gives it that name.
pub(super) async fn save_to(opened: &Opened, file: &Path) -> anyhow::Result<Saved> {
    let part = PathBuf::from(format!("{}.part", file.display()));
    let written = write(opened, &part).await;
    if written.is_err() {
        // It may not be there at all.
        let _may_not_be_there = std::fs::remove_file(&part);
    }
    let saved = written?;
    std::fs::rename(&part, file).with_context(|| format!("rename {} to {}", part.display(), file.display()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("sync {}", folder.display()))?;
    Ok(saved)
}

async fn write(opened: &Opened, path: &Path) -> anyhow::Result<Saved> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = open.with_context(|| format!("create {}", path.display()))?;
    let mut pieces = opened.ask("snapshot", opened.maintenance().snapshot(pb::SnapshotRequest {})).await?;
    let (mut sum, mut bytes, mut progress) = (Trailing::default(), 0_u64, Progress::new());
    while let Some(piece) = opened.in_time("snapshot", pieces.message()).await? {
        file.write_all(&piece.blob).with_context(|| format!("write {}", path.display()))?;
        sum.add(&piece.blob);
        bytes += piece.blob.len() as u64;
        progress.show(|| format!("{} saved, {} to go", size(bytes), size(piece.remaining_bytes)));
    }
    let sum = sum.proved().with_context(|| format!("snapshot of {}", opened.name))?;
    file.sync_all().with_context(|| format!("sync {}", path.display()))?;
    Ok(Saved { bytes, sum })
}

/// A sum of everything but the last bytes, which are that sum.
#[derive(Default)]
struct Trailing {
    sum: Sha256,
    last: Vec<u8>,
}

impl Trailing {
    fn add(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let surely = self.last.len().saturating_sub(SUM_BYTES);
        self.sum.update(&self.last[..surely]);
        self.last.drain(..surely);
    }

    fn proved(self) -> anyhow::Result<String> {
        if self.last.len() < SUM_BYTES {
            bail!("it ended after {} bytes", self.last.len());
        }
        ensure!(
            self.sum.finalize()[..] == self.last[..],
            "what came is not what its sum says: some of it is missing or damaged"
        );
        Ok(hex::encode(self.last))
    }
}

/// Makes a store of a file.
pub(super) async fn restore(file: PathBuf, folder: PathBuf) -> anyhow::Result<Summary> {
    let restoring = tokio::task::spawn_blocking(move || snapshot::restore(&file, &folder));
    Ok(watched("restoring", restoring).await.context("restore")??)
}

async fn restored(args: SnapshotRestoreArgs) -> anyhow::Result<()> {
    which::refuse_foreign(&args.data_dir)?;
    let summary = restore(args.file.clone(), args.data_dir.clone()).await?;
    print(args.form, &described(&args.file, &summary), || {
        let lost = "it is a new cluster of one: stop its old clients before you serve it, they know the old revisions";
        format!("restored {} into {}; {lost}", shown(&summary), args.data_dir.display())
    })
}

async fn status(args: SnapshotStatusArgs) -> anyhow::Result<()> {
    let file = args.file.clone();
    let reading = tokio::task::spawn_blocking(move || snapshot::status(&file));
    let summary = watched("reading all of it", reading).await.context("status")??;
    print(args.form, &described(&args.file, &summary), || format!("{}: {}", args.file.display(), shown(&summary)))
}

/// etcdutl's names, and more.
fn described(file: &Path, summary: &Summary) -> Value {
    json!({
        "file": file.display().to_string(), "revision": summary.revision, "totalKey": summary.keys,
        "totalSize": summary.bytes, "compactRevision": summary.compacted, "records": summary.records,
        "leases": summary.leases, "sha256": hex::encode(summary.sha256),
    })
}

fn shown(summary: &Summary) -> String {
    let Summary { revision, keys, records, leases, bytes, .. } = summary;
    format!("revision {revision}, {keys} keys, {records} records of history, {leases} leases, {}", size(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_found_at_the_end_however_it_comes() {
        let content = vec![7_u8; 1000];
        let whole = [content.clone(), Sha256::digest(&content).to_vec()].concat();
        for piece in [1, 31, 32, 33, 1000, 5000] {
            let mut sum = Trailing::default();
            whole.chunks(piece).for_each(|bytes| sum.add(bytes));
            assert_eq!(sum.proved().unwrap().len(), 64);
        }
        let mut cut = Trailing::default();
        cut.add(&whole[..1031]);
        assert!(cut.proved().is_err());
        assert!(Trailing::default().proved().is_err());
    }
}
