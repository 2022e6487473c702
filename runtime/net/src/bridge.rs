//! The built-in bridge plugin: performs what `plan`, `links` and `rules` decide.
//!
//! A pod has its address as a /32 and reaches everything, other pods too, through the node: so connection tracking sees
//! both directions of every connection, and service addresses work between pods of one bridge with and without
//! the bridge netfilter module.

use crate::asking::{ask, find_link, open, remove_link};
use crate::guard;
use crate::ipam::{Addresses, Lease, Record};
use crate::links::{self, Link, Pair};
use crate::plan::{self, Range};
use crate::rules::{self, Wanted};
use crate::{Attached, NetConfig, NetError, PodNetwork, Protocol};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use skiff_step::{Engine, Step};
use skiff_sys::conntrack;
use skiff_sys::netlink::{Family, Refusal, Socket};
use skiff_sys::nft::{self, Change, TableFamily, Transaction};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const BRIDGE: Step = Step::new("net.bridge", "rtnetlink(7): RTM_NEWLINK bridge");
const FORWARD: Step = Step::new("net.forward", "ip-sysctl: ip_forward, send_redirects");
const RULES: Step = Step::new("net.masquerade", "nftables: table of masquerading and host ports");
const LEASE: Step = Step::new("net.lease", "CNI 1.1: IPAM");
const VETH: Step = Step::new("net.veth", "veth(4), IFLA_NET_NS_FD");
const ADDRESS: Step = Step::new("net.address", "rtnetlink(7): RTM_NEWADDR");
const ROUTE: Step = Step::new("net.route", "rtnetlink(7): RTM_NEWROUTE");
const PORTS: Step = Step::new("net.ports", "CRI PodSandboxConfig.port_mappings");
const UNVETH: Step = Step::new("net.veth.remove", "rtnetlink(7): RTM_DELLINK");

/// The interface inside the pod.
const POD_INTERFACE: &str = "eth0";
/// Whether bridges of this namespace hand their IPv4 packets to netfilter; absent without the module br_netfilter.
const BRIDGE_NETFILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/// How this namespace has to be, and where we remember how it was: the node passes packets on, and does not tell pods to
/// talk to each other directly. They reach each other through the node over one interface, which the kernel takes for a
/// detour; the redirects would go around connection tracking, and use up the rate of the ICMP errors that pods need.
const SETTINGS: [(&str, &str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_forward", "1", "ip_forward.before"),
    ("/proc/sys/net/ipv4/conf/all/send_redirects", "0", "send_redirects.before"),
];

/// The bridge of this node.
#[derive(Debug)]
pub(crate) struct Bridge {
    // Fixed.
    config: NetConfig,
    range: Range,
    cluster: Range,
    services: Option<Range>,
    addresses: Addresses,
    // Held while the node's side (bridge, table) is looked at and made.
    node: Mutex<NodeSide>,
}

/// What this process has already seen to.
#[derive(Debug, Default)]
struct NodeSide {
    /// The table was made from our records.
    rules: bool,
    /// The bridge's own table was made, for a bridge that hands its IPv4 packets to netfilter or not.
    guard: Option<bool>,
}

impl Bridge {
    pub(crate) fn new(config: NetConfig) -> Result<Self, NetError> {
        let range = Range::parse("pod_cidr", &config.pod_cidr)?;
        let services = config.service_cidr.as_ref().map(|text| Range::parse("service_cidr", text)).transpose()?;
        let cluster = config.cluster_cidr.as_ref().map(|text| Range::parse("cluster_cidr", text)).transpose()?;
        let addresses = Addresses::open(config.state_dir.join("addresses"), range)?;
        Ok(Self { config, range, cluster: cluster.unwrap_or(range), services, addresses, node: Mutex::default() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.bridge
    }

    pub(crate) fn attach(&self, pod: &PodNetwork) -> Result<Attached, NetError> {
        // Lines of the trace are joined by the pod's uid.
        let engine = self.config.engine.correlated(Some(&pod.uid));
        let mut socket = open(&self.config.bridge)?;
        let bridge = self.ensure_node(&mut socket)?;
        let lease = engine.run(&LEASE, || pod.sandbox_id.clone(), || self.addresses.reserve(pod))?;
        let (Lease::New(address) | Lease::Kept(address)) = lease;
        if matches!(lease, Lease::Kept(_)) && self.is_wired(&mut socket, pod, address)? {
            return Ok(Attached { ips: vec![IpAddr::V4(address)] });
        }
        let wired = self.wire(&mut socket, pod, bridge, address);
        if let Err(error) = wired {
            // What cannot be taken back now is taken back by `retain` or the next detach: the record stays then.
            if let Err(second) = self.unwire(&mut socket, pod) {
                tracing::warn!(sandbox = pod.sandbox_id, error = %second, "cannot take back a failed attachment");
            }
            return Err(error);
        }
        Ok(Attached { ips: vec![IpAddr::V4(address)] })
    }

    pub(crate) fn detach(&self, pod: &PodNetwork) -> Result<(), NetError> {
        self.unwire(&mut open(&self.config.bridge)?, pod)
    }

    pub(crate) fn retain(&self, live: &[String]) -> Result<(), NetError> {
        let mut socket = open(&self.config.bridge)?;
        let mut first = Ok(());
        for (_, record) in self.addresses.records() {
            if !live.contains(&record.sandbox_id) {
                first = first.and(self.free(&mut socket, &record.sandbox_id, &self.config.engine));
            }
        }
        let held = self.addresses.records();
        for link in self.our_links(&mut socket)? {
            if !held.keys().any(|address| plan::interface(&self.config.interface_prefix, *address) == link.name) {
                first = first.and(remove_link(&mut socket, &link.name));
            }
        }
        first
    }

    pub(crate) fn remove_all(&self) -> Result<(), NetError> {
        let mut socket = open(&self.config.bridge)?;
        let mut first = Ok(());
        for link in self.our_links(&mut socket)? {
            first = first.and(remove_link(&mut socket, &link.name));
        }
        first = first.and(remove_link(&mut socket, &self.config.bridge));
        first = first.and(self.commit(vec![Change::EnsureTable, Change::RemoveTable]));
        first = first.and(self.remove_guard());
        first = first.and(self.restore_settings());
        for (_, record) in self.addresses.records() {
            first = first.and(self.addresses.release(&record.sandbox_id).map(drop));
        }
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = NodeSide::default();
        first
    }

    fn remove_guard(&self) -> Result<(), NetError> {
        let transaction = Transaction { table: self.config.table.clone(), changes: guard::remove() };
        match transaction.commit_in(TableFamily::Bridge) {
            Err(error) if !error.is_unsupported() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Makes what all pods share, unless it is there; answers the bridge's index.
    fn ensure_node(&self, socket: &mut Socket) -> Result<u32, NetError> {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        let bridge = self.ensure_bridge(socket)?;
        // Whoever flushed the ruleset did not mean our pods to lose their way out.
        if !node.rules || !nft::table_exists(&self.config.table)? {
            self.replace_rules(&self.addresses.records())?;
            node.rules = true;
        }
        self.ensure_guard(&mut node)?;
        // Not before the rules that keep pods away from the node's loopback.
        set(Path::new(&format!("/proc/sys/net/ipv4/conf/{}/route_localnet", self.config.bridge)), "1")?;
        Ok(bridge)
    }

    /// The bridge with its address, without the rules of who passes; answers its index. The node's side is held meanwhile.
    fn ensure_bridge(&self, socket: &mut Socket) -> Result<u32, NetError> {
        match self.find_bridge(socket)? {
            Some(index) if self.has_gateway()? => Ok(index),
            Some(_) => self.make_again(socket),
            None => self.make_bridge(socket),
        }
    }

    /// What passes between pods passes through the node.
    fn ensure_guard(&self, node: &mut NodeSide) -> Result<(), NetError> {
        let passes = fs::read_to_string(BRIDGE_NETFILTER).is_ok_and(|value| value.trim() == "1");
        // A kernel without such tables has none to look for.
        let is_there = || nft::table_exists_in(TableFamily::Bridge, &self.config.table).unwrap_or(true);
        if node.guard == Some(passes) && is_there() {
            return Ok(());
        }
        let changes = guard::replace(&self.config.interface_prefix, passes);
        let transaction = Transaction { table: self.config.table.clone(), changes };
        let operand = || format!("bridge {}", self.config.table);
        match self.config.engine.run(&RULES, operand, || Ok(transaction.commit_in(TableFamily::Bridge)?)) {
            // A kernel without tables of bridges: what is written by hand to a neighbour's hardware address arrives there.
            Err(NetError::Rules(error)) if error.is_unsupported() => {
                tracing::warn!(%error, "frames between pods cannot be filtered: a pod with NET_RAW passes by network policies");
            }
            other => other?,
        }
        node.guard = Some(passes);
        Ok(())
    }

    /// Looks again whether the bridge hands its packets to netfilter, if there are pods: a module that is loaded later begins to.
    pub(crate) fn look_at_guard(&self) -> Result<(), NetError> {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        if node.guard.is_some() { self.ensure_guard(&mut node) } else { Ok(()) }
    }

    /// Makes the bridge alone, which takes no time; answers its address.
    pub(crate) fn address(&self) -> Result<Ipv4Addr, NetError> {
        let _node_side = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        self.ensure_bridge(&mut open(&self.config.bridge)?)?;
        Ok(self.range.gateway())
    }

    /// Makes the bridge and its rules before there is a pod; answers its address.
    pub(crate) fn prepare(&self) -> Result<Ipv4Addr, NetError> {
        self.ensure_node(&mut open(&self.config.bridge)?)?;
        Ok(self.range.gateway())
    }

    pub(crate) const fn config(&self) -> &NetConfig {
        &self.config
    }

    pub(crate) const fn range(&self) -> Range {
        self.range
    }

    /// How many sandboxes have an address.
    pub(crate) fn sandboxes(&self) -> usize {
        self.addresses.records().len()
    }

    fn find_bridge(&self, socket: &mut Socket) -> Result<Option<u32>, NetError> {
        let name = &self.config.bridge;
        match find_link(socket, name)? {
            None => Ok(None),
            Some(link) if link.kind == "bridge" => Ok(Some(link.index)),
            Some(link) => Err(NetError::Config {
                field: "bridge",
                value: name.clone(),
                reason: format!("there is an interface of this name that is no bridge (kind {:?})", link.kind),
            }),
        }
    }

    /// Whether the bridge has our range's address, and not that of a range of before.
    fn has_gateway(&self) -> Result<bool, NetError> {
        let gateway = self.range.gateway();
        let all =
            getifaddrs().map_err(|errno| NetError::file("list addresses of", Path::new(self.name()))(errno.into()))?;
        let ours = all.filter(|one| one.interface_name == self.config.bridge).filter_map(|one| one.address);
        Ok(ours.filter_map(|address| Some(address.as_sockaddr_in()?.ip())).any(|address| address == gateway))
    }

    /// Replaces a bridge of another range, on which nobody is.
    fn make_again(&self, socket: &mut Socket) -> Result<u32, NetError> {
        let reason = match self.sandboxes() {
            0 => {
                remove_link(socket, &self.config.bridge)?;
                return self.make_bridge(socket);
            }
            1 => format!("the bridge {} has another range, and a sandbox is on it", self.config.bridge),
            count => format!("the bridge {} has another range, and {count} sandboxes are on it", self.config.bridge),
        };
        Err(NetError::Config { field: "pod_cidr", value: self.range.to_string(), reason })
    }

    fn make_bridge(&self, socket: &mut Socket) -> Result<u32, NetError> {
        let (name, gateway, engine) = (&self.config.bridge, self.range.gateway(), &self.config.engine);
        engine.run(&FORWARD, || "on".to_owned(), || self.forward())?;
        engine.run(
            &BRIDGE,
            || format!("{name} {gateway}"),
            || {
                ask(socket, "add bridge", name, links::add_bridge(name, gateway))?;
                let link = find_link(socket, name)?;
                let index = link.map_or(0, |link| link.index);
                let broadcast = Some(self.range.broadcast());
                let address = links::add_address(index, gateway, self.range.prefix(), broadcast);
                ask(socket, "add address to bridge", name, address)?;
                set(Path::new(&format!("/proc/sys/net/ipv4/conf/{name}/send_redirects")), "0")?;
                if let Some(services) = self.services {
                    let route = links::add_link_route(index, (services.base(), services.prefix()), gateway);
                    ask(socket, "add route to services on bridge", name, route)?;
                }
                Ok(index)
            },
        )
    }

    /// Changes the settings of this namespace, and remembers how they were.
    fn forward(&self) -> Result<(), NetError> {
        for (path, wanted, memory) in SETTINGS {
            let path = Path::new(path);
            let before = fs::read_to_string(path).map_err(NetError::file("read", path))?;
            if before.trim() == wanted {
                continue;
            }
            let memory = self.config.state_dir.join(memory);
            fs::write(&memory, before.trim()).map_err(NetError::file("write", &memory))?;
            set(path, wanted)?;
        }
        Ok(())
    }

    fn restore_settings(&self) -> Result<(), NetError> {
        for (path, _, memory) in SETTINGS {
            let memory = self.config.state_dir.join(memory);
            let Ok(before) = fs::read_to_string(&memory) else { continue };
            set(Path::new(path), &before)?;
            fs::remove_file(&memory).map_err(NetError::file("remove", &memory))?;
        }
        Ok(())
    }

    fn replace_rules(&self, records: &BTreeMap<Ipv4Addr, Record>) -> Result<(), NetError> {
        let (range, cluster, masquerade) = (self.range, self.cluster, self.config.masquerade);
        let changes = rules::replace(&Wanted { bridge: &self.config.bridge, range, cluster, masquerade, records });
        self.config.engine.run(&RULES, || self.config.table.clone(), || self.commit(changes))
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), NetError> {
        if changes.is_empty() {
            return Ok(());
        }
        Ok(Transaction { table: self.config.table.clone(), changes }.commit()?)
    }

    /// Makes a small change to the table; if the table is not as we left it, makes it anew from `records`.
    fn amend_rules(&self, changes: Vec<Change>, records: &BTreeMap<Ipv4Addr, Record>) -> Result<(), NetError> {
        match self.commit(changes) {
            Err(NetError::Rules(error)) if error.is_surprise() => self.replace_rules(records),
            other => other,
        }
    }

    /// Whether both ends are there, as after a repeated attach.
    fn is_wired(&self, socket: &mut Socket, pod: &PodNetwork, address: Ipv4Addr) -> Result<bool, NetError> {
        let name = plan::interface(&self.config.interface_prefix, address);
        if find_link(socket, &name)?.is_none() {
            return Ok(false);
        }
        let mut inside = enter(pod)?;
        Ok(find_link(&mut inside, POD_INTERFACE)?.is_some())
    }

    fn wire(&self, socket: &mut Socket, pod: &PodNetwork, bridge: u32, address: Ipv4Addr) -> Result<(), NetError> {
        let engine = self.config.engine.correlated(Some(&pod.uid));
        let name = plan::interface(&self.config.interface_prefix, address);
        engine.run(&VETH, || format!("{name} {POD_INTERFACE}"), || make_pair(socket, pod, bridge, &name, address))?;
        let mut inside = enter(pod)?;
        let index = find_link(&mut inside, POD_INTERFACE)?.map_or(0, |link| link.index);
        engine.run(
            &ADDRESS,
            || format!("{POD_INTERFACE} {address}"),
            || {
                ask(&mut inside, "bring up loopback in the pod of", &pod.sandbox_id, links::loopback_up())?;
                ask(&mut inside, "bring up the interface in the pod of", &pod.sandbox_id, links::up(index))?;
                let message = links::add_address(index, address, 32, None);
                ask(&mut inside, "add address in the pod of", &pod.sandbox_id, message)
            },
        )?;
        let gateway = self.range.gateway();
        engine.run(
            &ROUTE,
            || format!("default via {gateway}"),
            || {
                let link = links::add_link_route(index, (gateway, 32), address);
                ask(&mut inside, "add route to the gateway in the pod of", &pod.sandbox_id, link)?;
                let default = links::add_default_route(index, gateway);
                ask(&mut inside, "add default route in the pod of", &pod.sandbox_id, default)
            },
        )?;
        if pod.port_mappings.is_empty() {
            return Ok(());
        }
        let operand = || format!("{} host ports of {address}", pod.port_mappings.len());
        // A record of before a restart is in the table already; the surprise makes the table from all records.
        let add = rules::add(address, &pod.port_mappings);
        engine.run(&PORTS, operand, || self.amend_rules(add, &self.addresses.records()))
    }

    fn unwire(&self, socket: &mut Socket, pod: &PodNetwork) -> Result<(), NetError> {
        self.free(socket, &pod.sandbox_id, &self.config.engine.correlated(Some(&pod.uid)))
    }

    /// The interface first and the record last: a crash in between leaves a record, which says what is left to do.
    fn free(&self, socket: &mut Socket, sandbox_id: &str, engine: &Engine) -> Result<(), NetError> {
        let Some((address, record)) = self.addresses.find(sandbox_id) else { return Ok(()) };
        let name = plan::interface(&self.config.interface_prefix, address);
        engine.run(&UNVETH, || name.clone(), || remove_link(socket, &name))?;
        if !record.ports.is_empty() {
            self.remove_ports(address, &record)?;
        }
        self.addresses.release(sandbox_id).map(drop)
    }

    fn remove_ports(&self, address: Ipv4Addr, record: &Record) -> Result<(), NetError> {
        if nft::table_exists(&self.config.table)? {
            let mut others = self.addresses.records();
            others.remove(&address);
            self.amend_rules(rules::remove(address, &record.ports), &others)?;
        }
        if record.ports.iter().any(|mapping| mapping.protocol == Protocol::Udp) {
            forget_udp(address).map_err(NetError::kernel("forget UDP connections of", address.to_string()))?;
        }
        Ok(())
    }

    fn our_links(&self, socket: &mut Socket) -> Result<Vec<Link>, NetError> {
        let prefix = &self.config.interface_prefix;
        let replies = socket.dump(&links::list()).map_err(NetError::kernel("list interfaces", prefix))?;
        let all = replies.iter().filter_map(links::parse);
        Ok(all.filter(|link| link.kind == "veth" && plan::is_interface(prefix, &link.name)).collect())
    }
}

fn make_pair(
    socket: &mut Socket,
    pod: &PodNetwork,
    bridge: u32,
    name: &str,
    address: Ipv4Addr,
) -> Result<(), NetError> {
    let netns = File::open(&pod.netns).map_err(NetError::file("open network namespace", &pod.netns))?;
    let pair = Pair { name, peer: POD_INTERFACE, address, netns: netns.as_raw_fd(), bridge };
    let made = socket.request(links::add_pair(pair));
    let made = match made {
        // The address is ours, so an interface of its name is left over from a crash, or half made.
        Err(refusal) if refusal.errno == Errno::EEXIST => {
            remove_link(socket, name)?;
            socket.request(links::add_pair(pair))
        }
        other => other,
    };
    made.map_err(NetError::kernel("add interface", name))?;
    ask(socket, "set hairpin mode of bridge port", name, links::hairpin(name))
}

fn set(path: &Path, value: &str) -> Result<(), NetError> {
    fs::write(path, value).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => NetError::NoRight { operation: "write", operand: path.display().to_string() },
        _ => NetError::file("write", path)(error),
    })
}

fn forget_udp(address: Ipv4Addr) -> Result<(), Refusal> {
    for connection in conntrack::list(Protocol::Udp.number())? {
        if *connection.answered_by.ip() == address && connection.to != connection.answered_by {
            conntrack::forget(&connection)?;
        }
    }
    Ok(())
}

fn enter(pod: &PodNetwork) -> Result<Socket, NetError> {
    Socket::open_in(Family::Route, &pod.netns).map_err(NetError::file("enter network namespace", &pod.netns))
}

/// Brings the loopback interface of a pod up, which CNI plugins for `eth0` do not.
pub(crate) fn loopback_up(pod: &PodNetwork) -> Result<(), NetError> {
    ask(&mut enter(pod)?, "bring up loopback in the pod of", &pod.sandbox_id, links::loopback_up())
}
