//! A question to a message, by what the zone has. No I/O.

use crate::labels::Labels;
use crate::screen::response_to;
use crate::zone::arpa::ARPA_LABELS;
use crate::zone::{Endpoint, Found, Port, Serving, Zone};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HINFO, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Seconds that an answer holds: CoreDNS's default for Kubernetes' names.
const TTL: u32 = 5;
/// Seconds that the specification's version holds, as in its example.
const VERSION_TTL: u32 = 28_800;
/// The specification that the names follow.
const VERSION: &str = "1.1.0";
/// How many aliases are followed, one from the other.
const ALIASES_MAX: usize = 8;
/// Labels of a service's name before the domain: service, namespace, `svc`.
const SERVICE_LABELS: usize = 3;
/// The smallest record: a pointer to its name, type, class, time, length, and four bytes of an address.
const RECORD_BYTES_MIN: usize = 16;

/// What a question is answered.
pub enum Reply {
    /// This.
    Own(Message),
    /// The name is an alias, at last of one that is not the cluster's: the message so far, and that name.
    Chase(Message, Name),
    /// The name is not the cluster's.
    Foreign,
}

/// Answers a screened question. `limit` is how many bytes the client takes: more records than fit are not made. `turn` chooses
/// which of several addresses comes first.
#[must_use]
pub fn reply(zone: &Zone, request: &Message, limit: usize, turn: usize) -> Reply {
    let Some(question) = request.queries.first() else { return Reply::Foreign };
    let first = zone.find(&Labels::of(question.name()));
    if first == Found::Foreign {
        return Reply::Foreign;
    }
    let mut message = response_to(request);
    message.metadata.authoritative = true;
    let most = limit / RECORD_BYTES_MIN + 1;
    let mut answering = Answering { zone, kind: question.query_type(), message, most, turn };
    if !zone.is_complete() {
        answering.message.metadata.response_code = ResponseCode::ServFail;
        return Reply::Own(answering.message);
    }
    let mut next = answering.at(question.name(), first);
    for _ in 0..ALIASES_MAX {
        let Some(name) = next else { return Reply::Own(answering.message) };
        let found = zone.find(&Labels::of(&name));
        if found == Found::Foreign {
            return Reply::Chase(answering.message, name);
        }
        next = answering.at(&name, found);
    }
    if next.is_some() {
        // They lead in a circle.
        answering.message.answers.clear();
        answering.message.metadata.response_code = ResponseCode::ServFail;
    }
    Reply::Own(answering.message)
}

struct Answering<'a> {
    zone: &'a Zone,
    kind: RecordType,
    message: Message,
    /// More records than this do not fit.
    most: usize,
    turn: usize,
}

impl Answering<'_> {
    /// Writes what there is at a name; the name to go on with, if it is an alias.
    fn at(&mut self, name: &Name, found: Found<'_>) -> Option<Name> {
        let before = self.message.answers.len();
        match found {
            Found::Foreign => {}
            Found::Missing => self.message.metadata.response_code = ResponseCode::NXDomain,
            Found::Empty => {}
            Found::Alias(target) => return self.alias(name, target),
            _ if self.kind == RecordType::ANY => {
                // RFC 8482, 4.2: whoever asks for everything gets one small record.
                let data = HINFO::new("RFC8482".to_owned(), String::new());
                self.answer(name, TTL, RData::HINFO(data));
            }
            Found::Apex => self.apex(name),
            Found::Version => {
                if self.kind == RecordType::TXT {
                    self.answer(name, VERSION_TTL, RData::TXT(TXT::new(vec![VERSION.to_owned()])));
                }
            }
            Found::Addresses(addresses) => self.addresses(name, addresses),
            Found::Service { addresses, ports } => match self.kind {
                RecordType::SRV => self.service_ports(name, addresses, &ports),
                _ => self.addresses(name, addresses.to_vec()),
            },
            Found::Endpoints(all) => match self.kind {
                RecordType::SRV => self.endpoint_ports(name, &all),
                _ => self.addresses(name, all.iter().flat_map(|one| &one.endpoints).map(|one| one.address).collect()),
            },
            Found::Names(names) => self.names(name, names),
        }
        if self.message.answers.len() == before {
            self.authority(name);
        }
        None
    }

    fn answer(&mut self, name: &Name, ttl: u32, data: RData) {
        self.message.answers.push(Record::from_rdata(name.clone(), ttl, data));
    }

    fn alias(&mut self, name: &Name, target: &str) -> Option<Name> {
        let Ok(target) = Name::from_ascii(format!("{target}.")) else {
            // The API takes no such name; what stands in a store already is not taken for an answer.
            self.message.metadata.response_code = ResponseCode::ServFail;
            return None;
        };
        self.answer(name, TTL, RData::CNAME(CNAME(target.clone())));
        (!matches!(self.kind, RecordType::CNAME | RecordType::ANY)).then_some(target)
    }

    fn apex(&mut self, name: &Name) {
        match self.kind {
            RecordType::SOA => {
                let soa = self.soa(name);
                self.message.answers.extend(soa);
            }
            RecordType::NS => {
                let Ok(server) = self.server(name) else { return };
                self.answer(name, TTL, RData::NS(NS(server.clone())));
                if let Found::Addresses(addresses) = self.zone.find(&Labels::of(&server)) {
                    self.message.additionals.extend(addresses.into_iter().map(|address| at_address(&server, address)));
                }
            }
            _ => {}
        }
    }

    /// Those of the family that was asked for.
    fn addresses(&mut self, name: &Name, mut addresses: Vec<IpAddr>) {
        match self.kind {
            RecordType::A => addresses.retain(IpAddr::is_ipv4),
            RecordType::AAAA => addresses.retain(IpAddr::is_ipv6),
            _ => return,
        }
        addresses.sort_unstable();
        addresses.dedup();
        let records = self.turned(addresses).map(|address| at_address(name, address));
        let records: Vec<_> = records.collect();
        self.message.answers.extend(records);
    }

    fn service_ports(&mut self, name: &Name, addresses: &[IpAddr], ports: &[&Port]) {
        let target = self.service(name);
        let numbers: BTreeSet<u16> = ports.iter().map(|port| port.number).collect();
        self.ports(name, numbers.into_iter().map(|number| (target.clone(), number)).collect());
        self.message.additionals.extend(addresses.iter().map(|address| at_address(&target, *address)));
    }

    fn endpoint_ports(&mut self, name: &Name, all: &[Serving<'_>]) {
        let service = self.service(name);
        let of_serving = |serving: &Serving<'_>| -> Vec<(Box<str>, u16)> {
            let numbers = |endpoint: &Endpoint| {
                let label = endpoint.label.clone();
                serving.ports.iter().map(move |port| (label.clone(), port.number)).collect::<Vec<_>>()
            };
            serving.endpoints.iter().flat_map(|endpoint| numbers(endpoint)).take(self.most).collect()
        };
        let pairs: BTreeSet<(Box<str>, u16)> = all.iter().flat_map(of_serving).collect();
        let below = |label: &str| service.prepend_label(label).ok();
        let targets = pairs.iter().filter_map(|(label, number)| Some((below(label)?, *number)));
        self.ports(name, targets.collect());
        let endpoints = all.iter().filter(|serving| !serving.ports.is_empty()).flat_map(|serving| &serving.endpoints);
        let pairs: BTreeSet<(&str, IpAddr)> =
            endpoints.take(self.most).map(|endpoint| (&*endpoint.label, endpoint.address)).collect();
        let records = pairs.into_iter().filter_map(|(label, address)| Some(at_address(&below(label)?, address)));
        self.message.additionals.extend(records);
    }

    /// SRV records of one priority and equal weights, as CoreDNS writes them.
    fn ports(&mut self, name: &Name, targets: Vec<(Name, u16)>) {
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(1).max(1);
        let all: Vec<_> = self.turned(targets).collect();
        for (target, number) in all {
            self.answer(name, TTL, RData::SRV(SRV::new(0, weight, number, target)));
        }
    }

    fn names(&mut self, name: &Name, names: Vec<String>) {
        if self.kind != RecordType::PTR {
            return;
        }
        for text in names.into_iter().take(self.most) {
            if let Ok(target) = Name::from_ascii(text + ".") {
                self.answer(name, TTL, RData::PTR(PTR(target)));
            }
        }
    }

    /// As many as fit, each time from another one on.
    fn turned<T>(&self, mut all: Vec<T>) -> impl Iterator<Item = T> + use<T> {
        let start = self.turn.checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(start);
        all.into_iter().take(self.most)
    }

    /// The service that a name at or below it belongs to, in the letters of the question.
    fn service(&self, name: &Name) -> Name {
        name.trim_to(self.zone.domain_labels() + SERVICE_LABELS)
    }

    /// What a negative answer holds for (RFC 2308, 3).
    fn authority(&mut self, name: &Name) {
        let soa = self.soa(name);
        self.message.authorities.extend(soa);
    }

    /// The zone's record of itself. Names of addresses stand in a zone of their own.
    fn soa(&self, name: &Name) -> Option<Record> {
        let is_arpa = Labels::of(name).from_right(0) == Some(b"arpa");
        let apex = name.trim_to(if is_arpa { ARPA_LABELS } else { self.zone.domain_labels() });
        let server = self.server(&apex).ok()?;
        let mailbox = apex.prepend_label("hostmaster").ok()?;
        let soa = SOA::new(server, mailbox, self.zone.serial(), 7200, 1800, 86_400, TTL);
        Some(Record::from_rdata(apex, TTL, RData::SOA(soa)))
    }

    fn server(&self, apex: &Name) -> Result<Name, hickory_proto::ProtoError> {
        apex.prepend_label("dns")?.prepend_label("ns")
    }
}

fn at_address(name: &Name, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name.clone(), TTL, data)
}

#[cfg(test)]
mod tests;
