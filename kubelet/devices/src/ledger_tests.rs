//! The ledger by itself.

use super::*;
use proptest::prelude::*;

const GPU: &str = "example.com/gpu";

fn devices(list: &[(&str, bool)]) -> BTreeMap<String, Device> {
    list.iter().map(|(id, healthy)| ((*id).to_owned(), Device { healthy: *healthy, nodes: Vec::new() })).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn holder(pod: &str, container: &str) -> Holder {
    (pod.to_owned(), container.to_owned())
}

fn ledger(list: &[(&str, bool)]) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.connect(GPU);
    ledger.learn(GPU, devices(list));
    ledger
}

/// Chooses without a preference, and holds.
fn give(ledger: &mut Ledger, holder: &Holder, required: usize, reusable: &BTreeSet<String>) -> Result<(), String> {
    let ids = match ledger.choose(holder, (GPU, required), reusable, Instant::now())? {
        Choice::Nothing => return Ok(()),
        Choice::All(ids) => ids,
        Choice::Among { taken, available, missing } => complete(taken, &available, missing, &[]),
    };
    ledger.hold(holder.clone(), GPU, ids, words::ContainerAllocateResponse::default());
    Ok(())
}

#[test]
fn what_is_refused_is_said_in_the_words_of_kubernetes() {
    let now = Instant::now();
    let mut it = ledger(&[("a", true), ("b", true), ("c", false)]);
    let web = holder("u1", "web");
    assert_eq!(give(&mut it, &web, 1, &set(&[])), Ok(()));
    let refused = |it: &Ledger, holder: &Holder, count| it.choose(holder, (GPU, count), &set(&[]), now).unwrap_err();
    let other = holder("u2", "web");
    assert_eq!(
        refused(&it, &other, 2),
        "requested number of devices unavailable for example.com/gpu. Requested: 2, Available: 1"
    );
    assert_eq!(
        refused(&it, &web, 2),
        "pod \"u1\" container \"web\" changed request for resource \"example.com/gpu\" from 1 to 2"
    );
    it.learn(GPU, devices(&[("a", false), ("b", true)]));
    assert_eq!(
        refused(&it, &web, 1),
        "previously allocated devices are no longer healthy; cannot allocate unhealthy devices example.com/gpu"
    );
    it.stop(GPU, now);
    assert_eq!(
        refused(&it, &other, 1),
        "no healthy devices present; cannot allocate unhealthy devices example.com/gpu"
    );
    let later = now + STOPPED_MAX + Duration::from_secs(1);
    let forgotten = it.choose(&other, (GPU, 1), &set(&[]), later).unwrap_err();
    assert_eq!(forgotten, "cannot allocate unregistered device example.com/gpu");
    assert_eq!(it.choose(&other, (GPU, 0), &set(&[]), later), Ok(Choice::Nothing));
}

#[test]
fn figures_tell_of_health_and_of_a_plugin_that_is_gone() {
    let now = Instant::now();
    let figure = |it: &Ledger, now| it.figures(now).into_iter().map(|it| (it.capacity, it.allocatable)).next().unwrap();
    let mut it = ledger(&[("a", true), ("b", false)]);
    assert_eq!(figure(&it, now), (2, 1));
    it.stop(GPU, now);
    assert_eq!(figure(&it, now + STOPPED_MAX), (2, 0));
    assert_eq!(figure(&it, now + STOPPED_MAX + Duration::from_secs(1)), (0, 0));
    assert!(!it.connect(GPU));
    it.learn(GPU, devices(&[("a", true)]));
    assert_eq!(figure(&it, now + STOPPED_MAX * 2), (1, 1));
    let restored = Ledger::restored(it.resources(), Holdings::new(), now);
    assert_eq!((figure(&restored, now), restored.knows(GPU)), ((0, 0), true));
}

#[test]
fn what_init_containers_had_is_given_on_and_sidecars_keep_theirs() {
    let mut it = ledger(&[("a", true), ("b", true)]);
    let mut reusable = Reusable::default();
    for (name, after) in [("init", After::GivenOn), ("proxy", After::Kept), ("web", After::Kept)] {
        let one = holder("u", name);
        give(&mut it, &one, 1, &reusable.of(GPU)).unwrap();
        reusable.note(after, &it.of(&one));
    }
    let of = |name: &str| it.of(&holder("u", name)).remove(GPU).unwrap().devices.into_keys().collect::<Vec<_>>();
    assert_eq!((of("init"), of("proxy"), of("web")), (vec!["a".into()], vec!["a".into()], vec!["b".into()]));
}

#[test]
fn what_a_plugin_prefers_comes_first_if_it_is_there() {
    let preferred = ["nowhere".to_owned(), "c".to_owned()];
    assert_eq!(complete(set(&["x"]), &set(&["a", "b", "c"]), 2, &preferred), set(&["x", "c", "a"]));
    assert_eq!(complete(set(&[]), &set(&["a"]), 1, &[]), set(&["a"]));
}

#[test]
fn options_of_two_resources_are_put_together() {
    let mut it = ledger(&[("a", true)]);
    let answer = |value: &str| words::ContainerAllocateResponse {
        envs: [("DEVICES".to_owned(), value.to_owned())].into(),
        cdi_devices: vec![words::CdiDevice { name: "example.com/gpu=0".to_owned() }],
        ..Default::default()
    };
    it.hold(holder("u", "c"), GPU, set(&["a"]), answer("first"));
    it.hold(holder("u", "c"), "example.com/nic", set(&["n"]), answer("second"));
    let options = it.options(&holder("u", "c"));
    assert_eq!((options.envs["DEVICES"].as_str(), options.cdi.len()), ("first", 1));
    let health = it.healths(&holder("u", "c"));
    assert_eq!(
        health.iter().map(|one| (one.device.as_str(), one.healthy)).collect::<Vec<_>>(),
        [("a", true), ("n", true)]
    );
}

#[derive(Debug, Clone)]
enum Happens {
    /// A pod whose containers need so many, the first of them only preparing it.
    Pod(u8, Vec<usize>),
    Ends(u8),
    Learn(Vec<bool>),
    Stops,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0u8..6, proptest::collection::vec(0usize..4, 1..4)).prop_map(|(pod, needs)| Happens::Pod(pod, needs)),
        2 => (0u8..6).prop_map(Happens::Ends),
        2 => proptest::collection::vec(any::<bool>(), 0..8).prop_map(Happens::Learn),
        1 => Just(Happens::Stops),
    ]
}

/// All or nothing, as the manager does it.
fn admit(it: &mut Ledger, pod: &str, needs: &[usize]) -> Result<(), String> {
    let mut reusable = Reusable::default();
    for (index, needed) in needs.iter().enumerate() {
        let one = holder(pod, &format!("c{index}"));
        let given = give(it, &one, *needed, &reusable.of(GPU));
        if given.is_err() {
            it.retain(|other| other != pod);
            return given;
        }
        reusable.note(if index == 0 { After::GivenOn } else { After::Kept }, &it.of(&one));
    }
    Ok(())
}

proptest! {
    /// No two pods ever have a device in common, nor two containers of a pod that run at one time; who is admitted has as many
    /// as it asked for, all healthy then; who is not has none.
    #[test]
    fn a_device_has_one_holder(story in proptest::collection::vec(happens(), 1..40)) {
        let mut it = Ledger::default();
        let mut there: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for one in story {
            match one {
                Happens::Pod(pod, needs) if !there.contains_key(&pod.to_string()) => {
                    let pod = pod.to_string();
                    if admit(&mut it, &pod, &needs).is_ok() {
                        let healthy = it.healths_of_pod(&pod);
                        prop_assert!(healthy, "all are healthy when they are given");
                        there.insert(pod, needs);
                    }
                }
                Happens::Ends(pod) => {
                    it.retain(|other| other != pod.to_string());
                    there.remove(&pod.to_string());
                }
                Happens::Learn(list) => {
                    it.connect(GPU);
                    let list = list.iter().enumerate();
                    let list = list.map(|(id, healthy)| (id.to_string(), Device { healthy: *healthy, nodes: Vec::new() }));
                    it.learn(GPU, list.collect());
                }
                Happens::Stops => it.stop(GPU, Instant::now()),
                Happens::Pod(..) => {}
            }
            let mut users: BTreeMap<String, BTreeSet<(String, bool)>> = BTreeMap::new();
            for ((pod, container), held) in it.holdings() {
                let (count, needs) = (held.get(GPU).map_or(0, |held| held.devices.len()), &there[pod]);
                let index: usize = container[1..].parse().unwrap();
                prop_assert_eq!(count, needs[index]);
                for id in held.values().flat_map(|held| held.devices.keys()) {
                    let is_first_of_it = users.entry(id.clone()).or_default().insert((pod.clone(), index > 0));
                    prop_assert!(is_first_of_it, "two containers of {} have {}", pod, id);
                }
            }
            for pods in users.values() {
                let pods: BTreeSet<_> = pods.iter().map(|(pod, _)| pod).collect();
                prop_assert_eq!(pods.len(), 1);
            }
            prop_assert!(it.figures(Instant::now()).iter().all(|figure| figure.allocatable <= figure.capacity));
        }
    }
}

impl Ledger {
    fn healths_of_pod(&self, pod: &str) -> bool {
        let holders = self.held.keys().filter(|(other, _)| other == pod);
        holders.flat_map(|holder| self.healths(holder)).all(|health| health.healthy)
    }
}
