//! What components count of themselves under Kubernetes' names, in Prometheus' text form.
//!
//! The counts are the process's: whoever serves `/metrics` in it shows those of all components that run there. A count stays as long as
//! the process, however often a component begins anew: one that begins at 0 again looks like a restart.

mod queues; // queues of names
mod text; // Prometheus' text form

pub(crate) use queues::{Look, Now, OfQueue};
pub use text::{Family, Histogram};

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// What writes a component's own figures.
type Writer = fn(&mut String);

#[derive(Default)]
struct All {
    queues: queues::Queues,
    leaders: BTreeMap<String, bool>,
    writers: Vec<Writer>,
}

static ALL: LazyLock<Mutex<All>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, All> {
    // Numbers are whole whatever panicked while they were held.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows what `write` writes, from now on; once, however often it is asked for.
///
/// It is called whenever somebody asks for figures, on the task that answers, and so must not wait for anything.
pub fn publish(write: Writer) {
    let mut all = lock();
    if !all.writers.iter().any(|known| std::ptr::fn_addr_eq(*known, write)) {
        all.writers.push(write);
    }
}

/// All figures of this process' components, in Prometheus' text form (version 0.0.4).
///
/// A process in which no component runs has none: an API server alone shows its own figures only.
#[must_use]
pub fn figures() -> String {
    let mut out = String::new();
    let (snapshot, leaders, writers) = {
        let mut all = lock();
        (all.queues.snapshot(), all.leaders.clone(), all.writers.clone())
    };
    snapshot.write(&mut out);
    if !leaders.is_empty() {
        let help = "Whether this process leads, by the name of the lease.";
        let family = Family::begin(&mut out, "leader_election_master_status", ("ALPHA", "gauge"), help);
        for (name, leads) in &leaders {
            family.line(&mut out, &format!("name=\"{name}\""), if *leads { "1" } else { "0" });
        }
    }
    for write in writers {
        write(&mut out);
    }
    out
}

/// A candidate for a lease leads, or does not.
pub(crate) fn leads(name: &str, leads: bool) {
    lock().leaders.insert(name.to_owned(), leads);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_shown_once_and_leaders_by_name() {
        fn own(out: &mut String) {
            out.push_str("own_total 1\n");
        }
        publish(own);
        publish(own);
        leads("a-lease", false);
        leads("a-lease", true);
        let text = figures();
        assert_eq!(text.matches("own_total").count(), 1, "{text}");
        assert!(text.contains("leader_election_master_status{name=\"a-lease\"} 1\n"), "{text}");
    }
}
