//! `skiff store copy`: all keys and leases from one store into another, and a comparison at the end.
//!
//! ```text
//!  source at one revision:  keys without values ──sorted by their last write──► values, some at a time ─┐
//!  target:                  leases under the same ids ──► puts, in that order ◄────────────────────────┘
//!  both, in order of key:   the same keys, values and leases?
//! ```
//!
//! What stays behind: history, revisions (the target counts its own), and `compact_rev_key`, in which API servers note
//! revisions of the source.

mod read; // what the source has
mod verify; // is it the same
mod write; // into the target

use super::pages::beginning;
use super::print::{natural, print, size};
use super::progress::Progress;
use super::which::{self, Folder, Opened};
use crate::cli::{ClientTlsArgs, CopyArgs};
use anyhow::bail;
use bytes::Bytes;
use serde_json::json;
use skiff_proto::etcd::etcdserverpb as pb;
use std::path::Path;

/// The clock of API servers that compact together.
const LEFT_OUT: &[u8] = b"compact_rev_key";

/// What was done.
struct Copied {
    keys: usize,
    bytes: u64,
    leases: usize,
    /// Of the source: what was copied.
    from_revision: i64,
    /// Of the target: after the last put.
    to_revision: i64,
}

pub(super) async fn run(args: &CopyArgs) -> anyhow::Result<()> {
    let from = open(&args.from, &args.tls, Folder::Read, args).await?;
    let to = match open(&args.to, &dest_tls(args), Folder::New, args).await {
        Ok(to) => to,
        Err(error) => {
            from.close().await;
            return Err(error);
        }
    };
    let copied = copy(args, &from, &to).await;
    // Whatever happened: a folder is left closed.
    from.close().await;
    to.close().await;
    let copied = copied?;
    let value = json!({
        "from": args.from, "to": args.to, "totalKey": copied.keys, "totalSize": copied.bytes, "leases": copied.leases,
        "fromRevision": copied.from_revision, "toRevision": copied.to_revision, "verified": true,
    });
    print(args.form, &value, || {
        format!(
            "copied {} keys ({}) and {} leases from {} at revision {} to {}, now at revision {}; compared: the same",
            copied.keys,
            size(copied.bytes),
            copied.leases,
            args.from,
            copied.from_revision,
            args.to,
            copied.to_revision
        )
    })
}

/// An address, or else a folder.
async fn open(place: &str, tls: &ClientTlsArgs, folder: Folder, args: &CopyArgs) -> anyhow::Result<Opened> {
    let is_address = place.contains("://");
    if !is_address && !place.contains('/') && place.contains(':') {
        bail!("{place}: want http://{place}, or ./{place} if it is a folder");
    }
    if !is_address {
        return Opened::folder(Path::new(place), folder, args.command_timeout).await;
    }
    let urls: Vec<String> = place.split(',').map(str::to_owned).collect();
    which::first_of(&urls, which::keys(tls)?.as_ref(), args.command_timeout).await
}

fn dest_tls(args: &CopyArgs) -> ClientTlsArgs {
    let other = args.dest_cert.is_some();
    ClientTlsArgs {
        cacert: args.dest_cacert.clone().or_else(|| args.tls.cacert.clone()),
        cert: if other { args.dest_cert.clone() } else { args.tls.cert.clone() },
        key: if other { args.dest_key.clone() } else { args.tls.key.clone() },
    }
}

async fn copy(args: &CopyArgs, from: &Opened, to: &Opened) -> anyhow::Result<Copied> {
    refuse_itself(from, to).await?;
    let there = count(to).await?;
    if there > 0 && !args.overwrite {
        bail!("{} has {there} keys; with --overwrite equal keys are replaced and others stay", to.name);
    }
    let mut progress = Progress::new();
    let source = read::Source::list(from, &args.prefix, &mut progress).await?;
    let leases = write::grant(from, to, &source).await?;
    let (bytes, to_revision) = write::put(from, to, &source, &leases, &mut progress).await?;
    verify::compare(from, to, &source, &leases, &mut progress).await?;
    Ok(Copied { keys: source.keys.len(), bytes, leases: leases.len(), from_revision: source.revision, to_revision })
}

/// Copying a store into itself would grant its own leases and call that a copy.
async fn refuse_itself(from: &Opened, to: &Opened) -> anyhow::Result<()> {
    let cluster = |status: pb::StatusResponse| status.header.map(|header| header.cluster_id);
    let (source, target) = (cluster(from.status().await?), cluster(to.status().await?));
    if source.is_some() && source == target {
        bail!("{} and {} are the same cluster", from.name, to.name);
    }
    Ok(())
}

async fn count(opened: &Opened) -> anyhow::Result<u64> {
    let request = pb::RangeRequest { count_only: true, ..beginning("") };
    Ok(natural(opened.ask("count of keys", opened.kv().range(request)).await?.count))
}

/// The answer to a range that a transaction made.
fn ranged(response: pb::ResponseOp) -> anyhow::Result<pb::RangeResponse> {
    match response.response {
        Some(pb::response_op::Response::ResponseRange(found)) => Ok(found),
        _ => bail!("the answer to a transaction lacks its read"),
    }
}

/// A key as a person can read it.
fn shown(key: &Bytes) -> String {
    key.escape_ascii().to_string()
}
