//! Borrowing, held against the figures that upstream publishes in its tests (`borrowing_test.go`, `exempt_borrowing_test.go`).

use super::*;
use crate::asked::{Asked, Query};
use crate::dealer::Dealer;
use crate::flow::Flow;
use crate::plan::User;
use crate::queueset::{Arrival, Details, Queuing, Ticket};
use crate::work::Work;
use serde_json::json;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

struct Told(Rc<RefCell<Vec<usize>>>, usize);

impl Waiter for Told {
    fn wake(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

fn level(name: &str, shares: u32, lendable: u32, borrowing: Option<u32>) -> Value {
    let queuing = json!({"type": "Queue", "queuing": {"queues": 10, "handSize": 2, "queueLengthLimit": 10}});
    let mut limited =
        json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": queuing});
    if let Some(borrowing) = borrowing {
        limited["borrowingLimitPercent"] = borrowing.into();
    }
    json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}})
}

fn schema(name: &str, level: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"priorityLevelConfiguration": {"name": level}}})
}

const PERIOD: Duration = Duration::from_secs(10);

fn levels_of(objects: &[Value], seats: u32) -> Levels<Told> {
    let mut levels = Levels::new(seats, RandomState::new());
    levels.digest(Duration::ZERO, objects, &[]);
    levels
}

/// So many seats could be used at a level from now on: one request takes those that are free, others wait for more.
fn want(levels: &Levels<Told>, name: &str, seats: u32, at: Duration) -> Vec<Ticket> {
    let mut set = levels.states[name].level.lock();
    let flow = Flow::new("test");
    let waits = || (Told(Rc::default(), 0), Details::default());
    let arrivals = (0..seats).map(|one| set.arrive(at, u64::from(one) * 7919, Work::ONE, &flow, waits));
    let tickets = arrivals.filter_map(|arrival| match arrival {
        Arrival::Executes(ticket) | Arrival::Waits(ticket) => Some(ticket),
        Arrival::Rejected(_) => None,
    });
    tickets.collect()
}

/// Upstream's three scenarios of an exempt level that takes more and more.
#[test]
fn the_exempt_level_takes_what_it_needs() {
    let deep = |name: &str, shares: u32, lendable: u32| {
        let mut object = level(name, shares, lendable, None);
        object["spec"]["limited"]["limitResponse"]["queuing"] =
            json!({"queues": 128, "handSize": 6, "queueLengthLimit": 50});
        object
    };
    let (high, mid, low) = (deep("workload-high", 40, 50), deep("workload-low", 100, 90), deep("catch-all", 5, 0));
    let seats = 145 * 6;
    let mut levels = levels_of(&[high, mid, low], seats);
    let nominal = |name: &str| levels.seats_of(name).expect("it is there").nominal;
    assert_eq!([nominal("workload-high"), nominal("workload-low"), nominal("catch-all")], [240, 600, 30]);
    let least = |levels: &Levels<Told>, name: &str| levels.seats_of(name).expect("it is there").least;
    let of = |levels: &Levels<Told>| {
        ["exempt", "workload-high", "workload-low", "catch-all"]
            .map(|name| levels.seats_of(name).expect("it is there").current)
    };
    // All want more than there is: the exempt level gets it, the others what they do not lend.
    let exempt = want(&levels, "exempt", seats + 100, Duration::ZERO);
    for name in ["workload-high", "workload-low", "catch-all"] {
        want(&levels, name, seats + 100, Duration::ZERO);
    }
    levels.adjust(PERIOD);
    let kept = ["workload-high", "workload-low", "catch-all"].map(|name| least(&levels, name));
    assert_eq!(kept, [120, 60, 30]);
    assert_eq!(of(&levels), [seats + 100, 120, 60, 30]);
    // The exempt level leaves the others half of what they would lend.
    let halves = [(240 + 120) / 2, (600 + 60) / 2, 30];
    let taken = seats - halves.iter().sum::<u32>();
    let mut set = levels.states["exempt"].level.lock();
    exempt.iter().skip(taken as usize).for_each(|ticket| set.leave(PERIOD, *ticket));
    drop(set);
    levels.adjust(PERIOD * 2);
    levels.adjust(PERIOD * 3);
    assert_eq!(of(&levels), [taken, halves[0], halves[1], halves[2]]);
}

/// One of the levels of upstream's test of borrowing under load.
struct Side {
    name: &'static str,
    clients: usize,
}

/// Clients that ask again as soon as they are answered, each answer taking a quarter of a second; what each side gets on average of the
/// last 15 of 25 seconds.
fn delivered(levels: &mut Levels<Told>, sides: &[Side]) -> Vec<f64> {
    let (took, end, from) = (0.25, Duration::from_secs(25), 10.0);
    let told: Rc<RefCell<Vec<usize>>> = Rc::default();
    let owners: Vec<usize> = (0..sides.len()).flat_map(|side| vec![side; sides[side].clients]).collect();
    let flow = Flow::new("test");
    let mut tickets: Vec<Option<Ticket>> = vec![None; owners.len()];
    let mut events = BinaryHeap::new();
    let mut served = vec![0.0; sides.len()];
    let mut next_adjustment = PERIOD;
    let arrive = |levels: &Levels<Told>, client: usize, now| {
        let waits = || (Told(Rc::clone(&told), client), Details::default());
        let level = &levels.states[sides[owners[client]].name].level;
        level.lock().arrive(now, owners[client] as u64, Work::ONE, &flow, waits)
    };
    (0..owners.len()).for_each(|client| events.push(Reverse((Duration::from_micros(client as u64), client, true))));
    while let Some(Reverse((now, client, begins))) = events.pop().filter(|Reverse((now, ..))| *now < end) {
        if now >= next_adjustment {
            levels.adjust(next_adjustment);
            next_adjustment += PERIOD;
        }
        if !begins {
            let begun = now.as_secs_f64() - took;
            served[owners[client]] += (now.as_secs_f64() - begun.max(from)).max(0.0) / 15.0;
            let level = &levels.states[sides[owners[client]].name].level;
            level.lock().leave(now, tickets[client].take().expect("it was served"));
        }
        match arrive(levels, client, now) {
            Arrival::Executes(ticket) => {
                tickets[client] = Some(ticket);
                told.borrow_mut().push(client);
            }
            Arrival::Waits(ticket) => tickets[client] = Some(ticket),
            Arrival::Rejected(_) => events.push(Reverse((now + Duration::from_millis(1), client, true))),
        }
        let begun: Vec<usize> = told.borrow_mut().drain(..).collect();
        begun.into_iter().for_each(|client| events.push(Reverse((now + Duration::from_millis(250), client, false))));
    }
    served
}

/// Two levels of twelve seats, 24 clients and 6: once what the second lends is the limit, once what the first may borrow. Upstream expects
/// about 16 and 6.
#[test]
fn levels_borrow_within_their_limits() {
    for (first, second) in [((50, 67), (33, 50)), ((50, 33), (67, 50))] {
        let objects = [level("one", 100, first.0, Some(first.1)), level("two", 100, second.0, Some(second.1))];
        let mut levels = levels_of(&objects, 24);
        // The level for everything else has a seat of its own.
        assert_eq!(levels.seats_of("one").map(|seats| seats.nominal), Some(12));
        let sides = [Side { name: "one", clients: 24 }, Side { name: "two", clients: 6 }];
        let served = delivered(&mut levels, &sides);
        assert!((15.5..=16.1).contains(&served[0]) && (5.5..=6.1).contains(&served[1]), "{first:?}: {served:?}");
    }
}

#[test]
fn shares_become_seats_as_in_kubernetes() {
    let objects = bootstrap::objects();
    let of = |kind| objects.iter().filter(|one| one.0 == kind).map(|one| one.1.clone()).collect::<Vec<_>>();
    let mut levels: Levels<Told> = Levels::new(Limits::default().seats(), RandomState::new());
    let (_, dangling) = levels.digest(Duration::ZERO, &of(crate::Kind::Level), &of(crate::Kind::Schema));
    assert!(dangling.iter().all(|one| !one.is_dangling) && dangling.len() == 11);
    let seats = |name: &str| levels.seats_of(name).map(|seats| (seats.nominal, seats.least)).expect("it is there");
    assert_eq!(seats("system"), (74, 50));
    assert_eq!(seats("node-high"), (98, 73));
    assert_eq!(seats("leader-election"), (25, 25));
    assert_eq!(seats("workload-high"), (98, 49));
    assert_eq!(seats("workload-low"), (245, 24));
    assert_eq!(seats("global-default"), (49, 24));
    assert_eq!(seats("catch-all"), (13, 13));
    assert_eq!(seats("exempt"), (0, 0));
    assert_eq!(levels.states["workload-low"].level.seats_max(), 37);
    assert_eq!(levels.states["global-default"].level.seats_max(), 8);
}

#[test]
fn requests_go_where_upstream_sends_them() {
    let objects = bootstrap::objects();
    let of = |kind| objects.iter().filter(|one| one.0 == kind).map(|one| one.1.clone()).collect::<Vec<_>>();
    let mut levels: Levels<Told> = Levels::new(600, RandomState::new());
    let (plan, _) = levels.digest(Duration::ZERO, &of(crate::Kind::Level), &of(crate::Kind::Schema));
    let pods = "/api/v1/namespaces/a/pods/p";
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
    for (user, group, method, path, schema, level) in [
        ("admin", "system:masters", "PUT", pods, "exempt", "exempt"),
        ("me", "system:authenticated", "GET", pods, "global-default", "global-default"),
        ("me", "system:authenticated", "GET", "/livez", "probes", "exempt"),
        ("system:anonymous", "system:unauthenticated", "GET", "/readyz/etcd", "probes", "exempt"),
        ("system:node:n", "system:nodes", "PUT", "/api/v1/nodes/n/status", "system-node-high", "node-high"),
        ("system:node:n", "system:nodes", "PUT", lease, "system-node-high", "node-high"),
        ("system:node:n", "system:nodes", "GET", pods, "system-nodes", "system"),
        ("system:kube-scheduler", "system:authenticated", "PUT", lease, "system-leader-election", "leader-election"),
        ("system:kube-scheduler", "system:authenticated", "DELETE", lease, "kube-scheduler", "workload-high"),
        ("system:kube-controller-manager", "", "GET", pods, "kube-controller-manager", "workload-high"),
        ("system:serviceaccount:kube-system:x", "", "GET", pods, "kube-system-service-accounts", "workload-high"),
        ("system:serviceaccount:a:x", "system:serviceaccounts", "GET", pods, "service-accounts", "workload-low"),
        ("nobody", "", "GET", pods, "catch-all", "catch-all"),
    ] {
        let groups = [group.to_owned()];
        let asked = Asked::of(method, path, &Query::default());
        let entry = plan.find(&User { name: user, groups: &groups }, &asked).expect("there is one for all");
        assert_eq!((&*entry.schema.name, &*entry.level.name), (schema, level), "{user} {method} {path}");
    }
}

#[test]
fn a_level_that_goes_serves_those_who_are_there() {
    let objects = [level("mine", 10, 0, None)];
    let mut levels = levels_of(&objects, 600);
    let (_, dangling) = levels.digest(Duration::ZERO, &objects, &[schema("a", "mine"), schema("b", "other")]);
    let said: Vec<_> = dangling.iter().map(|one| (one.schema.as_str(), one.is_dangling)).collect();
    assert_eq!(said, [("a", false), ("b", true)]);
    let condition = dangling[1].condition().map(Value::from);
    let stored = json!({"status": {"conditions": [{"type": condition[0], "status": condition[1], "reason": condition[2],
        "message": condition[3]}]}});
    assert!(dangling[1].is_said_by(&stored) && !dangling[0].is_said_by(&stored));
    let tickets = want(&levels, "mine", 1, Duration::ZERO);
    levels.digest(PERIOD, &[], &[]);
    assert!(!levels.has_left() && levels.seats_of("mine").is_some());
    levels.states["mine"].level.lock().leave(PERIOD, tickets[0]);
    assert!(levels.has_left());
    levels.digest(PERIOD, &[], &[]);
    assert_eq!(levels.seats_of("mine"), None);
    let queuing = Queuing { dealer: Dealer::new(2, 1).expect("possible"), queues: 2, length_max: 1 };
    assert_ne!(levels.states["catch-all"].spec.response, Response::Queue(queuing));
}
