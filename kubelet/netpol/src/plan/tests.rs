//! Random policies over a small cluster against a plain model: the rules are run over packets by an interpreter of their
//! expressions, and must let through what the model lets through. From one table to the next, the changes must make the same.

use super::*;
use crate::pods::Labels;
use proptest::prelude::*;
use serde_json::{Value, json};
use skiff_sys::nft::{Compare, Register};
use std::net::Ipv4Addr;

#[derive(Debug, Clone)]
struct Packet {
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: Transport,
    port: u16,
}

fn pods() -> Vec<PodFacts> {
    let pod = |number: u8, namespace: &str, app: &str, is_here: bool| PodFacts {
        uid: number.to_string(),
        namespace: namespace.to_owned(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        addresses: vec![Ipv4Addr::new(10, 244, 0, number)],
        is_here,
        ports: vec![("http".to_owned(), Transport::Tcp, 80 + u16::from(number))],
    };
    vec![pod(1, "n", "a", true), pod(2, "n", "b", true), pod(3, "m", "a", true), pod(4, "m", "b", false)]
}

fn namespaces() -> BTreeMap<String, Labels> {
    let named = |name: &str| (name.to_owned(), Labels::from([("name".to_owned(), name.to_owned())]));
    ["n", "m"].map(named).into()
}

/// The registers as the kernel has them: 16 of 4 bytes.
struct Machine<'a> {
    table: &'a Table,
    packet: &'a Packet,
    registers: [u8; 64],
}

impl Machine<'_> {
    fn load(&mut self, to: Register, value: &[u8]) {
        let start = usize::from(to.0) * 4;
        let end = start + value.len().next_multiple_of(4);
        self.registers[start..end].fill(0);
        self.registers[start..start + value.len()].copy_from_slice(value);
    }

    fn bytes(&self, from: Register, length: usize) -> &[u8] {
        let start = usize::from(from.0) * 4;
        &self.registers[start..start + length]
    }

    fn key_bytes(&self, set: &str) -> usize {
        let known = rules::frame().sets.into_iter().find(|known| known.name == set);
        known.or_else(|| self.table.0.sets.get(set).cloned()).expect("the set is there").key.len() * 4
    }

    fn lookup(&self, set: &str, key: Register) -> Option<&Data> {
        let key = self.bytes(key, self.key_bytes(set)).to_vec();
        self.table.0.elements.get(&(set.to_owned(), key))
    }

    /// Whether a base chain lets the packet through.
    fn passes(&mut self, chain: &str) -> bool {
        let base = rules::frame().rules.into_iter().filter(|rule| rule.chain == chain);
        let mut rules: Vec<Vec<Expression>> = base.map(|rule| rule.expressions).collect();
        for _ in 0..4 {
            match self.verdict(&rules) {
                None => return true,
                Some(None) => return false,
                Some(Some(next)) => rules = self.table.0.chains.get(&next).cloned().unwrap_or_default(),
            }
        }
        panic!("chains lead in a circle");
    }

    /// `None`: the end of the chain; `Some(None)`: dropped; else the chain to go on with.
    fn verdict(&mut self, rules: &[Vec<Expression>]) -> Option<Option<String>> {
        rules.iter().find_map(|rule| rule.iter().find_map(|step| self.step(step)).flatten())
    }

    /// `None`: go on; `Some(None)`: the rule does not match; else a verdict.
    fn step(&mut self, step: &Expression) -> Option<Option<Option<String>>> {
        let octets = |address: Ipv4Addr| address.octets();
        match step {
            Expression::NetworkHeader { to, offset: 12, .. } => self.load(*to, &octets(self.packet.from)),
            Expression::NetworkHeader { to, offset: 16, .. } => self.load(*to, &octets(self.packet.to)),
            Expression::TransportProtocol(to) => self.load(*to, &[self.packet.protocol.number()]),
            Expression::TransportHeader { to, offset: 2, .. } => self.load(*to, &self.packet.port.to_be_bytes()),
            // The first packet of a connection.
            Expression::ConnectionState(to) => self.load(*to, &8_u32.to_ne_bytes()),
            Expression::Mask { register, mask } => {
                let masked: Vec<u8> =
                    self.bytes(*register, 4).iter().zip(mask).map(|(byte, mask)| byte & mask).collect();
                self.load(*register, &masked);
            }
            Expression::Compare { register, how, value } => {
                let is_equal = self.bytes(*register, value.len()) == value;
                return (is_equal != (*how == Compare::Equal)).then_some(None);
            }
            Expression::InSet { set, key } => return self.lookup(set, *key).is_none().then_some(None),
            Expression::VerdictMap { map, key } => {
                return Some(self.lookup(map, *key).map(|data| match data {
                    Data::Goto(chain) => Some(chain.clone()),
                    _ => None,
                }));
            }
            Expression::Goto(chain) => return Some(Some(Some(chain.clone()))),
            Expression::Drop => return Some(Some(None)),
            other => panic!("no rule of ours has {other:?}"),
        }
        None
    }
}

fn passes(table: &Table, packet: &Packet) -> bool {
    let mut machine = Machine { table, packet, registers: [0; 64] };
    machine.passes("from-pods") && machine.passes("to-pods")
}

/// The model: Kubernetes' sentences about policies, one by one.
fn may(policies: &[NetworkPolicy], pods: &[PodFacts], packet: &Packet) -> bool {
    if packet.from == packet.to {
        return true;
    }
    let pod = |address: Ipv4Addr| pods.iter().find(|pod| pod.addresses.contains(&address));
    Direction::BOTH.iter().all(|direction| {
        let (subject, other) = match direction {
            Direction::Ingress => (packet.to, packet.from),
            Direction::Egress => (packet.from, packet.to),
        };
        let Some(subject) = pod(subject).filter(|pod| pod.is_here) else { return true };
        let (spaces, one) = (namespaces(), std::slice::from_ref(subject));
        let scene = Scene { pods: one, namespaces: &spaces };
        let mut about =
            policies.iter().filter(|one| covers(one, *direction) && !scene.subjects(one).is_empty()).peekable();
        if about.peek().is_none() {
            return true;
        }
        about.any(|policy| {
            let namespace = policy.metadata.namespace.clone().unwrap();
            PolicyRule::all(policy, *direction).iter().any(|rule| {
                let is_peer =
                    rule.peers.is_empty() || rule.peers.iter().any(|peer| is_peer(peer, &namespace, other, pod(other)));
                let is_port =
                    rule.ports.is_empty() || rule.ports.iter().any(|port| is_port(port, packet, pod(packet.to)));
                is_peer && is_port
            })
        })
    })
}

fn is_peer(peer: &NetworkPolicyPeer, namespace: &str, address: Ipv4Addr, pod: Option<&PodFacts>) -> bool {
    let is_in = |text: &str| {
        let (base, bits) = text.split_once('/').unwrap();
        let Ok(base) = base.parse::<Ipv4Addr>() else { return false };
        let bits: u32 = bits.parse().unwrap();
        let shift = |address: Ipv4Addr| u32::from(address).checked_shr(32 - bits).unwrap_or(0);
        shift(address) == shift(base)
    };
    match &peer.ip_block {
        Some(block) => is_in(&block.cidr) && !block.except.iter().flatten().any(|except| is_in(except)),
        None => pod.is_some_and(|pod| {
            let spaces = namespaces();
            let one = std::slice::from_ref(pod);
            !Scene { pods: one, namespaces: &spaces }.peers(peer, namespace).is_empty()
        }),
    }
}

fn is_port(port: &NetworkPolicyPort, packet: &Packet, receiver: Option<&PodFacts>) -> bool {
    if Transport::named(port.protocol.as_deref().unwrap_or("TCP")) != Some(packet.protocol) {
        return false;
    }
    let number = i32::from(packet.port);
    match &port.port {
        None => true,
        Some(IntOrString::Int(first)) => (*first..=port.end_port.unwrap_or(*first)).contains(&number),
        Some(IntOrString::String(name)) => receiver.is_some_and(|pod| {
            pod.ports.iter().any(|known| (&known.0, known.1, known.2) == (name, packet.protocol, packet.port))
        }),
    }
}

fn selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"matchLabels": {"app": "a"}})),
        Just(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]})),
    ]
}

fn peer() -> impl Strategy<Value = Value> {
    let spaces = prop_oneof![Just(json!({})), Just(json!({"matchLabels": {"name": "m"}}))];
    prop_oneof![
        selector().prop_map(|pods| json!({"podSelector": pods})),
        spaces.clone().prop_map(|spaces| json!({"namespaceSelector": spaces})),
        (selector(), spaces).prop_map(|(pods, spaces)| json!({"podSelector": pods, "namespaceSelector": spaces})),
        Just(json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.0.2/31", "192.0.2.0/25"]}})),
        Just(json!({"ipBlock": {"cidr": "192.0.2.128/25"}})),
        Just(json!({"ipBlock": {"cidr": "fd00::/8"}})),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![Just("TCP"), Just("UDP")];
    prop_oneof![
        protocol.clone().prop_map(|protocol| json!({"protocol": protocol})),
        (protocol, 79_u16..86).prop_map(|(protocol, port)| json!({"protocol": protocol, "port": port})),
        (79_u16..83, 83_u16..90).prop_map(|(first, last)| json!({"port": first, "endPort": last})),
        Just(json!({"port": "http"})),
    ]
}

fn policy() -> impl Strategy<Value = Value> {
    let rules = |end: &'static str| {
        let rule = (prop::collection::vec(peer(), 0..3), prop::collection::vec(port(), 0..3));
        let rule = rule.prop_map(move |(peers, ports)| json!({end: peers, "ports": ports}));
        prop::collection::vec(rule, 0..3)
    };
    let types = prop::option::of(prop::sample::select(vec![
        json!(["Ingress"]),
        json!(["Egress"]),
        json!(["Ingress", "Egress"]),
    ]));
    (prop_oneof![Just("n"), Just("m")], selector(), rules("from"), rules("to"), types).prop_map(
        |(namespace, pods, ingress, egress, types)| {
            let spec = json!({"podSelector": pods, "ingress": ingress, "egress": egress, "policyTypes": types});
            json!({"metadata": {"namespace": namespace}, "spec": spec})
        },
    )
}

fn objects(all: Vec<Value>) -> Vec<NetworkPolicy> {
    let named = |(number, mut one): (usize, Value)| {
        one["metadata"]["name"] = format!("p{number}").into();
        serde_json::from_value(one).expect("a policy")
    };
    all.into_iter().enumerate().map(named).collect()
}

fn table(policies: &[NetworkPolicy], pods: &[PodFacts]) -> Table {
    Table::of(policies, Scene { pods, namespaces: &namespaces() })
}

/// What the kernel would have after these changes.
fn changed(old: &Table, changes: Vec<Change>) -> Table {
    let mut table = old.0.clone();
    for change in changes {
        match change {
            Change::AddSet(set) => assert!(table.sets.insert(set.name.clone(), set).is_none()),
            Change::AddChain(chain) => assert!(table.chains.insert(chain.name, Vec::new()).is_none()),
            Change::AddRule(rule) => {
                table.chains.get_mut(&rule.chain).expect("the chain is there").push(rule.expressions)
            }
            Change::FlushChain(name) => table.chains.get_mut(&name).expect("the chain is there").clear(),
            Change::RemoveChain(name) => {
                assert!(!table.elements.values().any(|data| *data == Data::Goto(name.clone())), "{name} is in use");
                table.chains.remove(&name);
            }
            Change::RemoveSet(name) => {
                table.sets.remove(&name);
                table.elements.retain(|(set, _), _| *set != name);
            }
            Change::AddElements(set, elements) => elements.into_iter().for_each(|element| {
                assert!(table.elements.insert((set.clone(), element.key), element.data).is_none());
            }),
            Change::RemoveElements(set, elements) => elements.into_iter().for_each(|element| {
                assert!(table.elements.remove(&(set.clone(), element.key)).is_some());
            }),
            other => panic!("no change of ours is {other:?}"),
        }
    }
    Table(table)
}

proptest! {
    #[test]
    fn packets_pass_as_the_policies_say(policies in prop::collection::vec(policy(), 0..4)) {
        let (policies, pods) = (objects(policies), pods());
        let table = table(&policies, &pods);
        let ends: Vec<Ipv4Addr> = (1..=4).map(|last| Ipv4Addr::new(10, 244, 0, last))
            .chain([Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 200)]).collect();
        for from in &ends {
            for to in &ends {
                for (protocol, port) in [(Transport::Tcp, 81), (Transport::Tcp, 82), (Transport::Udp, 81), (Transport::Tcp, 4000)] {
                    let packet = Packet { from: *from, to: *to, protocol, port };
                    prop_assert_eq!(passes(&table, &packet), may(&policies, &pods, &packet), "{:?}", packet);
                }
            }
        }
    }

    #[test]
    fn changes_make_the_next_table(one in prop::collection::vec(policy(), 0..4), two in prop::collection::vec(policy(), 0..4), some in 0_usize..4) {
        let pods = pods();
        let (old, new) = (table(&objects(one), &pods[..some]), table(&objects(two), &pods));
        prop_assert_eq!(changed(&old, new.changes_since(&old)), new.clone());
        prop_assert_eq!(new.changes_since(&new), Vec::new());
    }

    #[test]
    fn a_range_of_ports_is_split_without_a_gap(first: u16, last: u16) {
        prop_assume!(first <= last);
        let all = rules::aligned(Transport::Tcp, first, last);
        prop_assert!(all.len() <= 30);
        let holds = |port: u16| all.iter().filter(|one| matches!(one, Ports::Aligned { base, mask, .. } if port & mask == *base)).count();
        for port in [0, 1, first.saturating_sub(1), first, first.midpoint(last), last, last.saturating_add(1), u16::MAX] {
            prop_assert_eq!(holds(port), usize::from((first..=last).contains(&port)), "{}", port);
        }
    }
}

#[test]
fn one_more_pod_is_as_many_changes_as_it_has_addresses_in_sets() {
    let policy = json!({"metadata": {"namespace": "n"}, "spec": {
        "podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}],
    }});
    let policies = objects(vec![policy]);
    let mut pods = pods();
    let old = table(&policies, &pods[..1]);
    pods.truncate(2);
    let new = table(&policies, &pods);
    let elements = |change: &Change| matches!(change, Change::AddElements(_, elements) if elements.len() == 1);
    let changes = new.changes_since(&old);
    assert!(changes.len() == 3 && changes.iter().all(elements), "{changes:?}");
}

#[test]
fn long_names_fit() {
    let name = |end: &str| short(format!("ingress/{}/{}{end}", "n".repeat(63), "p".repeat(250)));
    assert!(name("a").len() <= NAME_BYTES_MAX && name("a") != name("b"));
}
