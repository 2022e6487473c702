//! Seats divided among levels: in proportion to what each is thought to need, within the bounds of each (KEP-1040, "Fair allocation").

/// A level that is to get seats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    /// What it is thought to need; not below `least`.
    pub(crate) target: f64,
    /// The fewest seats that it gets.
    pub(crate) least: f64,
    /// The most seats that it gets.
    pub(crate) most: f64,
}

/// A level that needs nothing is taken for one that needs so much, so that there is something to divide by.
pub(crate) const TARGET_MIN: f64 = 0.001;
/// Sums that differ by no more are equal.
const EQUAL: f64 = 1e-7;

/// What each level gets, and the fraction of its target that a level gets which no bound keeps from it. The parts add up to `seats`.
///
/// # Errors
/// The bounds contradict each other, or leave no such division.
pub(crate) fn allocate(seats: f64, shares: &[Share]) -> Result<(Vec<f64>, f64), String> {
    check(seats, shares)?;
    if seats == 0.0 {
        return Ok((vec![0.0; shares.len()], 0.0));
    }
    let fraction = fraction(seats, shares);
    Ok((shares.iter().map(|share| part(share, fraction)).collect(), fraction))
}

fn target(share: &Share) -> f64 {
    share.target.max(TARGET_MIN)
}

fn part(share: &Share, fraction: f64) -> f64 {
    (fraction * target(share)).clamp(share.least, share.most)
}

fn check(seats: f64, shares: &[Share]) -> Result<(), String> {
    for (at, share) in shares.iter().enumerate() {
        if share.least < 0.0 || share.most < share.least || share.target < share.least {
            let Share { target, least, most } = share;
            return Err(format!("level {at} cannot get {least} to {most} seats with a target of {target}"));
        }
    }
    let least: f64 = shares.iter().map(|share| share.least).sum();
    let most: f64 = shares.iter().map(|share| share.most).sum();
    if seats < 0.0 || least - seats > EQUAL || seats - most > EQUAL {
        return Err(format!("{seats} seats cannot be divided among levels that get {least} to {most}"));
    }
    Ok(())
}

/// The sum of all parts grows with the fraction, along a line between one bound and the next: the piece is found in which it reaches
/// `seats`, and the point on it.
fn fraction(seats: f64, shares: &[Share]) -> f64 {
    let bounds = |share: &Share| [share.least / target(share), share.most / target(share)];
    let mut corners: Vec<f64> = shares.iter().flat_map(bounds).collect();
    corners.sort_by(f64::total_cmp);
    let sum = |fraction: f64| shares.iter().map(|share| part(share, fraction)).sum::<f64>();
    let above = corners.partition_point(|corner| sum(*corner) < seats);
    let (Some(low), Some(high)) = (above.checked_sub(1).map(|at| corners[at]), corners.get(above).copied()) else {
        // All bounds reach it, or, by what was left to rounding, none.
        return corners.get(above).or(corners.last()).copied().unwrap_or_default();
    };
    let (from, to) = (sum(low), sum(high));
    if to - from <= 0.0 { high } else { low + (high - low) * (seats - from) / (to - from) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(target: f64, least: f64, most: f64) -> Share {
        Share { target, least, most }
    }

    #[test]
    fn targets_are_scaled_alike() {
        let shares = [share(10.0, 0.0, 100.0), share(30.0, 0.0, 100.0)];
        assert_eq!(allocate(20.0, &shares).expect("possible"), (vec![5.0, 15.0], 0.5));
        let (parts, fraction) = allocate(60.0, &[share(10.0, 10.0, 20.0), share(10.0, 0.0, 100.0)]).expect("possible");
        assert!((fraction - 4.0).abs() < 1e-9, "{fraction}");
        assert_eq!(parts, [20.0, 40.0]);
    }

    #[test]
    fn impossible_divisions_are_refused() {
        for (seats, shares) in [
            (1.0, vec![]),
            (5.0, vec![share(6.0, 6.0, 7.0)]),
            (8.0, vec![share(6.0, 6.0, 7.0)]),
            (6.0, vec![share(1.0, 6.0, 7.0)]),
            (6.0, vec![share(7.0, 7.0, 6.0)]),
            (-1.0, vec![share(1.0, 0.0, 6.0)]),
        ] {
            assert!(allocate(seats, &shares).is_err(), "{seats} {shares:?}");
        }
        assert_eq!(allocate(0.0, &[share(0.0, 0.0, 6.0)]), Ok((vec![0.0], 0.0)));
    }

    proptest! {
        /// The definition: parts add up, and each is the fraction of its target or the bound that keeps it from that.
        #[test]
        fn a_division_is_fair(
            levels in prop::collection::vec((0.0..5.0_f64, 0.0..2.0_f64, 0.0..3.0_f64), 1..9),
            place in 0.0..=1.0_f64,
        ) {
            let shares: Vec<Share> =
                levels.iter().map(|(least, more, most)| share(least + more, *least, least + most)).collect();
            let least: f64 = shares.iter().map(|share| share.least).sum();
            let most: f64 = shares.iter().map(|share| share.most).sum();
            let seats = least + (most - least) * place;
            let (parts, fraction) = allocate(seats, &shares).expect("between the bounds");
            prop_assert!((parts.iter().sum::<f64>() - seats).abs() < 1e-6, "{parts:?} {seats}");
            for (part, share) in parts.iter().zip(&shares) {
                let wanted = fraction * share.target.max(TARGET_MIN);
                prop_assert!((part - wanted.clamp(share.least, share.most)).abs() < 1e-9);
            }
        }
    }
}
