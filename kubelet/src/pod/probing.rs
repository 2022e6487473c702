//! A worker's probes: which run, and what their verdicts do.

use super::memory::{Killer, ToKill};
use super::wanted::Role;
use super::worker::Worker;
use crate::probe::{self, Kind, Probed};
use std::collections::HashMap;
use std::sync::Arc;

impl Worker {
    /// Takes in what a probe found.
    pub(super) fn judge(&mut self, probed: Probed) {
        if !self
            .seen
            .latest(&probed.container)
            .is_some_and(|instance| instance.id == probed.id && instance.is_running())
        {
            return;
        }
        let container = super::ephemeral::find(&self.pod, &probed.container);
        let grace_seconds = container
            .as_deref()
            .and_then(|container| probed.kind.of(container))
            .and_then(|probe| probe.termination_grace_period_seconds);
        let memory = self.memory.of(&probed.container);
        match (probed.kind, probed.failure) {
            (Kind::Startup, None) => memory.started = Some(probed.id),
            (Kind::Readiness, None) => memory.ready = Some(probed.id),
            (Kind::Readiness, Some(_)) => memory.ready = None,
            (Kind::Liveness, None) => {}
            (kind @ (Kind::Liveness | Kind::Startup), Some(_)) => {
                let why = format!("Container {} failed {} probe, will be restarted", probed.container, kind.name());
                memory.to_kill = Some(ToKill { id: probed.id, by: Killer::Probe, why, grace_seconds });
            }
        }
    }

    /// Starts the probes that running containers need, ends the others.
    pub(super) fn reconcile_probes(&mut self) {
        let ending = !self.is_staying();
        let mut due = HashMap::new();
        for wanted in
            self.wanted.containers.iter().filter(|container| matches!(container.role, Role::App | Role::Sidecar))
        {
            let Some(instance) = self.seen.latest(&wanted.name).filter(|instance| instance.is_running()) else {
                continue;
            };
            let started = super::status::has_started(wanted, self.memory.get(&wanted.name), &instance.id);
            for kind in Kind::ALL {
                if kind.runs(started) && !(ending && kind != Kind::Readiness) {
                    due.insert((instance.id.clone(), kind), wanted.name.clone());
                }
            }
        }
        self.probes.retain(|key, handle| {
            let keep = due.contains_key(key);
            if !keep {
                handle.abort();
            }
            keep
        });
        for ((id, kind), name) in due {
            if self.probes.contains_key(&(id.clone(), kind)) {
                continue;
            }
            let ip = self.seen.newest_sandbox().and_then(|sandbox| sandbox.ips.first().cloned());
            let ip = ip.unwrap_or_else(|| self.agent.facts.host_ip.clone());
            let subject = probe::Subject {
                agent: Arc::clone(&self.agent),
                pod: Arc::clone(&self.pod),
                container: name,
                id: id.clone(),
                ip,
            };
            if let Some(task) = probe::task(subject, kind, self.inbox.clone()) {
                let handle = self.tasks.spawn(task);
                self.probes.insert((id, kind), handle);
            }
        }
    }
}
