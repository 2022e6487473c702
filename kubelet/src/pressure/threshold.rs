//! Thresholds of eviction, as the kubelet's `--eviction-hard` has them: `nodefs.available<10%,memory.available<100Mi`. No I/O.

use super::signals::{Level, Signal};
use skiff_proto::quantity::Quantity;
use std::str::FromStr;

/// Kubernetes' own.
const DEFAULTS: &str =
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%";

/// How little may be left of something.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Least {
    /// So much.
    Amount(i64),
    /// So many hundredths of all.
    Percent(f64),
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold {
    /// What is measured.
    pub(super) signal: Signal,
    least: Least,
}

impl Threshold {
    /// What must be left where there is `capacity`.
    pub(super) fn least(&self, capacity: i64) -> i64 {
        match self.least {
            Least::Amount(amount) => amount,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "Kubernetes reckons so too"
            )]
            Least::Percent(percent) => (capacity as f64 * percent / 100.0) as i64,
        }
    }

    /// As flags have it: `10%`, or a quantity.
    pub(super) fn words(&self) -> String {
        match self.least {
            Least::Amount(amount) => super::plan::amount(amount),
            Least::Percent(percent) => format!("{percent}%"),
        }
    }

    /// Whether there is too little.
    pub(super) fn is_met(&self, level: Level) -> bool {
        level.available < self.least(level.capacity)
    }
}

/// All that apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds(pub(super) Vec<Threshold>);

impl Default for Thresholds {
    fn default() -> Self {
        DEFAULTS.parse().expect("the defaults are well-formed, as a test shows")
    }
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all: Vec<Threshold> = Vec::new();
        for one in text.split(',').filter(|one| !one.is_empty()) {
            let threshold = threshold(one)?;
            if all.iter().any(|other| other.signal == threshold.signal) {
                return Err(format!("{} is given twice", threshold.signal.name()));
            }
            all.push(threshold);
        }
        Ok(Self(all))
    }
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let (name, least) =
        text.split_once('<').ok_or_else(|| format!("{text:?}: want SIGNAL<QUANTITY or SIGNAL<PERCENT%"))?;
    let signal = Signal::named(name).ok_or_else(|| {
        let known = Signal::ALL.map(Signal::name).join(", ");
        format!("{name:?} is no signal that this kubelet measures; it measures {known}")
    })?;
    let least = match least.strip_suffix('%') {
        Some(percent) => {
            let percent = percent.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
            Least::Percent(percent.ok_or_else(|| format!("{text:?}: want 0% to 100%"))?)
        }
        None => {
            let amount = Quantity::parse(least).map_err(|error| format!("{text:?}: {error}"))?.units();
            Least::Amount(
                Some(amount).filter(|amount| *amount >= 0).ok_or_else(|| format!("{text:?}: less than nothing"))?,
            )
        }
    };
    Ok(Threshold { signal, least })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_defaults_apply() {
        let met = |available, capacity| {
            let met: Vec<_> = Thresholds::default().0;
            met.into_iter()
                .filter(|one| one.is_met(Level { available, capacity }))
                .map(|one| one.signal.name())
                .collect::<Vec<_>>()
        };
        let of_disks = ["nodefs.available", "imagefs.available"];
        assert_eq!(met(99 << 30, 1000 << 30), [of_disks[0], of_disks[1]], "9.9 %");
        assert_eq!(met(149 << 30, 1000 << 30), ["imagefs.available"], "14.9 %");
        assert_eq!(met(150 << 30, 1000 << 30), [""; 0]);
    }

    #[test]
    fn what_is_no_threshold_is_refused_in_words() {
        let refused = |text: &str| text.parse::<Thresholds>().unwrap_err();
        assert!(refused("nodefs.available").contains("want SIGNAL<QUANTITY"));
        assert!(refused("swap.available<5%").starts_with("\"swap.available\" is no signal"));
        assert!(refused("nodefs.available<101%").contains("want 0% to 100%"));
        assert!(refused("memory.available<much").contains("is not a quantity"));
        assert_eq!(refused("pid.available<5,pid.available<6"), "pid.available is given twice");
        assert_eq!("".parse::<Thresholds>().unwrap().0, []);
    }
}
