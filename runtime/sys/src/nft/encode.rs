//! Turns changes into the messages of one netlink batch.

use super::expression::{InlineName, data_goto, data_value};
use super::{
    AnonymousMap, Chain, ChainType, Change, Data, DataType, Element, Expression, Rule, Set, SetKind, TableFamily,
    Transaction,
};
use crate::netlink::Message;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DEL_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DEL_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const DEL_SET: u16 = 11;
const NEW_SET_ELEMENTS: u16 = 12;
const DEL_SET_ELEMENTS: u16 = 14;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
const SET_ANONYMOUS: u32 = 1;
const SET_CONSTANT: u32 = 2;
const SET_MAP: u32 = 8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
/// The type of verdicts as values.
const DATA_VERDICT: u32 = 0xffff_ff00;
const LIST_ELEMENT: u16 = 1;
/// How many elements rules may add to a set; the kernel wants to know. Each takes about 100 bytes.
const REMEMBERED_MAX: u32 = 65_536;
/// An element with a chain name of full length is below 300 bytes, and a list must stay below 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 200;

/// The messages of a transaction, each with the words for an error about it.
pub(super) fn batch(transaction: &Transaction, family: TableFamily) -> Vec<(Message, String)> {
    let mut batch = Batch { family, table: &transaction.table, messages: Vec::new(), ids: 0 };
    batch.messages.push((edge(BATCH_BEGIN), "commit".to_owned()));
    for change in &transaction.changes {
        batch.change(change);
    }
    batch.messages.push((edge(BATCH_END), "commit".to_owned()));
    batch.messages
}

pub(super) fn get_table(table: &str, family: TableFamily) -> Message {
    message(family, GET_TABLE, 0).text(1, table)
}

/// `struct nfgenmsg`: family, version 0, resource id 0.
fn message(family: TableFamily, kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[family.number(), 0, 0, 0])
}

/// Begin or end of a batch: the resource id is the subsystem, in network order.
fn edge(kind: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low])
}

struct Batch<'a> {
    family: TableFamily,
    table: &'a str,
    messages: Vec<(Message, String)>,
    ids: u32,
}

impl Batch<'_> {
    fn message(&self, kind: u16, flags: u16) -> Message {
        message(self.family, kind, flags)
    }

    fn push(&mut self, message: Message, operation: String) {
        self.messages.push((message, operation));
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::EnsureTable => {
                self.push(self.message(NEW_TABLE, CREATE).text(1, self.table), "add table".to_owned())
            }
            Change::RemoveTable => self.push(self.message(DEL_TABLE, 0).text(1, self.table), "delete table".to_owned()),
            Change::AddChain(chain) => self.add_chain(chain),
            Change::FlushChain(name) => {
                self.push(self.message(DEL_RULE, 0).text(1, self.table).text(2, name), format!("flush chain {name}"));
            }
            Change::RemoveChain(name) => {
                self.push(self.message(DEL_CHAIN, 0).text(1, self.table).text(3, name), format!("delete chain {name}"));
            }
            Change::AddRule(rule) => self.add_rule(rule),
            Change::AddSet(set) => self.add_set(set),
            Change::RemoveSet(name) => {
                self.push(self.message(DEL_SET, 0).text(1, self.table).text(2, name), format!("delete set {name}"));
            }
            Change::FlushSet(name) => {
                let list = self.message(DEL_SET_ELEMENTS, 0).text(1, self.table).text(2, name);
                self.push(list, format!("flush set {name}"));
            }
            Change::AddElements(set, elements) => {
                self.elements(NEW_SET_ELEMENTS, CREATE | EXCLUSIVE, set, None, elements);
            }
            Change::RemoveElements(set, elements) => self.elements(DEL_SET_ELEMENTS, 0, set, None, elements),
        }
    }

    fn add_chain(&mut self, chain: &Chain) {
        let mut made = self.message(NEW_CHAIN, CREATE | EXCLUSIVE).text(1, self.table).text(3, &chain.name);
        if let Some((kind, hook, priority)) = chain.base {
            made = made.nest(4, |m| m.be32(1, hook as u32).be32(2, priority.cast_unsigned()));
            made = made.text(
                7,
                match kind {
                    ChainType::Filter => "filter",
                    ChainType::Nat => "nat",
                },
            );
        }
        self.push(made, format!("add chain {}", chain.name));
    }

    fn add_rule(&mut self, rule: &Rule) {
        let operation = format!("add rule to chain {}", rule.chain);
        let mut inline = None;
        for expression in &rule.expressions {
            if let Expression::InlineMap { map, .. } = expression {
                inline = Some(self.add_inline_map(map, &operation));
            }
        }
        let target = self.message(NEW_RULE, CREATE | APPEND).text(1, self.table).text(2, &rule.chain);
        let made = target.nest(4, |list| {
            rule.expressions.iter().fold(list, |list, expression| expression.encode(list, inline.as_ref()))
        });
        self.push(made, operation);
    }

    /// A map that lives and dies with the rule that follows; the kernel fills in the number of its name.
    fn add_inline_map(&mut self, map: &AnonymousMap, operation: &str) -> InlineName {
        self.ids += 1;
        let name = InlineName { name: "__map%d".to_owned(), id: self.ids };
        let set = self.set(&name.name, name.id, SET_ANONYMOUS | SET_CONSTANT | SET_MAP, &[map.key]);
        let count = u32::try_from(map.elements.len()).expect("a service has fewer endpoints than 2^32");
        let typed = typed_values(set, &map.value).nest(9, |description| description.be32(1, count));
        self.push(typed.raw(13, &key_order(map.key)), format!("{operation}: its map"));
        let value = |value: &Vec<u8>| Data::Value(value.clone());
        let elements: Vec<Element> =
            map.elements.iter().map(|(key, data)| Element { key: key.clone(), data: value(data) }).collect();
        self.elements(NEW_SET_ELEMENTS, CREATE, &name.name, Some(name.id), &elements);
        name
    }

    fn add_set(&mut self, set: &Set) {
        self.ids += 1;
        let made = match &set.kind {
            SetKind::Keys => self.set(&set.name, self.ids, 0, &set.key),
            SetKind::Verdicts => self.set(&set.name, self.ids, SET_MAP, &set.key).be32(6, DATA_VERDICT).be32(7, 0),
            SetKind::Values(value) => typed_values(self.set(&set.name, self.ids, SET_MAP, &set.key), value),
            SetKind::Remembered => {
                let made = self.set(&set.name, self.ids, SET_TIMEOUT | SET_EVAL, &set.key);
                made.nest(9, |description| description.be32(1, REMEMBERED_MAX))
            }
        };
        self.push(made, format!("add set {}", set.name));
    }

    fn set(&self, name: &str, id: u32, flags: u32, key: &[DataType]) -> Message {
        let named = self.message(NEW_SET, CREATE | EXCLUSIVE).text(1, self.table).text(2, name).be32(3, flags);
        named.be32(4, DataType::concatenated(key)).be32(5, DataType::bytes(key)).be32(10, id)
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, id: Option<u32>, elements: &[Element]) {
        let verb = if kind == NEW_SET_ELEMENTS { "add" } else { "delete" };
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let mut list = self.message(kind, flags).text(1, self.table).text(2, set);
            if let Some(id) = id {
                list = list.be32(4, id);
            }
            let filled = list.nest(3, |list| some.iter().fold(list, encode_element));
            self.push(filled, format!("{verb} {} elements of {set}", some.len()));
        }
    }
}

fn typed_values(set: Message, value: &[DataType]) -> Message {
    set.be32(6, DataType::concatenated(value)).be32(7, DataType::bytes(value))
}

/// The note for `nft list` on whose byte order a key has: tag 0, four bytes, 1 for the machine's and 2 for the packet's.
fn key_order(key: DataType) -> [u8; 6] {
    let order: u32 = if key == DataType::Integer { 1 } else { 2 };
    let [a, b, c, d] = order.to_ne_bytes();
    [0, 4, a, b, c, d]
}

fn encode_element(list: Message, element: &Element) -> Message {
    list.nest(LIST_ELEMENT, |made| {
        let keyed = made.nest(1, |key| data_value(key, &element.key));
        match &element.data {
            Data::Nothing => keyed,
            Data::Value(value) => keyed.nest(2, |data| data_value(data, value)),
            Data::Goto(chain) => keyed.nest(2, |data| data_goto(data, chain)),
        }
    })
}
