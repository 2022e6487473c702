//! Planned faults: fail, delay, stop or kill at the n-th time a step is reached.
//!
//! The text form is `step:count=action`, comma separated, with the actions `error(ERRNO)`, `delay(MS)`, `stop` and
//! `kill`: `rootfs.pivot:1=error(5),exec.payload:1=stop`.

use crate::Injected;
use nix::sys::signal::{Signal, raise};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What happens instead of, or before, a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The step fails with this errno and is not performed.
    Error(i32),
    /// The step is performed after this delay.
    Delay(Duration),
    /// The process stops itself (SIGSTOP) before the step and goes on when continued.
    Stop,
    /// The process kills itself (SIGKILL) before the step.
    Kill,
}

/// Which steps to disturb, and when.
#[derive(Debug, Default)]
pub struct FaultPlan {
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Fault {
    step: String,
    count: u32,
    action: Action,
    seen: AtomicU32,
}

/// Why a fault plan does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault `{0}`: expected STEP:COUNT=ACTION with ACTION one of error(ERRNO), delay(MS), stop, kill")]
pub struct FaultPlanError(String);

impl FaultPlan {
    /// Whether nothing is planned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Counts this arrival at `step`, and does what is planned for it.
    pub(crate) fn strike(&self, step: &str) -> Option<Injected> {
        let action = self.faults.iter().find(|fault| fault.step == step && fault.is_due())?.action;
        match action {
            Action::Error(errno) => return Some(Injected { step: "planned fault", errno }),
            Action::Delay(delay) => std::thread::sleep(delay),
            // Stopping oneself cannot be refused, so raise(3) has nothing to report.
            Action::Stop => drop(raise(Signal::SIGSTOP)),
            Action::Kill => {
                let _not_by_the_first_process = raise(Signal::SIGKILL);
                // The first process of a pid namespace is spared its own signals (pid_namespaces(7)), but not a fault.
                std::process::abort();
            }
        }
        None
    }
}

impl Fault {
    fn is_due(&self) -> bool {
        self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.count
    }
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let faults = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_fault);
        Ok(Self { faults: faults.collect::<Result<_, _>>()? })
    }
}

fn parse_fault(text: &str) -> Result<Fault, FaultPlanError> {
    let bad = || FaultPlanError(text.to_owned());
    let (place, action) = text.split_once('=').ok_or_else(bad)?;
    let (step, count) = place.rsplit_once(':').ok_or_else(bad)?;
    let count = count.parse().ok().filter(|&count| count > 0).ok_or_else(bad)?;
    let action = parse_action(action).ok_or_else(bad)?;
    Ok(Fault { step: step.to_owned(), count, action, seen: AtomicU32::new(0) })
}

fn parse_action(text: &str) -> Option<Action> {
    let argument = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?.parse::<u32>().ok();
    match text {
        "stop" => Some(Action::Stop),
        "kill" => Some(Action::Kill),
        _ => argument("error")
            .and_then(|errno| i32::try_from(errno).ok())
            .map(Action::Error)
            .or_else(|| argument("delay").map(|ms| Action::Delay(Duration::from_millis(ms.into())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fault_strikes_at_its_count_only() {
        let plan: FaultPlan = "a.b:2=error(5)".parse().unwrap();
        assert_eq!(plan.strike("a.b"), None);
        assert_eq!(plan.strike("other"), None);
        assert_eq!(plan.strike("a.b").map(|fault| fault.errno), Some(5));
        assert_eq!(plan.strike("a.b"), None);
    }

    #[test]
    fn text_that_is_no_plan_is_refused_with_itself() {
        for bad in ["a", "a:0=kill", "a:1=explode", "a:1=error(x)", "=kill"] {
            let error = bad.parse::<FaultPlan>().unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _either_way = text.parse::<FaultPlan>();
        }
    }
}
