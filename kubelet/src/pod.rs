//! One pod's life on this node.
//!
//! ```text
//!  API watch ─┐                          ┌─► act      (CRI calls, files, hooks)
//!  CRI events ┼─► worker ─► plan ─► steps┤      │ outcome
//!  probes ────┘     ▲                    └─► status ─► API
//!                   └───────────────────────────┘
//! ```
//!
//! [`plan`] and [`status`] are pure; [`worker`] is the one task that owns a pod's memory; [`act`] performs.

pub(crate) mod act; // performs one step
pub(crate) mod admission; // whether the node takes it; no I/O
mod again; // when a container that ended starts again; no I/O
pub(crate) mod backoff; // when may it be tried again
pub(crate) mod cgroup; // the pod's cgroup
mod conditions; // the conditions of the report; no I/O
pub(crate) mod container; // the CRI container of a pod; no I/O
pub(crate) mod dispatch; // from the watch to the workers
pub(crate) mod env; // a container's environment; no I/O
mod env_file; // files of variables in volumes; no I/O
pub(crate) mod ephemeral; // containers that people add to look into a pod; no I/O
mod eviction; // volumes that grow too large
mod hooks; // postStart and preStop
mod last_words; // termination messages
mod learn; // from the ends of its steps
mod manifests; // files of static pods
pub(crate) mod memory; // what we remember in between
mod mirrors; // static pods, as the API server shows them
pub(crate) mod mount_status; // mounts, as statuses tell them; no I/O
pub(crate) mod names; // hostname, DNS, /etc/hosts
pub(crate) mod observed; // what the runtime has
mod orphans; // sandboxes whose pod is gone
pub(crate) mod plan; // what to do next; no I/O
mod probing; // which probes run, and what they do
mod pull_secrets; // credentials for images; no I/O
pub(crate) mod pulling; // with whose credentials, and who may use what is there
pub(crate) mod report; // writes the status
mod resize; // CPU and memory that change while it runs
mod resize_act; // puts them in force
mod resizing; // the worker's part in that
pub(crate) mod resources; // quantities, QoS classes, shares
mod restart; // which containers start again; no I/O
mod runtime_events; // what the runtime reports
pub(crate) mod sandbox; // the CRI sandbox of a pod; no I/O
mod security; // users, capabilities, seccomp as CRI says them
pub(crate) mod sources; // config maps, secrets, services from the API
mod start; // performs the longest one
mod static_pod; // a pod that a file describes; no I/O
mod statics; // from those files to workers
pub(crate) mod status; // what to report; no I/O
pub(crate) mod sysctls; // kernel parameters that pods may set; no I/O
pub(crate) mod tokens; // of service accounts, for volumes
pub(crate) mod users; // ids of pods that have users of their own
pub(crate) mod wanted; // what the API asks for
pub(crate) mod worker; // the task that owns it all
