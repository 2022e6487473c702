//! What it costs a request that goes straight in: no memory, and, with `SKIFF_BENCH=1 cargo test -p skiff-fairness --test cost --release
//! -- --nocapture`, how long it takes.

use serde_json::Value;
use skiff_fairness::{Arrival, Asked, Details, Kind, Levels, Plan, Query, User, Waiter, Work, objects};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::hash::RandomState;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Nobody;

impl Waiter for Nobody {
    fn wake(&mut self) {
        // Nobody waits here.
    }
}

fn plan() -> Plan<Nobody> {
    let all = objects();
    let of = |kind| all.iter().filter(|one| one.0 == kind).map(|one| one.1.clone()).collect::<Vec<Value>>();
    let mut levels: Levels<Nobody> = Levels::new(600, RandomState::new());
    levels.digest(Duration::ZERO, &of(Kind::Level), &of(Kind::Schema)).0
}

/// One request from its path to its end.
fn serve(plan: &Plan<Nobody>, user: &User<'_>, path: &str, now: Duration) {
    let asked = Asked::of("GET", path, &Query::of("resourceVersion=0"));
    let entry = plan.find(user, &asked).expect("there is one for all");
    let hash = plan.hash(entry, entry.distinguisher(user, &asked));
    let waits = || (Nobody, Details::default());
    let Arrival::Executes(ticket) = entry.level.lock().arrive(now, hash, Work::ONE, &entry.flow, waits) else {
        panic!("there are free seats");
    };
    entry.flow.note_wait(Duration::ZERO, true);
    entry.level.lock().leave(now + Duration::from_micros(1), ticket);
}

#[test]
fn a_free_seat_costs_no_memory_and_little_time() {
    let plan = plan();
    let groups = ["developers".to_owned(), "system:authenticated".to_owned()];
    let user = User { name: "somebody@example.com", groups: &groups };
    let path = "/api/v1/namespaces/default/configmaps/settings";
    // The first one makes its place.
    serve(&plan, &user, path, Duration::ZERO);
    let region = Region::new(ALLOCATOR);
    let rounds = 100_000;
    let begin = Instant::now();
    for round in 0..rounds {
        serve(&plan, &user, path, Duration::from_micros(2 * round));
    }
    let each = begin.elapsed() / u32::try_from(rounds).expect("few");
    let allocated = region.change().allocations;
    assert!(allocated < 100, "{allocated} allocations for {rounds} requests");
    if std::env::var_os("SKIFF_BENCH").is_some() {
        println!("a request that goes straight in, the last of eleven schemas: {} ns", each.as_nanos());
    }
}
