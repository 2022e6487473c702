//! `skiff join`: a node of a cluster whose API server is elsewhere. The other nodes of `skiff up --nodes` come here too.

use super::{serving, stop, up};
use crate::cli::{JoinArgs, UpArgs};
use crate::folders::Folders;
use crate::isolate::{self, Holder, NewBox};
use crate::node::{
    BOX_ADDRESS, GO, Member, MemberConfig, NodeSettings, Place, check_ranges, host_address, member_address, member_name,
};
use crate::out::tell;
use anyhow::Context;
use std::io::{BufRead, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

pub(crate) fn run(mut args: JoinArgs) -> anyhow::Result<()> {
    up::require_root("join")?;
    up::check_runtime(args.node.oci_runtime.as_deref())?;
    let started = Instant::now();
    args.ranges.make_room();
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    let node_ip = args.node_ip.or_else(host_address).unwrap_or(Ipv4Addr::LOCALHOST.into());
    check_ranges(&folders, &args.ranges, Some(node_ip), Place::Host)?;
    folders.create()?;
    let _lock = folders.lock()?;
    let config = MemberConfig {
        cgroup_root: folders.settle_cgroup_root(args.node.cgroup_root.as_deref())?,
        folders,
        settings: NodeSettings::read(&args.node)?,
        node_ip,
        bootstrap: args.bootstrap_kubeconfig,
        dns: args.node.dns,
        ranges: args.ranges,
    };
    serving(async {
        let stop = stop::signalled()?;
        serve(config, None, started, stop).await
    })
}

/// One of the other nodes of `up --nodes`: waits for the first one's word, and goes when that goes.
pub(crate) fn run_member(mut args: UpArgs, number: u8) -> anyhow::Result<()> {
    if !is_let_go()? {
        return Ok(());
    }
    let started = Instant::now();
    args.ranges.make_room();
    let first = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    let folders = first.member(number);
    folders.create()?;
    let _lock = folders.lock()?;
    let new_box = isolate::enter(&folders)?;
    let address = member_address(BOX_ADDRESS, number);
    skiff_net::prepare_own(address)?;
    let hub = Holder::find(&first).context("the first node's box is gone")?;
    skiff_net::join_hub(&hub.network(), address).context("join the first node's box")?;
    let cgroup_root = args.node.cgroup_root.as_ref().map(|root| format!("{root}-{number}"));
    let cgroup_root = folders.settle_cgroup_root(cgroup_root.as_deref())?;
    let settings = NodeSettings::read(&args.node)?;
    let config = MemberConfig {
        cgroup_root,
        bootstrap: Some(folders.bootstrap_kubeconfig()),
        folders,
        settings: NodeSettings { name: member_name(&settings.name, number), static_pod_path: None, ..settings },
        node_ip: IpAddr::V4(address),
        dns: args.node.dns,
        ranges: args.ranges,
    };
    serving(async {
        let (signalled, left) = (stop::signalled()?, is_left());
        let stop = async move {
            tokio::select! {
                () = signalled => {}
                () = left => {}
            }
        };
        serve(config, Some(new_box), started, stop).await
    })
}

async fn serve(
    config: MemberConfig,
    new_box: Option<NewBox>,
    started: Instant,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut stop = std::pin::pin!(stop);
    let joining = async {
        let mut member = Member::start(config).await?;
        member.ready().await?;
        anyhow::Ok(member)
    };
    let mut member = tokio::select! {
        () = &mut stop => return Ok(()),
        member = joining => member?,
    };
    // From here on pods live in it, and go on when this process ends.
    new_box.into_iter().for_each(NewBox::keep);
    tell!("node {} is Ready after {} ms", member.name, started.elapsed().as_millis());
    let ended = member.run(stop).await;
    member.stop().await;
    ended
}

/// Whether the first node gives its word; `false`: it ended without.
fn is_let_go() -> anyhow::Result<bool> {
    let mut word = String::new();
    let mut input = std::io::stdin().lock();
    let read = input.by_ref().take(GO.len() as u64).read_to_string(&mut word);
    read.context("wait for the first node's word")?;
    Ok(word == GO)
}

/// Resolves when the first node, which holds the other end of our standard input, is gone.
async fn is_left() {
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    // A read of a pipe cannot be cut off, so it is no task of the runtime, which would wait for it at the end.
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _nothing_is_said = std::io::stdin().lock().read_until(0, &mut rest);
        let _ended_already = gone.send(());
    });
    let _gone = is_gone.await;
}
