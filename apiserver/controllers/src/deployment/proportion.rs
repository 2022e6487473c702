//! How a scale is spread over the replica sets of a deployment, where a rollout is under way or paused. No I/O.
//!
//! A rollout that has come half of its way when somebody scales must stay half of its way: each set grows or shrinks with its
//! share of the whole, so that a new version that does not come up gets no more than its share. What the whole was is written
//! on the sets, in two annotations.

use super::plan::{Scaling, available, limits, wanted};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use kube::ResourceExt;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For how many replicas of the deployment a set was last sized.
pub(crate) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same, with maxSurge.
pub(crate) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// The annotations of a set that is sized for `spec`.
pub(crate) fn annotations(spec: &DeploymentSpec) -> BTreeMap<String, String> {
    let target = spec.replicas.unwrap_or(1);
    let all = target.saturating_add(surge(spec, target));
    [(DESIRED_REPLICAS, target), (MAX_REPLICAS, all)].map(|(key, value)| (key.to_owned(), value.to_string())).into()
}

fn is_rolling(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

fn surge(spec: &DeploymentSpec, target: i32) -> i32 {
    if is_rolling(spec) { limits(spec, target).0 } else { 0 }
}

/// The sets of a deployment.
pub(crate) struct Sets<'a> {
    spec: &'a DeploymentSpec,
    target: i32,
    /// The pods that the deployment last said it had.
    reported: i32,
    new: Option<&'a ReplicaSet>,
    /// All of them, the new one among them.
    all: Vec<&'a ReplicaSet>,
    /// Those that are asked for pods.
    active: Vec<&'a ReplicaSet>,
}

impl<'a> Sets<'a> {
    /// `None` for a deployment without a spec.
    pub(crate) fn of(
        deployment: &'a Deployment,
        new: Option<&'a ReplicaSet>,
        all: &'a [Arc<ReplicaSet>],
    ) -> Option<Self> {
        let spec = deployment.spec.as_ref()?;
        let reported = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        let all: Vec<&ReplicaSet> = all.iter().map(AsRef::as_ref).collect();
        let active = all.iter().copied().filter(|set| wanted(set) > 0).collect();
        Some(Self { spec, target: spec.replicas.unwrap_or(1), reported, new, all, active })
    }

    /// Whether the deployment was scaled since its active sets were sized.
    pub(crate) fn are_of_another_size(&self) -> bool {
        let desired = |set: &&ReplicaSet| number(set, DESIRED_REPLICAS);
        self.active.iter().filter_map(desired).any(|desired| desired != self.target)
    }

    /// How large each set has to be now; those that are sized already are left out.
    pub(crate) fn sizes(&self) -> Vec<Scaling> {
        if let [] | [_] = self.active[..] {
            let only = self.active.first().copied().or(self.new).or_else(|| self.youngest());
            return only.and_then(|only| self.resized(only, self.target)).into_iter().collect();
        }
        if self.new.is_some_and(|new| self.is_saturated(new)) {
            let olds = self.active.iter().filter(|set| self.new.is_none_or(|new| new.name_any() != set.name_any()));
            return olds.filter_map(|old| self.resized(old, 0)).collect();
        }
        if is_rolling(self.spec) { self.shares() } else { Vec::new() }
    }

    fn youngest(&self) -> Option<&'a ReplicaSet> {
        self.all.iter().copied().max_by_key(|set| set.metadata.creation_timestamp.clone())
    }

    fn is_saturated(&self, new: &ReplicaSet) -> bool {
        let sized = number(new, DESIRED_REPLICAS) == Some(self.target);
        sized && wanted(new) == self.target && available(new) == self.target
    }

    fn shares(&self) -> Vec<Scaling> {
        let allowed = if self.target > 0 { self.target.saturating_add(surge(self.spec, self.target)) } else { 0 };
        let add = allowed - self.active.iter().map(|set| wanted(set)).sum::<i32>();
        let mut sets = self.active.clone();
        // The largest first; of the same size, the newer ones grow first and the older ones shrink first.
        let born = |set: &ReplicaSet| (set.metadata.creation_timestamp.clone(), set.name_any());
        match add {
            1.. => sets.sort_by_key(|set| (Reverse(wanted(set)), Reverse(born(set)))),
            _ => sets.sort_by_key(|set| (Reverse(wanted(set)), born(set))),
        }
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::new();
        for set in &sets {
            let share = if add == 0 { 0 } else { self.share(set, allowed, add - added) };
            added += share;
            sizes.push(wanted(set) + share);
        }
        // What rounding leaves goes to the largest; what it has not, to the next.
        let mut left = add - added;
        for size in &mut sizes {
            let part = left.max(-*size);
            *size += part;
            left -= part;
        }
        sets.iter().zip(sizes).filter_map(|(set, size)| self.resized(set, size)).collect()
    }

    /// By how much `set` grows or shrinks with its share, when `left` are left to give or take.
    fn share(&self, set: &ReplicaSet, allowed: i32, left: i32) -> i32 {
        let size = wanted(set);
        if left == 0 {
            return 0;
        }
        let share = if self.target == 0 {
            -size
        } else {
            let before = number(set, MAX_REPLICAS).filter(|before| *before != 0).unwrap_or(self.reported);
            match before {
                0 => 0,
                before => rounded(i64::from(size) * i64::from(allowed), i64::from(before)) - size,
            }
        };
        // Whatever the annotations say, no set goes against the scale.
        if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0) }
    }

    /// `None`: it is of this size and says so.
    fn resized(&self, set: &ReplicaSet, to: i32) -> Option<Scaling> {
        let says = |(key, value): (String, String)| set.annotations().get(&key) == Some(&value);
        let same = wanted(set) == to && annotations(self.spec).into_iter().all(says);
        (!same).then(|| Scaling { name: set.name_any(), from: wanted(set), to })
    }
}

fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.annotations().get(annotation).and_then(|text| text.parse().ok())
}

/// `of / by`, rounded half away from zero.
fn rounded(of: i64, by: i64) -> i32 {
    let (whole, rest) = (of / by, (of % by).abs());
    let up = if 2 * rest >= by.abs() { (of.signum() * by.signum()).signum() } else { 0 };
    i32::try_from(whole + up).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{set, spec};
    use super::*;
    use proptest::prelude::*;

    fn sized(mut set: ReplicaSet, spec: &DeploymentSpec) -> Arc<ReplicaSet> {
        set.annotations_mut().extend(annotations(spec));
        Arc::new(set)
    }

    fn deployment(spec: DeploymentSpec) -> Deployment {
        Deployment { spec: Some(spec), ..Deployment::default() }
    }

    fn sizes(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<(String, i32)> {
        let sets = Sets::of(deployment, sets.last().map(AsRef::as_ref), sets).unwrap();
        let mut sizes: Vec<_> = sets.sizes().into_iter().map(|step| (step.name, step.to)).collect();
        sizes.sort();
        sizes
    }

    /// Kubernetes' own example: 8 old and 5 new pods of 10 with a surge of 3, scaled to 30.
    #[test]
    fn each_set_grows_with_its_share() {
        let before = spec(10, "3", "2");
        let mut after = before.clone();
        for limit in [&mut after, &mut before.clone()] {
            let rolling = limit.strategy.as_mut().unwrap().rolling_update.as_mut().unwrap();
            rolling.max_surge = Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(3));
        }
        let sets = [sized(set("old", 1, 8, 8), &after), sized(set("new", 2, 5, 0), &after)];
        after.replicas = Some(30);
        let after = deployment(after);
        assert!(Sets::of(&after, None, &sets).unwrap().are_of_another_size());
        assert_eq!(sizes(&after, &sets), [("new".to_owned(), 13), ("old".to_owned(), 20)]);
    }

    #[test]
    fn one_set_takes_it_all_and_a_finished_rollout_leaves_nothing() {
        let two = spec(2, "1%", "1%");
        let only = [sized(set("only", 1, 5, 5), &spec(5, "1%", "1%"))];
        assert_eq!(sizes(&deployment(two.clone()), &only), [("only".to_owned(), 2)]);
        let sets = [sized(set("old", 1, 3, 3), &two), sized(set("new", 2, 2, 2), &two)];
        assert_eq!(sizes(&deployment(two), &sets), [("old".to_owned(), 0)]);
        let fresh = [sized(set("fresh", 1, 0, 0), &spec(5, "1%", "1%"))];
        assert_eq!(sizes(&deployment(spec(4, "1%", "1%")), &fresh), [("fresh".to_owned(), 4)]);
    }

    proptest! {
        /// However it is scaled, the sets together have as many replicas as the deployment may have with its surge, none has
        /// fewer than none, and a second look changes nothing.
        #[test]
        fn shares_add_up(
            before in 1_i32..200, after in 0_i32..200, surge in 0_i32..60,
            parts in proptest::collection::vec(1_i32..60, 2..6),
        ) {
            let (old, new) = (spec(before, &format!("{surge}%"), "25%"), spec(after, &format!("{surge}%"), "25%"));
            let mut sets: Vec<_> = parts.iter().enumerate()
                .map(|(n, size)| sized(set(&format!("s{n}"), i32::try_from(n).unwrap(), *size, 0), &old)).collect();
            let allowed = if after == 0 { 0 } else { after + limits(&new, after).0 };
            let deployment = deployment(new.clone());
            for (name, size) in sizes(&deployment, &sets) {
                prop_assert!(size >= 0);
                let changed = sets.iter_mut().find(|set| set.name_any() == name).unwrap();
                Arc::make_mut(changed).spec.as_mut().unwrap().replicas = Some(size);
                Arc::make_mut(changed).annotations_mut().extend(annotations(&new));
            }
            let total: i32 = sets.iter().map(|set| wanted(set)).sum();
            prop_assert_eq!(total, allowed);
            prop_assert!(!Sets::of(&deployment, None, &sets).unwrap().are_of_another_size());
            let active = sets.iter().filter(|set| wanted(set) > 0).count();
            prop_assert!(active < 2 || sizes(&deployment, &sets).is_empty());
        }
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        assert_eq!([(5, 2), (4, 3), (5, 3), (0, 7)].map(|(of, by)| rounded(of, by)), [3, 1, 2, 0]);
    }
}
