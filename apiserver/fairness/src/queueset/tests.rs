//! Simulations with a clock of their own: whatever comes and goes, seats are neither overspent nor left empty, and flows share them.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Who is told.
struct Told(Rc<RefCell<Vec<u64>>>, u64);

impl Waiter for Told {
    fn wake(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

fn queuing(queues: usize, hand: usize, length_max: usize) -> Response {
    Response::Queue(Queuing { dealer: Dealer::new(queues, hand).expect("possible"), queues, length_max })
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A request of a simulation.
#[derive(Debug, Clone, Copy)]
struct Job {
    flow: u64,
    work: Work,
    takes: Duration,
    arrives: Duration,
    /// Gives up after so long.
    patience: Duration,
}

/// What became of the jobs of a simulation.
struct World {
    set: QueueSet<Told>,
    flow: Arc<Flow>,
    jobs: Vec<Job>,
    tickets: BTreeMap<u64, Ticket>,
    events: BinaryHeap<Reverse<(Duration, u64, bool)>>,
    told: Rc<RefCell<Vec<u64>>>,
    served: BTreeMap<u64, Duration>,
    executing: BTreeMap<u64, Duration>,
    refused: usize,
}

impl World {
    fn new(response: Response, limit: u32, jobs: Vec<Job>) -> Self {
        Self {
            set: QueueSet::new(Duration::ZERO, response, limit),
            flow: Flow::new("test"),
            jobs,
            tickets: BTreeMap::new(),
            events: BinaryHeap::new(),
            told: Rc::default(),
            served: BTreeMap::new(),
            executing: BTreeMap::new(),
            refused: 0,
        }
    }

    /// Plays all jobs, and looks at the promises after each step.
    fn run(mut self) -> Self {
        let mut arrivals: Vec<u64> = (0..self.jobs.len() as u64).collect();
        arrivals.sort_by_key(|id| Reverse(self.jobs[*id as usize].arrives));
        loop {
            let arrival = arrivals.last().map(|id| self.jobs[*id as usize].arrives);
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let alarm = self.set.alarm();
            let Some(now) = [arrival, event, alarm].into_iter().flatten().min() else { break };
            if arrival == Some(now) {
                let id = arrivals.pop().expect("there is one");
                self.arrive(now, id);
            } else if event == Some(now) {
                let Some(Reverse((_, id, gives_up))) = self.events.pop() else { break };
                self.end(now, id, gives_up);
            } else {
                self.set.pass(now);
            }
            self.begin_told(now);
            self.check();
        }
        assert!(self.set.is_idle(), "{:?}", self.set.totals());
        self
    }

    fn arrive(&mut self, now: Duration, id: u64) {
        let job = self.jobs[id as usize];
        let told = Rc::clone(&self.told);
        let flow = Arc::clone(&self.flow);
        let hash = job.flow.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let waits = || (Told(told, id), Details::default());
        match self.set.arrive(now, hash, job.work, &flow, waits) {
            Arrival::Executes(ticket) => {
                self.tickets.insert(id, ticket);
                self.begin(now, id);
            }
            Arrival::Waits(ticket) => {
                self.tickets.insert(id, ticket);
                self.events.push(Reverse((now + job.patience, id, true)));
            }
            Arrival::Rejected(_) => self.refused += 1,
        }
    }

    fn begin(&mut self, now: Duration, id: u64) {
        self.executing.insert(id, now);
        self.events.push(Reverse((now + self.jobs[id as usize].takes, id, false)));
    }

    fn begin_told(&mut self, now: Duration) {
        let told: Vec<u64> = self.told.borrow_mut().drain(..).collect();
        told.into_iter().for_each(|id| self.begin(now, id));
    }

    fn end(&mut self, now: Duration, id: u64, gives_up: bool) {
        // Seats may have come free for it at this very time.
        self.set.pass(now);
        self.begin_told(now);
        if gives_up && (self.executing.contains_key(&id) || self.served.contains_key(&id)) {
            return;
        }
        self.set.leave(now, self.tickets[&id]);
        if gives_up {
            self.refused += 1;
        } else {
            self.executing.remove(&id);
            self.served.insert(id, now);
        }
    }

    fn check(&self) {
        let totals = self.set.totals();
        assert_eq!(totals.executing, self.executing.len());
        let widest = |job: &Job| job.work.seats() > self.set.limit();
        let alone = totals.executing <= 1 && self.jobs.iter().any(widest);
        assert!(totals.seats_in_use <= self.set.limit() || alone, "overspent: {totals:?}");
        // Nobody waits whom free seats would do.
        let widest = self.jobs.iter().map(|job| job.work.seats()).max().unwrap_or(1);
        let could_serve = totals.seats_in_use + widest <= self.set.limit();
        assert!(totals.waiting == 0 || !could_serve, "idle: {totals:?}");
        let active = self.set.queues.iter().filter(|queue| queue.is_active()).count();
        assert_eq!(active, self.set.active);
        let waiting: usize = self.set.queues.iter().map(|queue| queue.waiting.len()).sum();
        assert_eq!(waiting, totals.waiting);
    }
}

fn job() -> impl Strategy<Value = Job> {
    let work = (1_u32..4, 0_u32..6, 0_u64..20).prop_map(|(initial_seats, final_seats, latency)| Work {
        initial_seats,
        final_seats,
        latency: if final_seats == 0 { Duration::ZERO } else { ms(latency) },
    });
    (0_u64..6, work, 0_u64..30, 0_u64..300, 0_u64..200).prop_map(|(flow, work, takes, arrives, patience)| Job {
        flow,
        work,
        takes: ms(takes),
        arrives: ms(arrives),
        patience: ms(patience),
    })
}

proptest! {
    #[test]
    fn seats_are_neither_overspent_nor_idle(
        jobs in prop::collection::vec(job(), 1..150),
        (queues, hand) in (1_usize..12, 1_usize..4),
        length_max in 1_usize..20,
        limit in 1_u32..9,
        rejects in prop::bool::weighted(0.2),
    ) {
        let count = jobs.len();
        let response = if rejects { Response::Reject } else { queuing(queues, hand.min(queues), length_max) };
        let world = World::new(response, limit, jobs).run();
        let (dispatched, rejected) = world.flow.outcomes();
        prop_assert_eq!(world.served.len() as u64, dispatched);
        prop_assert_eq!(world.refused as u64, rejected.iter().sum::<u64>());
        prop_assert_eq!(world.served.len() + world.refused, count);
    }
}

fn steady(flow: u64, clients: u64, takes: Duration, seats: u32) -> impl Iterator<Item = Job> {
    let job = Job { flow, work: Work::of(seats), takes, arrives: Duration::ZERO, patience: Duration::from_secs(1000) };
    (0..clients).map(move |at| Job { arrives: Duration::from_micros(at), ..job })
}

/// Seat-seconds that jobs of `flow` have got until `until`.
fn service(world: &World, flow: u64, until: Duration) -> f64 {
    let of_flow = |id: &u64| world.jobs[*id as usize].flow == flow;
    let ended = world.served.iter().filter(|(id, _)| of_flow(id));
    let parts = ended.map(|(id, end)| {
        let job = world.jobs[*id as usize];
        let begin = *end - job.takes;
        f64::from(job.work.seats()) * until.min(*end).saturating_sub(begin).as_secs_f64()
    });
    parts.sum()
}

/// Two flows in queues of their own get the same service while both wait, whatever the width and length of their requests: they
/// differ by what was under way, of each, at the beginning and at the end.
#[test]
fn flows_share_evenly() {
    for (seats, takes, other_takes) in [(1, 10, 10), (1, 10, 50), (3, 10, 10), (2, 40, 7), (5, 3, 3)] {
        let jobs = steady(1, 400, ms(takes), seats).chain(steady(2, 400, ms(other_takes), 1)).collect();
        let limit = 10;
        let world = World::new(queuing(64, 1, 1000), limit, jobs).run();
        let least = 400.0 * (f64::from(seats) * takes as f64 / 1000.0).min(other_takes as f64 / 1000.0);
        // Both still wait then: together they get ten seats.
        let until = Duration::from_secs_f64(least / f64::from(limit));
        let (one, other) = (service(&world, 1, until), service(&world, 2, until));
        let bound = 2.0 * f64::from(limit) * takes.max(other_takes) as f64 / 1000.0;
        assert!((one - other).abs() <= bound, "{seats} {takes} {other_takes}: {one} {other} ± {bound}");
    }
}

/// A thousand requests of one flow do not keep one request of another waiting for longer than those before it take that are under way.
#[test]
fn a_flood_does_not_drown_others() {
    let late = Job { flow: 2, work: Work::ONE, takes: ms(5), arrives: ms(100), patience: Duration::from_secs(100) };
    let jobs: Vec<Job> = steady(1, 1000, ms(20), 1).chain([late]).collect();
    let world = World::new(queuing(64, 6, 400), 4, jobs).run();
    let waited = world.served[&1000] - ms(105);
    assert!(waited <= ms(40), "{waited:?}");
}

/// Who did not ask for a while has saved nothing up.
#[test]
fn idleness_is_no_credit() {
    let flood =
        |flow, arrives| steady(flow, 300, ms(10), 1).map(move |job| Job { arrives: job.arrives + arrives, ..job });
    let jobs: Vec<Job> = flood(1, Duration::ZERO).chain(flood(2, ms(500))).collect();
    let world = World::new(queuing(64, 1, 1000), 4, jobs).run();
    let (from, until) = (ms(500), ms(900));
    let gained = service(&world, 1, until) - service(&world, 1, from);
    assert!((0.7..=0.95).contains(&gained), "half of four seats for 0.4 s: {gained}");
}

#[test]
fn a_request_that_is_too_wide_waits_for_the_whole_level() {
    let job = |flow, seats, takes, at| Job {
        flow,
        work: Work::of(seats),
        takes: ms(takes),
        arrives: ms(at),
        patience: Duration::from_secs(9),
    };
    let world = World::new(queuing(8, 1, 9), 4, vec![job(1, 2, 50, 0), job(2, 9, 10, 1), job(3, 1, 1, 2)]).run();
    assert_eq!(world.served.values().map(Duration::as_millis).collect::<Vec<_>>(), [50, 60, 3]);
}

/// Seats stay taken while watchers are told, and come free by themselves.
#[test]
fn seats_linger() {
    let mut set: QueueSet<Told> = QueueSet::new(Duration::ZERO, queuing(1, 1, 9), 2);
    let flow = Flow::new("test");
    let work = Work { initial_seats: 1, final_seats: 2, latency: ms(10) };
    let told: Rc<RefCell<Vec<u64>>> = Rc::default();
    let Arrival::Executes(ticket) = set.arrive(ms(1), 0, work, &flow, || unreachable!()) else { panic!("free seats") };
    set.leave(ms(2), ticket);
    assert_eq!((set.totals().executing, set.totals().seats_in_use, set.alarm()), (0, 2, None));
    let waits = || (Told(Rc::clone(&told), 7), Details::default());
    assert!(matches!(set.arrive(ms(3), 0, Work::ONE, &flow, waits), Arrival::Waits(_)));
    assert_eq!(set.alarm(), Some(ms(12)));
    set.pass(ms(12));
    assert_eq!((*told.borrow()).clone(), [7]);
    assert_eq!((set.totals().executing, set.totals().seats_in_use, set.alarm()), (1, 1, None));
}

/// A body that is read slowly keeps no seat for longer than was said.
#[test]
fn an_answer_ends_by_its_time() {
    let mut set: QueueSet<Told> = QueueSet::new(Duration::ZERO, queuing(1, 1, 9), 1);
    let flow = Flow::new("test");
    let Arrival::Executes(ticket) = set.arrive(ms(0), 0, Work::ONE, &flow, || unreachable!()) else { panic!("free") };
    set.end_by(ms(1000), ticket);
    set.pass(ms(999));
    assert_eq!(set.totals().seats_in_use, 1);
    set.pass(ms(1000));
    assert_eq!(set.totals().seats_in_use, 0);
    set.leave(ms(2000), ticket);
    assert_eq!(set.totals().executing, 0);
}

/// Who waits when queues are taken away is still served.
#[test]
fn fewer_queues_lose_nobody() {
    let flow = Flow::new("test");
    let told: Rc<RefCell<Vec<u64>>> = Rc::default();
    let mut set: QueueSet<Told> = QueueSet::new(Duration::ZERO, queuing(16, 2, 9), 1);
    let mut seated = Vec::new();
    for id in 0..8 {
        let waits = || (Told(Rc::clone(&told), id), Details::default());
        match set.arrive(ms(id), id.wrapping_mul(77_777), Work::ONE, &flow, waits) {
            Arrival::Executes(ticket) | Arrival::Waits(ticket) => seated.push(ticket),
            Arrival::Rejected(why) => panic!("{why:?}"),
        }
    }
    set.configure(ms(10), Response::Reject, 1);
    for (step, ticket) in seated.iter().enumerate().take(1) {
        set.leave(ms(20 + step as u64), *ticket);
    }
    assert_eq!((set.totals().waiting, set.totals().executing), (6, 1));
    set.configure(ms(30), Response::Reject, 100);
    assert_eq!((set.totals().waiting, set.totals().executing), (0, 7));
    for ticket in seated {
        set.leave(ms(40), ticket);
    }
    assert!(set.is_idle());
    assert_eq!(set.queues(), []);
    assert!(told.borrow().len() == 7);
}
