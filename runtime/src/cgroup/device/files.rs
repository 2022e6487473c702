//! Version 1: `devices.allow` and `devices.deny`.
//!
//! The kernel keeps a default for all devices and a list of exceptions, and `devices.list` shows them. Only the difference to
//! what is there now is written, so an update never takes away for a moment what it leaves allowed.

use crate::error::{Error, Result};
use crate::spec::{Access, DeviceKind, DevicePattern, DeviceRule};
use std::collections::BTreeMap;

/// What the kernel keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Policy {
    allows_by_default: bool,
    /// Ways of access that are not as by default.
    exceptions: BTreeMap<DevicePattern, u8>,
}

/// The file and the line for each write that turns what `devices_list` shows into what `rules` say.
///
/// # Errors
/// A rule takes a part out of a wider exception, which version 1 cannot keep; by field path.
pub(in crate::cgroup) fn plan(rules: &[DeviceRule], devices_list: &str) -> Result<Vec<(&'static str, String)>> {
    let wanted = Policy::of(rules)?;
    Ok(steps(&Policy::parse(devices_list), &wanted))
}

/// What `rules` allow and how, if everything else is forbidden and version 1 could keep it.
pub(in crate::cgroup) fn allowed(rules: &[DeviceRule]) -> Option<Vec<(DevicePattern, String)>> {
    let policy = Policy::of(rules).ok().filter(|policy| !policy.allows_by_default)?;
    Some(policy.exceptions.into_iter().map(|(pattern, access)| (pattern, Access(access).letters())).collect())
}

impl Policy {
    const fn new(allows_by_default: bool) -> Self {
        Self { allows_by_default, exceptions: BTreeMap::new() }
    }

    fn of(rules: &[DeviceRule]) -> Result<Self> {
        let mut policy = Self::new(false);
        for rule in rules {
            match rule.pattern {
                None => policy = Self::new(rule.allow),
                Some(pattern) if rule.allow == policy.allows_by_default => policy.except_no_more(rule, pattern)?,
                Some(pattern) => *policy.exceptions.entry(pattern).or_default() |= rule.access.0,
            }
        }
        Ok(policy)
    }

    /// Back to the default for what `pattern` covers. An exception that covers more, or partly something else, would have to
    /// be split, and the kernel would silently keep it whole.
    fn except_no_more(&mut self, rule: &DeviceRule, pattern: DevicePattern) -> Result<()> {
        let cut = |(other, access): (&DevicePattern, &u8)| {
            !pattern.covers(other) && pattern.meets(other) && access & rule.access.0 != 0
        };
        if self.exceptions.iter().any(cut) {
            let field = format!("linux.resources.devices[{}]", rule.index);
            return Err(Error::refused(field, "cgroup version 1 cannot make an exception from a wider exception"));
        }
        for (_, access) in self.exceptions.iter_mut().filter(|(other, _)| pattern.covers(other)) {
            *access &= !rule.access.0;
        }
        self.exceptions.retain(|_, access| *access != 0);
        Ok(())
    }

    /// Reads `devices.list`. A group that allows by default shows `a *:* rwm` alone, and hides its exceptions.
    fn parse(devices_list: &str) -> Self {
        let mut policy = Self::new(false);
        for line in devices_list.lines() {
            let mut words = line.split([' ', ':']);
            let (kind, numbers) = (words.next(), [words.next(), words.next()]);
            let kind = match kind {
                Some("b") => DeviceKind::Block,
                Some("c") => DeviceKind::Character,
                _ => return Self::new(true),
            };
            let [major, minor] = numbers.map(|word| word.and_then(|word| word.parse().ok()));
            let access = words.next().and_then(Access::parse).unwrap_or_default();
            policy.exceptions.insert(DevicePattern { kind, major, minor }, access.0);
        }
        policy
    }
}

fn steps(now: &Policy, wanted: &Policy) -> Vec<(&'static str, String)> {
    let mut steps = Vec::new();
    let (by_default, otherwise) = match wanted.allows_by_default {
        true => ("devices.allow", "devices.deny"),
        false => ("devices.deny", "devices.allow"),
    };
    // The exceptions of a group that allows by default are not shown, so it is begun anew.
    let anew = now.allows_by_default || now.allows_by_default != wanted.allows_by_default;
    if anew {
        steps.push((by_default, "a".to_owned()));
    }
    let none = BTreeMap::new();
    let before = if anew { &none } else { &now.exceptions };
    let access = |all: &BTreeMap<DevicePattern, u8>, pattern| all.get(pattern).copied().unwrap_or(0);
    // What is new first: where an old exception is replaced by a wider one, nothing is missing in between.
    for (pattern, bits) in &wanted.exceptions {
        steps.extend(line(pattern, bits & !access(before, pattern)).map(|line| (otherwise, line)));
    }
    for (pattern, bits) in before {
        steps.extend(line(pattern, bits & !access(&wanted.exceptions, pattern)).map(|line| (by_default, line)));
    }
    steps
}

fn line(pattern: &DevicePattern, access: u8) -> Option<String> {
    let kind = if pattern.kind == DeviceKind::Block { 'b' } else { 'c' };
    let [major, minor] = [pattern.major, pattern.minor].map(|n| n.map_or_else(|| "*".to_owned(), |n| n.to_string()));
    (access != 0).then(|| format!("{kind} {major}:{minor} {}", Access(access).letters()))
}

#[cfg(test)]
mod tests {
    use super::super::{allows, complete, samples};
    use super::*;
    use proptest::prelude::*;

    /// The kernel's side: what a write changes, and what an access then gets (security/device_cgroup.c).
    fn apply(policy: &mut Policy, (file, line): &(&str, String)) {
        let allow = *file == "devices.allow";
        if line == "a" {
            *policy = Policy::new(allow);
            return;
        }
        let one = Policy::parse(line);
        for (pattern, access) in one.exceptions {
            let kept = policy.exceptions.entry(pattern).or_default();
            *kept = if allow == policy.allows_by_default { *kept & !access } else { *kept | access };
            policy.exceptions.retain(|_, access| *access != 0);
        }
    }

    fn kernel_allows(policy: &Policy, device: &DevicePattern, access: u8) -> bool {
        let mut fitting = policy.exceptions.iter().filter(|(pattern, _)| pattern.covers(device));
        match policy.allows_by_default {
            // One exception must allow it all.
            false => fitting.any(|(_, allowed)| access & !allowed == 0),
            true => fitting.all(|(_, denied)| access & denied == 0),
        }
    }

    #[test]
    fn a_fresh_group_is_closed_and_then_opened() {
        let deny = DeviceRule { index: 0, allow: false, pattern: None, access: Access::ALL };
        let steps = plan(&complete(&[deny]), "a *:* rwm\n").unwrap();
        assert_eq!(steps[0], ("devices.deny", "a".to_owned()));
        assert!(steps.contains(&("devices.allow", "c 1:3 rwm".to_owned())));
        assert!(steps.contains(&("devices.allow", "b *:* m".to_owned())));
    }

    #[test]
    fn a_hole_in_an_exception_is_refused() {
        let rule = |index, allow, minor| {
            let pattern = Some(DevicePattern { kind: DeviceKind::Character, major: Some(10), minor });
            DeviceRule { index, allow, pattern, access: Access(6) }
        };
        let said = plan(&[rule(0, true, None), rule(1, false, Some(200))], "").unwrap_err().to_string();
        assert!(said.starts_with("linux.resources.devices[1]: "), "{said}");
        assert_eq!(plan(&[rule(0, true, Some(200)), rule(1, false, None)], "").unwrap(), []);
    }

    proptest! {
        #[test]
        fn the_kernel_ends_up_with_what_the_rules_say(
            rules in proptest::collection::vec(samples::rule(), 0..7), before in proptest::collection::vec(samples::rule(), 0..4),
            kind in samples::kind(), major in 0..4_u32, minor in 0..4_u32,
        ) {
            let Ok(mut policy) = Policy::of(&before) else { return Ok(()) };
            let shown = match policy.allows_by_default {
                true => "a *:* rwm\n".to_owned(),
                false => policy.exceptions.iter().filter_map(|(pattern, access)| line(pattern, *access)).collect::<Vec<_>>().join("\n"),
            };
            let Ok(steps) = plan(&rules, &shown) else { return Ok(()) };
            steps.iter().for_each(|step| apply(&mut policy, step));
            let device = DevicePattern { kind, major: Some(major), minor: Some(minor) };
            for access in 1..8 {
                let (meant, got) = (allows(&rules, kind, major, minor, Access(access)), kernel_allows(&policy, &device, access));
                prop_assert!(meant || !got, "allowed too much");
                // Several exceptions that allow an access only together are not enough for the kernel.
                prop_assert!(meant == got || access.count_ones() > 1, "{:?} {:?} {}", rules, policy, access);
            }
        }
    }
}
