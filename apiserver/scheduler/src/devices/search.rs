//! Which devices several claims get at the same time: an exhaustive search that ends with the first answer. No I/O.
//!
//! One claim after the other, one request after the other, one device after the other is tried; what was taken is given back when the
//! rest cannot be had. Alternatives of a request are tried in their order, so the first that can be had is the one that its author
//! likes best.

use serde_json::Value;
use std::collections::BTreeMap;

/// Most devices of one claim (resource.k8s.io, `AllocationResultsMaxSize`).
pub(super) const DEVICES_MAX: usize = 32;
/// Devices that are tried before the search gives up: some seconds, as long as kube-scheduler searches.
const TRIES_MAX: usize = 2_000_000;

/// What the search knows of a device.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Somebody else has it.
    pub(super) taken: bool,
    /// Values of attributes by their full names.
    pub(super) attributes: BTreeMap<String, Value>,
    /// What it takes of counters that devices of its pool share: which one, and how much of it.
    pub(super) consumes: Vec<(usize, i128)>,
}

/// How many devices a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    Exactly(usize),
    /// Each that can be it, of which there has to be one.
    All,
}

/// A request, or one alternative of it.
#[derive(Debug, Clone)]
pub(super) struct Want {
    /// `request` or `request/alternative`.
    pub(super) name: String,
    pub(super) amount: Amount,
    /// For looking at devices that others use.
    pub(super) admin: bool,
    /// The devices that can be it, by their places.
    pub(super) candidates: Vec<usize>,
}

/// Devices of these requests, or of all, have the same value of an attribute.
#[derive(Debug, Clone)]
pub(super) struct Same {
    pub(super) attribute: String,
    pub(super) requests: Vec<String>,
}

/// What a claim asks for: for each request its alternatives.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) requests: Vec<Vec<Want>>,
    pub(super) constraints: Vec<Same>,
}

/// A device that a claim gets: the places of the request, of its alternative and of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) request: usize,
    pub(super) alternative: usize,
    pub(super) device: usize,
}

/// The search took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GaveUp;

/// For each claim its devices; `None`: they cannot be had all at once. `free` is what is left of each counter.
pub(super) fn search(claims: &[Wanted], devices: &[Facts], free: &[i128]) -> Result<Option<Vec<Vec<Pick>>>, GaveUp> {
    let used = devices.iter().map(|device| device.taken).collect();
    let mut search =
        Search { claims, devices, used, free: free.to_vec(), picks: vec![Vec::new(); claims.len()], tries: 0 };
    Ok(search.request(0, 0)?.then_some(search.picks))
}

struct Search<'a> {
    claims: &'a [Wanted],
    devices: &'a [Facts],
    /// Which devices somebody has.
    used: Vec<bool>,
    free: Vec<i128>,
    picks: Vec<Vec<Pick>>,
    tries: usize,
}

/// Where the search is.
#[derive(Clone, Copy)]
struct Place {
    claim: usize,
    request: usize,
    alternative: usize,
}

impl<'a> Search<'a> {
    fn request(&mut self, claim: usize, request: usize) -> Result<bool, GaveUp> {
        let Some(wanted) = self.claims.get(claim) else { return Ok(true) };
        let Some(alternatives) = wanted.requests.get(request) else { return self.request(claim + 1, 0) };
        for (alternative, want) in alternatives.iter().enumerate() {
            let place = Place { claim, request, alternative };
            let found = match want.amount {
                Amount::Exactly(count) => self.some(place, 0, count)?,
                Amount::All => self.all(place)?,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn want(&self, place: Place) -> &'a Want {
        &self.claims[place.claim].requests[place.request][place.alternative]
    }

    /// Finds `left` more devices among the candidates from the `from`th on, and all that comes after.
    fn some(&mut self, place: Place, from: usize, left: usize) -> Result<bool, GaveUp> {
        if left == 0 {
            return self.request(place.claim, place.request + 1);
        }
        let candidates = &self.want(place).candidates;
        for (at, device) in candidates.iter().enumerate().skip(from) {
            if candidates.len() - at < left {
                break;
            }
            if self.take(place, *device)? {
                if self.some(place, at + 1, left - 1)? {
                    return Ok(true);
                }
                self.give_back(place.claim);
            }
        }
        Ok(false)
    }

    fn all(&mut self, place: Place) -> Result<bool, GaveUp> {
        let candidates = &self.want(place).candidates;
        let before = self.picks[place.claim].len();
        let mut has_all = !candidates.is_empty();
        for device in candidates {
            has_all = has_all && self.take(place, *device)?;
        }
        if has_all && self.request(place.claim, place.request + 1)? {
            return Ok(true);
        }
        while self.picks[place.claim].len() > before {
            self.give_back(place.claim);
        }
        Ok(false)
    }

    fn take(&mut self, place: Place, device: usize) -> Result<bool, GaveUp> {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return Err(GaveUp);
        }
        let (want, facts) = (self.want(place), &self.devices[device]);
        let has_it = self.picks[place.claim].iter().any(|pick| pick.device == device && pick.request == place.request);
        let is_free = want.admin || !self.used[device];
        let fits = want.admin || facts.consumes.iter().all(|(counter, amount)| self.free[*counter] >= *amount);
        if has_it || !is_free || !fits || self.picks[place.claim].len() >= DEVICES_MAX || !self.agrees(place, facts) {
            return Ok(false);
        }
        if !want.admin {
            self.used[device] = true;
            for (counter, amount) in &facts.consumes {
                self.free[*counter] -= amount;
            }
        }
        self.picks[place.claim].push(Pick { request: place.request, alternative: place.alternative, device });
        Ok(true)
    }

    fn give_back(&mut self, claim: usize) {
        let Some(pick) = self.picks[claim].pop() else { return };
        let place = Place { claim, request: pick.request, alternative: pick.alternative };
        if !self.want(place).admin {
            self.used[pick.device] = false;
            for (counter, amount) in &self.devices[pick.device].consumes {
                self.free[*counter] += amount;
            }
        }
    }

    /// Whether a device has what the claim's other devices have.
    fn agrees(&self, place: Place, facts: &Facts) -> bool {
        let wanted = &self.claims[place.claim];
        let meant = |same: &Same, name: &str| {
            let request = name.split('/').next().unwrap_or(name);
            same.requests.is_empty() || same.requests.iter().any(|one| one == name || one == request)
        };
        wanted.constraints.iter().filter(|same| meant(same, &self.want(place).name)).all(|same| {
            let Some(value) = facts.attributes.get(&same.attribute) else { return false };
            let others = self.picks[place.claim].iter().filter(|pick| {
                let other = Place { claim: place.claim, request: pick.request, alternative: pick.alternative };
                meant(same, &self.want(other).name)
            });
            others.clone().all(|pick| self.devices[pick.device].attributes.get(&same.attribute) == Some(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Claim, what it wants and the devices for it.
    type Choice = (usize, Want, Vec<usize>);

    /// All ways to have devices for the requests from `at` on, tried without any thought.
    fn brute_force(wanted: &[(usize, Vec<Want>)], claims: &[Wanted], devices: &[Facts], free: &[i128]) -> bool {
        fn subsets(candidates: &[usize], count: usize) -> Vec<Vec<usize>> {
            if count == 0 {
                return vec![Vec::new()];
            }
            let Some((first, rest)) = candidates.split_first() else { return Vec::new() };
            let mut with: Vec<Vec<usize>> = subsets(rest, count - 1);
            with.iter_mut().for_each(|set| set.push(*first));
            with.extend(subsets(rest, count));
            with
        }
        fn go(wanted: &[(usize, Vec<Want>)], chosen: &mut Vec<Choice>, is_fine: &dyn Fn(&[Choice]) -> bool) -> bool {
            let Some(((claim, alternatives), rest)) = wanted.split_first() else { return is_fine(chosen) };
            alternatives.iter().any(|want| {
                let sets = match want.amount {
                    Amount::Exactly(count) => subsets(&want.candidates, count),
                    Amount::All if want.candidates.is_empty() => Vec::new(),
                    Amount::All => vec![want.candidates.clone()],
                };
                sets.into_iter().any(|set| {
                    chosen.push((*claim, want.clone(), set));
                    let found = go(rest, chosen, is_fine);
                    chosen.pop();
                    found
                })
            })
        }
        let is_fine = |chosen: &[(usize, Want, Vec<usize>)]| {
            let own = chosen.iter().filter(|(_, want, _)| !want.admin).flat_map(|(_, _, set)| set.clone());
            let own: Vec<usize> = own.collect();
            let once = own.iter().collect::<BTreeSet<_>>().len() == own.len();
            let nobodys = own.iter().all(|device| !devices[*device].taken);
            let mut left = free.to_vec();
            for (counter, amount) in own.iter().flat_map(|device| &devices[*device].consumes) {
                left[*counter] -= amount;
            }
            let same = chosen.iter().all(|(claim, want, set)| {
                claims[*claim].constraints.iter().all(|same| {
                    let meant = |want: &Want| same.requests.is_empty() || same.requests.contains(&want.name);
                    let of_claim = chosen.iter().filter(|(other, want, _)| other == claim && meant(want));
                    let all = of_claim.flat_map(|(_, _, set)| set);
                    let values: BTreeSet<String> =
                        all.map(|device| format!("{:?}", devices[*device].attributes.get(&same.attribute))).collect();
                    let has = set.iter().all(|device| devices[*device].attributes.contains_key(&same.attribute));
                    !meant(want) || has && values.len() <= 1
                })
            });
            once && nobodys && left.iter().all(|left| *left >= 0) && same
        };
        go(wanted, &mut Vec::new(), &is_fine)
    }

    fn device() -> impl Strategy<Value = Facts> {
        (prop::bool::weighted(0.2), prop::option::of(0u8..2), prop::option::of(1i128..3)).prop_map(
            |(taken, numa, takes)| Facts {
                taken,
                attributes: numa.map(|numa| ("d/numa".to_owned(), Value::from(numa))).into_iter().collect(),
                consumes: takes.map(|amount| (0, amount)).into_iter().collect(),
            },
        )
    }

    fn want(name: String) -> impl Strategy<Value = Want> {
        let amount = prop_oneof![3 => (1usize..3).prop_map(Amount::Exactly), 1 => Just(Amount::All)];
        (amount, prop::bool::weighted(0.15), proptest::collection::btree_set(0usize..5, 0..5)).prop_map(
            move |(amount, admin, candidates)| Want {
                name: name.clone(),
                amount,
                admin,
                candidates: candidates.into_iter().collect(),
            },
        )
    }

    fn claim() -> impl Strategy<Value = Wanted> {
        let request = |name: &str| proptest::collection::vec(want(name.to_owned()), 1..3);
        let requests = (request("a"), prop::option::of(request("b")));
        let constraint = prop::option::of(prop_oneof![Just(Vec::new()), Just(vec!["a".to_owned()])]);
        (requests, constraint).prop_map(|((a, b), constraint)| Wanted {
            requests: std::iter::once(a).chain(b).collect(),
            constraints: constraint
                .map(|requests| Same { attribute: "d/numa".to_owned(), requests })
                .into_iter()
                .collect(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_can_be_had_is_found_and_nothing_else(
            claims in proptest::collection::vec(claim(), 1..3),
            devices in proptest::collection::vec(device(), 5),
            free in 0i128..5,
        ) {
            let found = search(&claims, &devices, &[free]).unwrap();
            let flat: Vec<(usize, Vec<Want>)> = claims.iter().enumerate()
                .flat_map(|(claim, wanted)| wanted.requests.iter().map(move |request| (claim, request.clone())))
                .collect();
            prop_assert_eq!(found.is_some(), brute_force(&flat, &claims, &devices, &[free]));
            // An answer is one: as many devices as asked, of those that can be it, and each once.
            let picks = found.unwrap_or_default();
            let mut seen = BTreeSet::new();
            for (claim, picks) in picks.iter().enumerate() {
                for pick in picks {
                    let want = &claims[claim].requests[pick.request][pick.alternative];
                    prop_assert!(want.candidates.contains(&pick.device));
                    prop_assert!(want.admin || seen.insert(pick.device) && !devices[pick.device].taken);
                }
                for (request, alternatives) in claims[claim].requests.iter().enumerate() {
                    let mine: Vec<_> = picks.iter().filter(|pick| pick.request == request).collect();
                    let want = &alternatives[mine[0].alternative];
                    let count = match want.amount { Amount::Exactly(count) => count, Amount::All => want.candidates.len() };
                    prop_assert!(mine.len() == count && mine.iter().all(|pick| pick.alternative == mine[0].alternative));
                }
            }
        }
    }

    #[test]
    fn a_search_without_hope_ends() {
        let candidates: Vec<usize> = (0..40).collect();
        let want = Want { name: "a".to_owned(), amount: Amount::Exactly(20), admin: false, candidates };
        let same = Same { attribute: "d/none".to_owned(), requests: Vec::new() };
        let hopeless =
            Wanted { requests: vec![vec![want.clone()], vec![want.clone()], vec![want]], constraints: Vec::new() };
        assert_eq!(search(std::slice::from_ref(&hopeless), &vec![Facts::default(); 40], &[]), Err(GaveUp));
        let at_once = Wanted { constraints: vec![same], ..hopeless };
        assert_eq!(search(&[at_once], &vec![Facts::default(); 40], &[]), Ok(None));
    }
}
