//! Values of version 1, in which config.json speaks, as version 2 has them.

/// CPU shares (2 to 262,144, by default 1,024) as a weight (1 to 10,000, by default 100), such that both ends and the
/// defaults meet: the power of ten of a quadratic in the shares' logarithm, as runc 1.3.2 and crun 1.23 have it. Their older
/// straight line made 39 of the default and left a container with the default shares behind its neighbours.
pub(in crate::cgroup) fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            // At most 2^18, far within what a float holds exactly.
            #[allow(clippy::cast_precision_loss)]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // Where the exact result is whole, rounding errors must not carry it to the next number.
            let weight = (10_f64.powf(exponent) - 1e-9).ceil();
            // Between 1 and 10,000.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let weight = weight as u64;
            weight
        }
    }
}

/// A block device weight (10 to 1,000) as `io.weight` has it (1 to 10,000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9_999 / 990
}

/// Swap alone, from memory plus swap: version 2 counts them apart. `Err` is the reason why it cannot be told.
pub(in crate::cgroup) fn swap_alone(with_swap: i64, memory: Option<i64>) -> Result<i64, &'static str> {
    match (with_swap, memory) {
        (-1, _) => Ok(-1),
        (total, Some(-1)) => Ok(total),
        (_, None) => Err("needs memory.limit"),
        (total, Some(memory)) if total < memory => Err("is less than memory.limit"),
        (total, Some(memory)) => Ok(total - memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_meet_at_both_ends_and_at_the_defaults() {
        // The ends and the default are in runc's own table; the others are the formula by hand.
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (3, 2),
            (102, 17),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_143, 10_000),
            (262_144, 10_000),
        ] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert_eq!([10, 100, 500, 1000].map(io_weight), [1, 910, 4950, 10_000]);
    }

    #[test]
    fn swap_is_counted_without_memory() {
        assert_eq!(swap_alone(300, Some(100)), Ok(200));
        assert_eq!(swap_alone(100, Some(100)), Ok(0));
        assert_eq!((swap_alone(-1, None), swap_alone(7, Some(-1))), (Ok(-1), Ok(7)));
        assert!(swap_alone(50, Some(100)).is_err() && swap_alone(50, None).is_err());
    }

    proptest! {
        #[test]
        fn more_shares_are_never_less_weight(a in 0..400_000_u64, b in 0..400_000_u64) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(cpu_weight(low) <= cpu_weight(high));
            prop_assert!((1..=10_000).contains(&cpu_weight(a)));
        }
    }
}
