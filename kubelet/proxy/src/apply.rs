//! Brings the kernel's table to the planned one, in one transaction, and remembers what is there.

use crate::ProxyError;
use crate::flows::Flows;
use crate::plan::Table;
use crate::service::Port;
use skiff_step::{Engine, Injected, Step};
use skiff_sys::conntrack;
use skiff_sys::netlink::Refusal;
use skiff_sys::nft::{Block, Change, Transaction, Transport, table_exists};

const APPLY: Step = Step::new("proxy.apply", "nftables: one transaction");
const FORGET: Step = Step::new("proxy.forget", "ctnetlink: IPCTNL_MSG_CT_DELETE");

/// The one who changes the table.
#[derive(Debug)]
pub(crate) struct Applier {
    // Fixed.
    table: String,
    pods: Block,
    engine: Engine,
    // What the kernel has. Without a table we do not know, and replace what is there.
    applied: Option<Table>,
    flows: Option<Flows>,
}

impl Applier {
    pub(crate) const fn new(table: String, pods: Block, engine: Engine) -> Self {
        Self { table, pods, engine, applied: None, flows: None }
    }

    /// Makes the kernel's table say what `ports` say.
    ///
    /// # Errors
    /// The kernel refused; the table is as it was, and the next call replaces it.
    pub(crate) fn apply(&mut self, ports: &[Port]) -> Result<(), ProxyError> {
        let wanted = Table::of(ports);
        match self.applied.take() {
            None => self.commit("replace", wanted.replace(self.pods))?,
            Some(before) => self.amend(&wanted, &before)?,
        }
        self.applied = Some(wanted);
        self.forget_flows(Flows::of(ports));
        Ok(())
    }

    /// Replaces the table if somebody else removed it.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub(crate) fn check(&mut self, ports: &[Port]) -> Result<(), ProxyError> {
        if self.applied.is_some() && !table_exists(&self.table)? {
            self.applied = None;
        }
        self.apply(ports)
    }

    fn amend(&self, wanted: &Table, before: &Table) -> Result<(), ProxyError> {
        let changes = wanted.changes_since(before);
        if changes.is_empty() {
            return Ok(());
        }
        match self.commit("amend", changes) {
            // Somebody else changed our table.
            Err(ProxyError::Rules(error)) if error.is_surprise() => self.commit("replace", wanted.replace(self.pods)),
            other => other,
        }
    }

    fn commit(&self, verb: &str, changes: Vec<Change>) -> Result<(), ProxyError> {
        let operand = format!("{verb} {}: {} changes", self.table, changes.len());
        let transaction = Transaction { table: self.table.clone(), changes };
        self.engine.run(&APPLY, || operand, || Ok(transaction.commit()?))
    }

    /// The new rules are in force, so what is forgotten now starts anew by them.
    fn forget_flows(&mut self, flows: Flows) {
        if self.flows.as_ref() == Some(&flows) {
            return;
        }
        let stale = flows.since(self.flows.as_ref().unwrap_or(&Flows::default()));
        match self.engine.run(&FORGET, || "udp".to_owned(), || forget(&stale)) {
            Ok(()) => self.flows = Some(flows),
            // The rules are right; a flow that stays with an endpoint that is gone ends by its own time.
            Err(error) => {
                tracing::warn!(error = skiff_client::sentence(&error), "cannot make the kernel forget old UDP flows")
            }
        }
    }
}

/// Why flows were not forgotten.
#[derive(Debug, thiserror::Error)]
enum ForgetError {
    #[error("conntrack: {0}")]
    Kernel(#[from] Refusal),
    #[error("step {}: planned fault", .0.step)]
    Planned(Injected),
}

impl From<Injected> for ForgetError {
    fn from(fault: Injected) -> Self {
        Self::Planned(fault)
    }
}

fn forget(flows: &Flows) -> Result<(), ForgetError> {
    if flows.is_empty() {
        return Ok(());
    }
    for connection in conntrack::list(Transport::Udp.number())? {
        if flows.is_stale(connection.to, connection.answered_by) {
            conntrack::forget(&connection)?;
        }
    }
    Ok(())
}
