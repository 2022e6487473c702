//! What a pod needs that has ended or has to go.

use super::{Ending, Lane, Logs, Planner, RETRIES, Role, Step};

impl Planner<'_> {
    /// Stops everything; true when nothing is left that runs or could come to run.
    fn quiet(&mut self, grace_seconds: i64, why: &str) -> bool {
        let running = |role: Role| {
            let of_role = self.wanted.with_role(role).filter_map(|container| self.seen.latest(&container.name));
            of_role.filter(|instance| instance.is_running()).cloned().collect::<Vec<_>>()
        };
        let at_once = [Role::App, Role::Init, Role::Ephemeral];
        let mut first: Vec<_> = at_once.into_iter().flat_map(running).collect();
        if first.is_empty() {
            first = running(Role::Sidecar).pop().into_iter().collect();
        }
        for instance in &first {
            self.stop(instance, grace_seconds, why);
        }
        let starting = |lane: &Lane| matches!(lane, Lane::Container(_) | Lane::Sandbox);
        let stray: Vec<_> = self.seen.containers.values().filter(|instance| instance.is_running()).cloned().collect();
        if first.is_empty() {
            // Instances that no name of the spec leads to.
            for instance in &stray {
                self.stop(instance, grace_seconds, why);
            }
        }
        stray.is_empty() && !self.memory.busy.iter().any(starting)
    }

    pub(super) fn settle(&mut self, grace_seconds: i64, why: &str) {
        if !self.quiet(grace_seconds, why) {
            return;
        }
        let standing = self.seen.sandboxes.values().find(|sandbox| sandbox.ready).map(|sandbox| sandbox.id.clone());
        match standing {
            Some(id) => {
                if self.due(self.memory.endings.retry_at(RETRIES)) {
                    self.push(Step::StopSandbox { id });
                }
            }
            None => self.clear(Logs::Keep),
        }
    }

    pub(super) fn leave(&mut self, grace_seconds: i64) {
        if !self.quiet(grace_seconds, "Stopping container") {
            return;
        }
        if let Some(id) = self.seen.sandboxes.keys().next().cloned() {
            if self.due(self.memory.endings.retry_at(RETRIES)) {
                self.push(Step::RemoveSandbox { id });
            }
            return;
        }
        if self.memory.cleared {
            match self.wanted.ending {
                Ending::Deleting { .. } if !self.memory.deletion_finished => {
                    if self.due(self.memory.endings.retry_at(RETRIES)) {
                        self.push(Step::FinishDeletion);
                    }
                }
                _ => self.plan.over = self.memory.busy.is_empty(),
            }
            return;
        }
        self.clear(Logs::Remove);
    }

    fn clear(&mut self, logs: Logs) {
        if !self.memory.cleared && self.due(self.memory.folders_due()) {
            self.push(Step::Clear { logs });
        }
    }
}
