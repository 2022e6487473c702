//! Clients in a closed loop: each asks, waits for the answer, and asks again.

use crate::Parameters;
use crate::http::{Ask, Client, Door};
use crate::server::Server;
use crate::table::Table;
use std::time::{Duration, Instant};

/// How long each answer took, and all of them together.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) took: Vec<Duration>,
    pub(crate) elapsed: Duration,
    /// Processor time that the server took, with its etcd.
    pub(crate) processor: Duration,
}

impl Sample {
    pub(crate) fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.elapsed += other.elapsed;
        self.processor += other.processor;
    }
}

/// What a client asks: its number, and how often it has asked.
pub(crate) type Asks = fn(usize, usize) -> Ask;

/// One row: what is asked, by how many connections, as whom.
pub(crate) struct Row<'a> {
    pub(crate) what: &'a str,
    pub(crate) connections: usize,
    pub(crate) asks: Asks,
    /// Of the two servers.
    pub(crate) doors: &'a [Door; 2],
}

struct Asking {
    client: Client,
    number: usize,
    asked: usize,
}

async fn drive(clients: Vec<Asking>, time: Duration, asks: Asks) -> (Vec<Asking>, Sample) {
    let begun = Instant::now();
    let tasks = clients.into_iter().map(|mut asking| {
        tokio::spawn(async move {
            let mut took = Vec::new();
            while begun.elapsed() < time {
                let ask = asks(asking.number, asking.asked);
                asking.asked += 1;
                let at = Instant::now();
                asking.client.must(&ask).await;
                took.push(at.elapsed());
            }
            (asking, took)
        })
    });
    let (mut clients, mut sample) = (Vec::new(), Sample::default());
    for task in tasks.collect::<Vec<_>>() {
        let (client, took) = task.await.unwrap();
        clients.push(client);
        sample.took.extend(took);
    }
    sample.elapsed = begun.elapsed();
    (clients, sample)
}

async fn clients(door: &Door, count: usize) -> Vec<Asking> {
    let mut group = Vec::new();
    for number in 0..count {
        group.push(Asking { client: door.must().await, number, asked: 0 });
    }
    group
}

/// How long the answers of one client take.
pub(crate) async fn alone(door: &Door, time: Duration, asks: Asks) -> Sample {
    let (group, _) = drive(clients(door, 1).await, time / 5, asks).await;
    drive(group, time, asks).await.1
}

/// Asks without end, and whoever is told to come again later does so at once.
pub(crate) async fn flood(door: &Door, connections: usize, asks: Asks) {
    let tasks = clients(door, connections).await.into_iter().map(|mut asking| {
        tokio::spawn(async move {
            loop {
                let (_refused_or_not, _) = asking.client.ask(&asks(asking.number, asking.asked)).await;
                asking.asked += 1;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        let _never_ends = task.await;
    }
}

/// Measures one row by turns.
pub(crate) async fn row(parameters: &Parameters, servers: &[Server; 2], table: &mut Table, row: &Row<'_>) {
    let what = format!("{}, {}", row.what, connections(row.connections));
    if !parameters.wants(&what) {
        return;
    }
    for door in row.doors {
        let (code, answer) = door.must().await.ask(&(row.asks)(0, 0)).await;
        if !code.is_success() {
            return table.refused(&what, code, &String::from_utf8_lossy(&answer));
        }
    }
    let mut groups = Vec::new();
    for door in row.doors {
        let group = clients(door, row.connections).await;
        // The first requests of a connection are slow; they are not what is measured.
        groups.push((drive(group, parameters.turn / 5, row.asks).await.0, Sample::default()));
    }
    for turn in 0..parameters.turns {
        for place in 0..2 {
            let at = (turn + place) % 2;
            let (group, sum) = &mut groups[at];
            let before = servers[at].processor();
            let (again, mut sample) = drive(std::mem::take(group), parameters.turn, row.asks).await;
            sample.processor = servers[at].processor() - before;
            *group = again;
            sum.add(sample);
        }
    }
    let [ours, theirs] = <[_; 2]>::try_from(groups).ok().unwrap().map(|(_, sample)| sample);
    table.rate(what, ours, theirs);
}

fn connections(count: usize) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") }
}
