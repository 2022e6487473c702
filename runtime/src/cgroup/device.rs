//! Which device files a container may use.
//!
//! Rules are read in order, and for each way of access (read, write, make) the last one that fits counts; an access is
//! granted when all its ways are. Where rules are given, what none of them mentions is forbidden. Version 1 has files for
//! this ([`files`]), version 2 runs a program of ours at every access ([`program`]); what the two have in common is here.

mod files;
mod program;

pub(super) use files::{allowed, plan};
pub(super) use program::compile;

use crate::spec::{Access, DeviceKind, DevicePattern, DeviceRule};

/// Character devices that every container has (runtime-spec config-linux, Default Devices), and the terminals.
const DEFAULTS: &[(u32, Option<u32>)] =
    &[(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

/// `rules` and what every container may. Only the last rule about everything and those after it matter.
pub(super) fn complete(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let first = rules.iter().rposition(|rule| rule.pattern.is_none()).unwrap_or(0);
    // What the standard devices run into is the last rule's doing.
    let index = rules.last().map_or(0, |rule| rule.index);
    let allow = |kind, major, minor, access| {
        let pattern = Some(DevicePattern { kind, major, minor });
        DeviceRule { index, allow: true, pattern, access }
    };
    let character = DeviceKind::Character;
    // Making device files is harmless: opening them is what the other rules guard.
    let making = [DeviceKind::Block, character].map(|kind| allow(kind, None, None, Access::MAKE));
    let defaults = DEFAULTS.iter().map(|(major, minor)| allow(character, Some(*major), *minor, Access::ALL));
    rules[first..].iter().copied().chain(making).chain(defaults).collect()
}

/// What `rules` say of one access, as the module's text defines it: what both translations are tested against.
#[cfg(test)]
pub(super) fn allows(rules: &[DeviceRule], kind: DeviceKind, major: u32, minor: u32, access: Access) -> bool {
    let device = DevicePattern { kind, major: Some(major), minor: Some(minor) };
    let mut granted = 0;
    for rule in rules.iter().filter(|rule| rule.pattern.is_none_or(|pattern| pattern.covers(&device))) {
        granted = if rule.allow { granted | rule.access.0 } else { granted & !rule.access.0 };
    }
    access.0 & !granted == 0
}

#[cfg(test)]
pub(super) mod samples {
    //! Rules for properties: few numbers, so that they meet.

    use super::{Access, DeviceKind, DevicePattern, DeviceRule};
    use proptest::prelude::*;

    pub(crate) fn kind() -> impl Strategy<Value = DeviceKind> {
        prop_oneof![Just(DeviceKind::Block), Just(DeviceKind::Character)]
    }

    fn number() -> impl Strategy<Value = Option<u32>> {
        prop_oneof![Just(None), (0..3_u32).prop_map(Some), Just(Some(u32::MAX))]
    }

    pub(crate) fn rule() -> impl Strategy<Value = DeviceRule> {
        let pattern = (kind(), number(), number());
        let pattern = pattern.prop_map(|(kind, major, minor)| DevicePattern { kind, major, minor });
        (any::<bool>(), prop_oneof![4 => pattern.prop_map(Some), 1 => Just(None)], 1..8_u8).prop_map(
            |(allow, pattern, access)| {
                let access = if pattern.is_none() { Access::ALL } else { Access(access) };
                DeviceRule { index: 0, allow, pattern, access }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_devices_are_always_there() {
        let nothing = [DeviceRule { index: 0, allow: false, pattern: None, access: Access::ALL }];
        let rules = complete(&nothing);
        let character = DeviceKind::Character;
        assert!(allows(&rules, character, 1, 3, Access::ALL));
        assert!(allows(&rules, character, 136, 12, Access(6)));
        assert!(allows(&rules, DeviceKind::Block, 8, 0, Access::MAKE));
        assert!(!allows(&rules, DeviceKind::Block, 8, 0, Access(2)));
        assert!(!allows(&rules, character, 1, 1, Access(2)), "/dev/mem");
    }

    proptest! {
        #[test]
        fn what_an_earlier_rule_said_is_gone_after_one_about_everything(
            rules in proptest::collection::vec(samples::rule(), 0..6), kind in samples::kind(), major in 0..4_u32, minor in 0..4_u32,
        ) {
            let whole: Vec<_> = rules.iter().copied().chain(complete(&[])).collect();
            for access in 1..8 {
                prop_assert_eq!(
                    allows(&whole, kind, major, minor, Access(access)),
                    allows(&complete(&rules), kind, major, minor, Access(access))
                );
            }
        }
    }
}
