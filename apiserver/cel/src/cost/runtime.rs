//! Costs as they arise.
//!
//! Upstream keeps a stack of the values that steps gave, by the numbers of their nodes, and takes arguments from it; a call whose
//! arguments it does not find costs nothing. What a step leaves behind (the rest of a short-circuited `or`) can hide arguments in the next
//! turn of a loop, so the stack is kept here too, without the values.

use crate::fault::Fault;
use crate::plan::Node;
use crate::syntax::ast::Id;

/// Counts the cost of one evaluation.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) cost: u64,
    limit: u64,
    stack: Vec<Id>,
    /// How often each node is on the stack, so that looking for one that is not costs nothing.
    present: Vec<u32>,
}

impl Meter {
    pub(crate) fn new(limit: u64, nodes: usize) -> Self {
        Self { cost: 0, limit, stack: Vec::with_capacity(32), present: vec![0; nodes] }
    }

    /// A step has its value.
    pub(crate) fn push(&mut self, id: Id) -> Result<(), Fault> {
        self.stack.push(id);
        if let Some(count) = self.present.get_mut(id as usize) {
            *count += 1;
        }
        if self.cost > self.limit { Err(Fault::CostExceeded) } else { Ok(()) }
    }

    /// Removes a node's value and all above it, if it is there.
    pub(crate) fn drop(&mut self, id: Id) -> bool {
        if self.present.get(id as usize).is_none_or(|count| *count == 0) {
            return false;
        }
        while let Some(top) = self.stack.pop() {
            if let Some(count) = self.present.get_mut(top as usize) {
                *count -= 1;
            }
            if top == id {
                break;
            }
        }
        true
    }

    /// Removes arguments, the last one first; whether all were there.
    pub(crate) fn drop_all(&mut self, nodes: &[Node]) -> bool {
        nodes.iter().rev().all(|node| self.drop(node.id))
    }

    /// Removes what a literal was made of; keys and values take turns.
    pub(crate) fn drop_interleaved(&mut self, parts: &[&[Node]]) {
        let length = parts.first().map_or(0, |part| part.len());
        for at in (0..length).rev() {
            for part in parts.iter().rev() {
                if !self.drop(part[at].id) {
                    return;
                }
            }
        }
    }
}
