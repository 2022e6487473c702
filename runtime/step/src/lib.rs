//! The step engine: every privileged operation has a name, a clause, a trace, a stop and a fault.
//!
//! A [`Step`] is a constant: an id such as `rootfs.pivot` and the clause of the specification that asks for it. Every
//! actor performs its operations through an [`Engine`], which can record them (one JSON line each), delay them, fail
//! them, stop before them or kill the process at them. With nothing switched on, an operation costs one predictable
//! branch.
//!
//! What it leaves to others: deciding which steps there are, and joining the lines of several programs (they share the
//! correlation id, see [`Engine::correlated`]).

mod fault;
mod trace;

pub use fault::{Action, FaultPlan, FaultPlanError};
pub use trace::{Line, Outcome};

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The annotation (CRI and OCI) that carries the correlation id, `<pod uid>/<attempt>`.
pub const CORRELATION_ANNOTATION: &str = "skiff.dev/correlation";
/// Environment: append one JSON line per step to this file.
pub const TRACE_VARIABLE: &str = "SKIFF_TRACE";
/// Environment: `step:count=action` pairs, comma separated; see [`FaultPlan`].
pub const FAULT_VARIABLE: &str = "SKIFF_FAULT";

/// A named operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// Area and verb: `rootfs.pivot`, `cgroup.join`, `net.attach`.
    pub id: &'static str,
    /// The clause that asks for it: a specification's section, a man page, a KEP.
    pub clause: &'static str,
}

impl Step {
    /// Names a step; used in constants.
    #[must_use]
    pub const fn new(id: &'static str, clause: &'static str) -> Self {
        Self { id, clause }
    }
}

/// The error that a planned fault makes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected {
    /// The step that was to fail.
    pub step: &'static str,
    /// The errno it was to fail with.
    pub errno: i32,
}

impl From<Injected> for std::io::Error {
    fn from(fault: Injected) -> Self {
        Self::from_raw_os_error(fault.errno)
    }
}

impl From<Injected> for nix::errno::Errno {
    fn from(fault: Injected) -> Self {
        Self::from_raw(fault.errno)
    }
}

/// Performs steps. Cheap to clone; clones share the trace file and the fault counters.
#[derive(Debug, Clone)]
pub struct Engine {
    // Off is the common case, and then a step is one branch on this option.
    inner: Option<Arc<Inner>>,
    correlation: Option<Arc<str>>,
}

#[derive(Debug)]
struct Inner {
    component: &'static str,
    trace: Option<trace::File>,
    faults: FaultPlan,
}

impl Engine {
    /// Records nothing and injects nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self { inner: None, correlation: None }
    }

    /// An engine for `component` that records to `trace` (appending) and injects `faults`.
    ///
    /// # Errors
    /// The trace file cannot be opened for appending.
    pub fn new(component: &'static str, trace: Option<&Path>, faults: FaultPlan) -> std::io::Result<Self> {
        if trace.is_none() && faults.is_empty() {
            return Ok(Self::off());
        }
        let trace = trace.map(trace::File::open).transpose()?;
        Ok(Self { inner: Some(Arc::new(Inner { component, trace, faults })), correlation: None })
    }

    /// As the environment asks: [`TRACE_VARIABLE`] and [`FAULT_VARIABLE`].
    ///
    /// # Errors
    /// The trace file cannot be opened, or the fault plan does not parse.
    pub fn from_env(component: &'static str) -> std::io::Result<Self> {
        let trace = std::env::var_os(TRACE_VARIABLE).filter(|path| !path.is_empty());
        let faults = match std::env::var(FAULT_VARIABLE) {
            Ok(text) => text.parse::<FaultPlan>().map_err(std::io::Error::other)?,
            Err(_) => FaultPlan::default(),
        };
        Self::new(component, trace.as_ref().map(Path::new), faults)
    }

    /// The same engine, whose lines carry `id` (`<pod uid>/<attempt>`).
    #[must_use]
    pub fn correlated(&self, id: Option<&str>) -> Self {
        let correlation = match (&self.inner, id) {
            (Some(_), Some(id)) => Some(Arc::from(id)),
            _ => None,
        };
        Self { inner: self.inner.clone(), correlation }
    }

    /// Whether anything is recorded or injected.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// The file that lines are appended to, for [`TRACE_VARIABLE`] of programs that we start.
    #[must_use]
    pub fn trace_path(&self) -> Option<&Path> {
        self.inner.as_ref()?.trace.as_ref().map(trace::File::path)
    }

    /// Performs `operation` as `step`; `operand` says on what, and is only asked when a line is written.
    ///
    /// # Errors
    /// What `operation` fails with, or the planned fault.
    pub fn run<T, E>(
        &self,
        step: &Step,
        operand: impl FnOnce() -> String,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: Display + From<Injected>,
    {
        let begun = self.begin(step);
        // `operation` stands here once, whatever is switched on: it is inlined, and twice would double every caller.
        let result = match struck(begun.as_ref()) {
            None => operation(),
            Some(fault) => Err(fault.into()),
        };
        end(begun.as_ref(), operand, result)
    }

    /// Like [`Engine::run`] for an operation that does not come back when it succeeds (execve): its line is written
    /// before it, and a second one if it fails.
    ///
    /// # Errors
    /// What `operation` fails with, or the planned fault.
    pub fn leave<T, E>(
        &self,
        step: &Step,
        operand: impl Fn() -> String,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: Display + From<Injected>,
    {
        let begun = self.begin(step);
        let result = match struck(begun.as_ref()) {
            None => {
                if begun.is_some() {
                    self.note(step, &operand);
                }
                operation()
            }
            Some(fault) => Err(fault.into()),
        };
        end(begun.as_ref(), operand, result)
    }

    /// Like [`Engine::run`] for an operation that waits.
    ///
    /// # Errors
    /// What `operation` fails with, or the planned fault.
    pub async fn run_async<T, E>(
        &self,
        step: &Step,
        operand: impl FnOnce() -> String,
        operation: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: Display + From<Injected>,
    {
        let begun = self.begin(step);
        let result = match struck(begun.as_ref()) {
            None => operation.await,
            Some(fault) => Err(fault.into()),
        };
        end(begun.as_ref(), operand, result)
    }

    /// Records something that happened and cannot fail (an API write, a decision).
    pub fn note(&self, step: &Step, operand: impl FnOnce() -> String) {
        let begun = self.begin(step);
        let Ok(()) = end(begun.as_ref(), operand, Ok::<(), Never>(()));
    }

    /// `None` with nothing switched on: then there is only the operation.
    fn begin<'a>(&'a self, step: &'a Step) -> Option<Begun<'a>> {
        Some(Begun::new(self, self.inner.as_deref()?, step))
    }
}

/// A step between its beginning and its line.
struct Begun<'a> {
    engine: &'a Engine,
    inner: &'a Inner,
    step: &'a Step,
    at: SystemTime,
    started: Instant,
}

impl<'a> Begun<'a> {
    #[cold]
    fn new(engine: &'a Engine, inner: &'a Inner, step: &'a Step) -> Self {
        Self { engine, inner, step, at: SystemTime::now(), started: Instant::now() }
    }

    /// Writes the line.
    #[cold]
    fn write(&self, trace: &trace::File, operand: String, error: Option<&dyn Display>) {
        let outcome = error.map_or(Outcome::Ok, |error| Outcome::Error(error.to_string()));
        let (component, correlation) = (self.inner.component, self.engine.correlation.as_deref());
        let took = self.started.elapsed();
        trace.append(&Line::new(component, self.step, self.at, took, correlation, operand, outcome));
    }
}

/// Carries out the fault that is planned for now, if there is one.
fn struck(begun: Option<&Begun<'_>>) -> Option<Injected> {
    begun.and_then(|begun| begun.inner.faults.strike(begun.step.id))
}

/// Writes the line, if lines are written, and hands on `result`.
fn end<T, E: Display>(
    begun: Option<&Begun<'_>>,
    operand: impl FnOnce() -> String,
    result: Result<T, E>,
) -> Result<T, E> {
    if let Some(begun) = begun
        && let Some(trace) = &begun.inner.trace
    {
        begun.write(trace, operand(), result.as_ref().err().map(|error| error as &dyn Display));
    }
    result
}

/// An error that cannot happen, for [`Engine::note`].
#[derive(Debug)]
enum Never {}

impl Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}
