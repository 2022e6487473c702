//! Decides the nftables table of the bridge itself (family bridge): what passes from one pod's port to another's without the node. No I/O.
//!
//! Pods reach each other through the node, where network policies are. A frame that goes from port to port goes around them: one that a
//! program writes itself to another pod's hardware address, or one of IPv6, whose link-local addresses every interface has. Only where the
//! bridge hands its IPv4 packets to netfilter (`net.bridge.bridge-nf-call-iptables`) do frames pass rightly: those whose destination a service's
//! rules have rewritten, and they meet the policies on their way.

use skiff_sys::nft::{Chain, ChainType, Change, Compare, Expression as E, Hook, Register, Rule};

/// `NF_BR_PRI_FILTER_BRIDGED`.
const FILTER: i32 = -200;
/// EtherType of IPv4.
const IPV4: [u8; 2] = [0x08, 0x00];
const CHAIN: &str = "between-ports";

/// Changes that replace whatever table is there. `prefix`: how the names of pods' ports begin; `ipv4_passes`: netfilter sees it.
pub(crate) fn replace(prefix: &str, ipv4_passes: bool) -> Vec<Change> {
    let base = Some((ChainType::Filter, Hook::Forward, FILTER));
    let mut changes = vec![Change::EnsureTable, Change::RemoveTable, Change::EnsureTable];
    changes.push(Change::AddChain(Chain { name: CHAIN.to_owned(), base }));
    changes.push(Change::AddRule(Rule { chain: CHAIN.to_owned(), expressions: dropped(prefix, ipv4_passes) }));
    changes
}

/// Changes that remove it.
pub(crate) fn remove() -> Vec<Change> {
    vec![Change::EnsureTable, Change::RemoveTable]
}

fn dropped(prefix: &str, ipv4_passes: bool) -> Vec<E> {
    let compare = |how, value: &[u8]| E::Compare { register: Register(0), how, value: value.to_vec() };
    // A comparison as long as the prefix holds for every name that begins so.
    let mut rule = vec![E::InputInterface(Register(0)), compare(Compare::Equal, prefix.as_bytes())];
    if ipv4_passes {
        rule.extend([E::EtherType(Register(0)), compare(Compare::NotEqual, &IPV4)]);
    }
    rule.push(E::Drop);
    rule
}
