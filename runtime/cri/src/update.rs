//! UpdateContainerResources: new limits for a container that runs, or has not been started yet.

use crate::disk::{ContainerPhase, ContainerRecord, replace};
use crate::error::{CriError, During};
use crate::state::{Change, Container, Service};
use serde_json::Value;
use skiff_proto::cri::v1::{LinuxContainerResources, UpdateContainerResourcesRequest};
use std::fs;
use std::io;
use std::sync::Arc;

impl Service {
    /// UpdateContainerResources. What the request leaves out stays as it was.
    pub(crate) async fn update_container(
        &self,
        container: &Arc<Container>,
        wanted: LinuxContainerResources,
    ) -> Result<(), CriError> {
        let _held = container.lifecycle.lock().await;
        let record = container.record();
        let mut notes = record.notes.clone();
        let change = crate::bundle::resources(&wanted, &self.host, &mut notes)?;
        match record.phase {
            ContainerPhase::Running => {
                self.run_runtime(&["update", "--resources=-", &record.id], &change.to_string()).await?;
            }
            // The OCI runtime will hear of them at the start.
            ContainerPhase::Created => self.rewrite_limits(&record.id, change)?,
            _ => return Err(CriError::Precondition(format!("container {}: it has ended", record.id))),
        }
        container.update(&self.disk, |record| {
            let resources = &mut record.config.linux.get_or_insert_default().resources;
            *resources = Some(merged(resources.take().unwrap_or_default(), wanted));
            record.notes = notes;
            Change::Made
        })?;
        Ok(())
    }

    fn rewrite_limits(&self, id: &str, change: Value) -> Result<(), CriError> {
        let file = self.disk.folder::<ContainerRecord>(id).join("config.json");
        let operation = || format!("put new limits into {}", file.display());
        let text = fs::read(&file).during(operation)?;
        let mut config: Value = serde_json::from_slice(&text).map_err(io::Error::from).during(operation)?;
        overlay(&mut config["linux"]["resources"], change);
        replace(&file, config.to_string().as_bytes()).during(operation)
    }
}

/// The request's Linux limits; other platforms' are refused.
pub(crate) fn wanted(request: UpdateContainerResourcesRequest) -> Result<LinuxContainerResources, CriError> {
    if request.windows.is_some() {
        return Err(CriError::Invalid("update: windows settings on a Linux node".to_owned()));
    }
    request.linux.ok_or_else(|| CriError::Invalid("update: linux is missing".to_owned()))
}

/// Puts the leaves of `change` into `value`, and leaves the others.
fn overlay(value: &mut Value, change: Value) {
    match change {
        Value::Object(fields) => {
            if !value.is_object() {
                *value = Value::Object(Default::default());
            }
            for (name, inner) in fields {
                overlay(&mut value[name], inner);
            }
        }
        leaf => *value = leaf,
    }
}

/// Zero, empty and absent say nothing in CRI, so what was before goes on: who changes the processor share must not lose the
/// memory limit from the status.
fn merged(before: LinuxContainerResources, wanted: LinuxContainerResources) -> LinuxContainerResources {
    let number = |new: i64, old: i64| if new == 0 { old } else { new };
    let text = |new: String, old: String| if new.is_empty() { old } else { new };
    LinuxContainerResources {
        cpu_period: number(wanted.cpu_period, before.cpu_period),
        cpu_quota: number(wanted.cpu_quota, before.cpu_quota),
        cpu_shares: number(wanted.cpu_shares, before.cpu_shares),
        memory_limit_in_bytes: number(wanted.memory_limit_in_bytes, before.memory_limit_in_bytes),
        // A process that runs keeps its score.
        oom_score_adj: before.oom_score_adj,
        cpuset_cpus: text(wanted.cpuset_cpus, before.cpuset_cpus),
        cpuset_mems: text(wanted.cpuset_mems, before.cpuset_mems),
        hugepage_limits: if wanted.hugepage_limits.is_empty() {
            before.hugepage_limits
        } else {
            wanted.hugepage_limits
        },
        unified: before.unified.into_iter().chain(wanted.unified).collect(),
        memory_swap_limit_in_bytes: number(wanted.memory_swap_limit_in_bytes, before.memory_swap_limit_in_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Fault N27: the kubelet reads both limits back, and changes one at a time.
    #[test]
    fn what_an_update_leaves_out_stays() {
        let before = LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            memory_limit_in_bytes: 1 << 26,
            oom_score_adj: 900,
            ..Default::default()
        };
        let wanted = LinuxContainerResources { cpu_quota: 70_000, ..Default::default() };
        let after = merged(before.clone(), wanted);
        assert_eq!(after, LinuxContainerResources { cpu_quota: 70_000, ..before });
    }

    #[test]
    fn only_the_leaves_that_are_given_change() {
        let mut value = json!({"cpu": {"shares": 2, "quota": 5}, "devices": [{"allow": false}]});
        overlay(&mut value, json!({"cpu": {"quota": 7}, "memory": {"limit": 9}}));
        let expected = json!({"cpu": {"shares": 2, "quota": 7}, "devices": [{"allow": false}], "memory": {"limit": 9}});
        assert_eq!(value, expected);
    }
}
