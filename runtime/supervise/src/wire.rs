//! The words between the CRI service and a supervisor: one JSON object a line, requests one way, replies the other.
//!
//! The socket is `supervise.sock` in the sandbox's folder. A connection carries one request after the other;
//! [`Request::Watch`] turns it into a stream of [`Reply::Exited`], and [`Request::Exec`] is answered twice: when the process
//! runs and when it ended. A request's descriptors travel (SCM_RIGHTS) with its first byte, in the order stdin, stdout,
//! stderr, and only those that the request announces. This is our own protocol, private to one version of Skiff.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The socket's name in the sandbox's folder.
pub const SOCKET_NAME: &str = "supervise.sock";

/// What the supervisor prints on its standard output, once, when its socket accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its process id: the pod's namespaces are `/proc/<pid>/ns/{net,ipc,uts}`.
    pub pid: i32,
    /// The descriptor that keeps the pod's user namespace, if it has one: `/proc/<pid>/fd/<users>`.
    pub users: Option<i32>,
}

/// What may be asked of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Runs the OCI runtime's `create`; answered by [`Reply::Created`].
    Create(Create),
    /// Runs the OCI runtime's `start`; answered by [`Reply::Started`].
    Start {
        /// Container id.
        container: String,
    },
    /// Runs a further process in a container; answered by [`Reply::ExecStarted`], later by [`Reply::Exited`]. The process
    /// is killed when the connection closes before it ended.
    Exec(Exec),
    /// Sends a signal to a container's first process; answered by [`Reply::Done`], also when it has ended already.
    Signal {
        /// Container id.
        container: String,
        /// Signal number as in signal(7).
        signal: i32,
    },
    /// Joins the caller's pipes to a container's stdio until it ends; answered by [`Reply::Attached`].
    Attach(Attach),
    /// Tells a container's terminal its size; answered by [`Reply::Done`].
    Resize {
        /// Container id.
        container: String,
        /// Characters in a row.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Opens the log file anew, after it was renamed; answered by [`Reply::Done`].
    ReopenLog {
        /// Container id.
        container: String,
    },
    /// Runs the OCI runtime's `delete --force` (after whatever runs for this container) and forgets the container;
    /// answered by [`Reply::Done`], also for an unknown one.
    Delete {
        /// Container id.
        container: String,
    },
    /// Answered by [`Reply::Containers`].
    List,
    /// From now on every exit is reported on this connection; answered by [`Reply::Done`] first.
    Watch,
    /// The process whose pid namespace the pod's containers share, made at the first question; answered by
    /// [`Reply::PodPid`].
    PodPid,
    /// Kills what still runs and ends the supervisor; answered by [`Reply::Done`].
    Shutdown,
}

/// See [`Request::Create`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Container id.
    pub container: String,
    /// The bundle's folder, absolute.
    pub bundle: PathBuf,
    /// Where the CRI log goes, absolute; no log without it.
    pub log: Option<PathBuf>,
    /// Whether the bundle's process asks for a terminal.
    pub terminal: bool,
    /// Whether stdin stays open for attaching; else it is empty.
    pub stdin: StdinPolicy,
    /// The container's cgroup below each hierarchy's root, for the question whether memory ran out.
    pub cgroup: String,
    /// Whether the container's processes all end with its first one.
    pub pid_namespace: PidNamespace,
    /// `<pod uid>/<attempt>`, for the trace.
    pub correlation: Option<String>,
}

/// What a container's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdinPolicy {
    /// `/dev/null`.
    Empty,
    /// A pipe that ends when the first attached client's input ends.
    Once,
    /// A pipe that stays.
    Open,
}

/// Whose pid namespace a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PidNamespace {
    /// Its own: the kernel kills the rest when the first process ends (pid_namespaces(7)).
    Private,
    /// The pod's or the host's: the rest must be killed.
    Shared,
}

/// See [`Request::Exec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Container id.
    pub container: String,
    /// The OCI `process` object.
    pub process: serde_json::Value,
    /// A terminal; its master comes back with [`Reply::ExecStarted`], and no descriptors go with the request.
    pub terminal: bool,
    /// Whether a descriptor for stdin came with the request; else it is `/dev/null`.
    pub stdin: bool,
    /// The same for stdout.
    pub stdout: bool,
    /// The same for stderr.
    pub stderr: bool,
}

/// See [`Request::Attach`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Container id.
    pub container: String,
    /// Whether a descriptor to read the client's input from came with the request.
    pub stdin: bool,
    /// Whether a descriptor to write output to came.
    pub stdout: bool,
    /// Whether a descriptor to write error output to came.
    pub stderr: bool,
}

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// The container exists; its first process waits for the start.
    Created {
        /// Host process id of the first process.
        pid: i32,
    },
    /// The container runs.
    Started {
        /// Nanoseconds since the epoch.
        started_at_ns: i64,
    },
    /// The process runs; a terminal's master comes with this line.
    ExecStarted {
        /// Its host process id.
        pid: i32,
    },
    /// Attached.
    Attached,
    /// A container's first process, or this connection's exec, ended.
    Exited(Exit),
    /// All containers.
    Containers {
        /// In the order of their ids.
        containers: Vec<ContainerState>,
    },
    /// Whose pid namespace to join.
    PodPid {
        /// Its host process id.
        pid: i32,
    },
    /// It was not done.
    Failed {
        /// Why: for a failed runtime, its own last error line.
        message: String,
    },
}

/// How a process ended; also the content of `<container>.exit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Container id.
    pub container: String,
    /// As a shell reports it: the status, or 128 plus the signal.
    pub exit_code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in the container's cgroup for want of memory.
    pub oom_killed: bool,
    /// Nanoseconds since the epoch.
    pub finished_at_ns: i64,
}

/// A container as its supervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Container id.
    pub container: String,
    /// How far it is.
    pub phase: Phase,
    /// Host process id of the first process, from creation on.
    pub pid: Option<i32>,
    /// Nanoseconds since the epoch, from the start on.
    pub started_at_ns: Option<i64>,
    /// Once it has ended.
    pub exit: Option<Exit>,
}

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The runtime's `create` runs.
    Creating,
    /// Waits for the start.
    Created,
    /// Started.
    Running,
    /// Its first process ended.
    Exited,
}

/// The file in the sandbox's folder that keeps a container's [`Exit`].
#[must_use]
pub fn exit_file_name(container: &str) -> String {
    format!("{container}.exit")
}
