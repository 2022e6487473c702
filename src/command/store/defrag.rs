//! `skiff store defrag`: gives space that compaction freed back to the disk.

use super::print::{natural, print, size};
use super::progress::watched;
use super::which::{self, Opened};
use crate::cli::DefragArgs;
use anyhow::Context;
use serde_json::{Value, json};
use skiff_proto::etcd::etcdserverpb as pb;

pub(super) async fn run(args: &DefragArgs) -> anyhow::Result<()> {
    let (mut lines, mut members) = (Vec::new(), Vec::new());
    // One after the other: a member that is at it may not answer others meanwhile.
    for opened in which::each(&args.which).await? {
        let (before, after) = defragment(&opened).await?;
        lines.push(format!("defragmented {}: {} before, {} now", opened.name, size(before), size(after)));
        members.push(json!({"endpoint": opened.name, "dbSizeBefore": before, "dbSize": after}));
        opened.close().await;
    }
    print(args.form, &Value::Array(members), || lines.join("\n"))
}

/// Sizes before and after. It takes as long as it takes.
async fn defragment(opened: &Opened) -> anyhow::Result<(u64, u64)> {
    let before = natural(opened.status().await?.db_size);
    let mut maintenance = opened.maintenance();
    let done = watched("defragmenting", maintenance.defragment(pb::DefragmentRequest {})).await;
    done.with_context(|| format!("defragment {}", opened.name))?;
    Ok((before, natural(opened.status().await?.db_size)))
}
