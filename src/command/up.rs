//! `skiff up`: a whole node in this process.

use super::{demo, join, serving, stop};
use crate::cli::{Part, UpArgs};
use crate::folders::Folders;
use crate::isolate::{self, NewBox};
use crate::node::{
    BOX_ADDRESS, Members, Names, Node, NodeConfig, NodeSettings, Place, Published, Reach, Site, UpIngress, UpRegistry,
    check_ranges, host_address,
};
use crate::out::tell;
use anyhow::{Context, bail};
use skiff_controllers::BalancerRange;
use skiff_step::TRACE_VARIABLE;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

/// The API's usual port.
const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);
/// The demo's folders, so that the next demo finds what a killed one left.
const DEMO_DATA: &str = "/var/lib/skiff-demo";
const DEMO_RUN: &str = "/run/skiff-demo";

pub(crate) fn run(mut args: UpArgs, verbose: u8) -> anyhow::Result<()> {
    if let Some(number) = args.member {
        return join::run_member(args, number);
    }
    if let Some(file) = args.trace.take() {
        return Err(restart_traced(&file));
    }
    if args.demo {
        args.isolated = true;
        args.folders.data_dir.get_or_insert_with(|| PathBuf::from(DEMO_DATA));
        if args.folders.data_dir.as_deref() == Some(Path::new(DEMO_DATA)) {
            args.folders.run_dir.get_or_insert_with(|| PathBuf::from(DEMO_RUN));
        }
    }
    require_root("up")?;
    if args.nodes > 1 {
        args.ranges.make_room();
    }
    check_runtime(args.node.oci_runtime.as_deref())?;
    let started = Instant::now();
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    if args.demo {
        demo::clear_leftovers(&folders)?;
    }
    let place = if args.isolated { Place::Box } else { Place::Host };
    check_ranges(&folders, &args.ranges, node_ip(&args), place)?;
    folders.create()?;
    let _lock = folders.lock()?;
    // Before the box is entered: theirs are made beside it.
    let members = Members::spawn(args.nodes, &folders)?;
    let (config, new_box) = prepare(&args, folders)?;
    if args.demo {
        return demo::run(config, new_box, started);
    }
    serving(serve(config, members, new_box, started, verbose))
}

/// Children learn of the trace by their environment, and a process cannot safely change its own once it has threads: so
/// the program starts itself again with it. Returns only if that fails.
fn restart_traced(file: &Path) -> anyhow::Error {
    let absolute = match std::path::absolute(file) {
        Ok(absolute) => absolute,
        Err(error) => return anyhow::Error::new(error).context(format!("--trace {}", file.display())),
    };
    let mut words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(at) = words.iter().position(|word| word == "--trace") {
        words.drain(at..(at + 2).min(words.len()));
    }
    words.retain(|word| !word.as_encoded_bytes().starts_with(b"--trace="));
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let error = Command::new(program).args(words).env(TRACE_VARIABLE, absolute).exec();
    anyhow::Error::new(error).context("start again with a trace")
}

/// For a command that makes a node.
pub(crate) fn require_root(command: &str) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("{command}: needs root, because it makes namespaces, mounts and cgroups; run it with sudo");
    }
    Ok(())
}

/// A runtime that is not there should be noticed now, not when the first pod fails.
pub(crate) fn check_runtime(program: Option<&Path>) -> anyhow::Result<()> {
    let Some(program) = program else { return Ok(()) };
    let found = std::fs::metadata(program).with_context(|| format!("--oci-runtime {}", program.display()))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        bail!("--oci-runtime {}: not a program", program.display());
    }
    Ok(())
}

/// Opens what must be opened on the host, then enters the box if there is to be one.
fn prepare(args: &UpArgs, folders: Folders) -> anyhow::Result<(NodeConfig, Option<NewBox>)> {
    let settings = NodeSettings::read(&args.node)?;
    let balancers = args.load_balancer_range.as_deref().map(BalancerRange::parse).transpose();
    let balancers = balancers.map_err(anyhow::Error::msg).context("--load-balancer-range")?;
    let own = args.etcd.etcd_servers.is_empty().then(|| folders.encryption());
    let (encryption, audit) = (args.encryption.read(own.as_deref())?, args.audit.read()?);
    let authentication = args.authentication.read()?;
    let mut api = vec![listen(args)?];
    let public = api[0].local_addr().context("address of the API")?;
    let published = args.publish.iter().map(|text| Published::open(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut registry = UpRegistry::open(&args.registry)?;
    let mut new_box = None;
    if args.isolated {
        new_box = Some(isolate::enter(&folders)?);
        skiff_net::prepare_own(BOX_ADDRESS)?;
        if args.nodes > 1 {
            skiff_net::prepare_hub(BOX_ADDRESS)?;
        }
        registry.as_mut().map(UpRegistry::open_within).transpose()?;
    }
    let cgroup_root = folders.settle_cgroup_root(args.node.cgroup_root.as_deref())?;
    let site = Site::new(folders, args.ranges.clone(), cgroup_root);
    let networks = site.networks()?;
    let bridge = networks.address().context("prepare the network of pods")?.map(IpAddr::V4);
    // The kernel takes as long for the rules as everything else takes to start, and nobody needs them before the first pod.
    let network = Some(thread::spawn(move || networks.prepare().map(drop)));
    let node_ip = node_ip(args).or(bridge).unwrap_or(Ipv4Addr::LOCALHOST.into());
    // The first socket belongs to the host, where pods of a box do not come.
    let pod_side = if args.isolated { Some(BOX_ADDRESS.into()) } else { bridge.or(Some(node_ip)) };
    let Reach { advertise, listener } = Reach::open(public, args.advertise_address, pod_side)?;
    api.extend(listener);
    let names = Names::choose(&args.node.dns, &args.ranges.service_cidr, bridge.unwrap_or(node_ip))?;
    let config = NodeConfig {
        ingress: UpIngress::choose(args, &published),
        site,
        network,
        names,
        policies: !args.node.dns.disable.contains(&Part::NetworkPolicy),
        storage: !args.node.dns.disable.contains(&Part::Storage),
        api,
        advertise,
        published,
        settings,
        node_ip,
        etcd_listen: args.etcd_listen.clone(),
        etcd: args.etcd.clone(),
        authentication,
        encryption,
        audit,
        registry,
        leader_elect: args.leader_elect,
        balancers,
        external_ips: args.allow_external_ips,
    };
    Ok((config, new_box))
}

/// The node's address, if it has one before its pods' network is there.
fn node_ip(args: &UpArgs) -> Option<IpAddr> {
    args.node_ip.or_else(|| if args.isolated { Some(BOX_ADDRESS.into()) } else { host_address() })
}

fn listen(args: &UpArgs) -> anyhow::Result<TcpListener> {
    let wanted = args.api_listen.unwrap_or(API);
    match TcpListener::bind(wanted) {
        // A demo has no fixed address that anyone could rely on.
        Err(error) if args.demo && args.api_listen.is_none() && error.kind() == std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on 127.0.0.1")
        }
        other => {
            other.with_context(|| format!("listen on {wanted} for the API (another address: --api-listen ADDR:PORT)"))
        }
    }
}

async fn serve(
    config: NodeConfig,
    mut members: Members,
    new_box: Option<NewBox>,
    started: Instant,
    verbose: u8,
) -> anyhow::Result<()> {
    let stop = stop::signalled()?;
    let (folders, advertise) = (config.site.folders.clone(), config.advertise);
    let mut node = Node::start(config).await?;
    node.ready().await?;
    // From here on pods live in it, and go on when this process ends.
    new_box.into_iter().for_each(NewBox::keep);
    tell!(
        "node {} is Ready after {} ms; KUBECONFIG={}",
        node.name,
        started.elapsed().as_millis(),
        folders.kubeconfig().display()
    );
    if verbose > 0 {
        tell!("pods go on when this process ends; `skiff down` stops them");
    }
    let (client, name, authority) = (node.client.clone(), node.name.clone(), node.authority.clone());
    let others = async {
        match members.join(&client, (&name, &folders), (advertise, &authority)).await {
            Ok(names) => names.iter().for_each(|name| {
                tell!("node {name} is Ready after {} ms", started.elapsed().as_millis());
            }),
            Err(error) => return error,
        }
        members.ended().await
    };
    let ended = tokio::select! {
        ended = node.run(stop) => ended,
        error = others => Err(error),
    };
    let others_ended = members.stop().await;
    node.stop().await?;
    ended.and(others_ended)
}
