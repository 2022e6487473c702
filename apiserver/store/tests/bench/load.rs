//! Clients in a closed loop: each asks, waits for the answer, and asks again.

use crate::Parameters;
use crate::server::Server;
use crate::table::{Row, Table};
use std::future::Future;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// One client.
pub(crate) trait Client: Send + 'static {
    /// Asks once and waits for the answer.
    fn once(&mut self) -> impl Future<Output = ()> + Send;
}

/// How long each answer took, and all of them together.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) took: Vec<Duration>,
    pub(crate) elapsed: Duration,
    /// Processor time that the server took.
    pub(crate) processor: Duration,
}

impl Sample {
    /// Adds another turn of the same.
    pub(crate) fn add(&mut self, other: Sample) {
        self.took.extend(other.took);
        self.elapsed += other.elapsed;
        self.processor += other.processor;
    }
}

/// Connections that so many clients share: as many resources as a busy API server watches.
fn connections(clients: usize) -> usize {
    clients.min(16)
}

/// Lets `clients` ask for `time`; returns them for another turn.
async fn drive<C: Client>(clients: Vec<C>, time: Duration) -> (Vec<C>, Sample) {
    let begun = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begun.elapsed() < time {
                    let asked = Instant::now();
                    client.once().await;
                    took.push(asked.elapsed());
                }
                (client, took)
            })
        })
        .collect();
    let (mut clients, mut sample) = (Vec::new(), Sample::default());
    for task in tasks {
        let (client, took) = task.await.unwrap();
        clients.push(client);
        sample.took.extend(took);
    }
    sample.elapsed = begun.elapsed();
    (clients, sample)
}

/// Measures one row: by turns, the clients that `make` makes for each server.
pub(crate) async fn row<C: Client>(
    parameters: &Parameters,
    servers: &[Server; 2],
    table: &mut Table,
    what: String,
    clients: usize,
    make: impl Fn(Channel, usize) -> C,
) {
    if !parameters.wants(&what) {
        return;
    }
    let mut groups = Vec::new();
    for server in servers {
        let channels = server.connect(connections(clients)).await;
        let group: Vec<C> =
            (0..clients).map(|client| make(channels[client % channels.len()].clone(), client)).collect();
        groups.push((group, Sample::default()));
    }
    for (group, _) in &mut groups {
        // The first requests of a connection are slow; they are not what is measured.
        *group = drive(std::mem::take(group), parameters.turn / 5).await.0;
    }
    for turn in 0..parameters.turns {
        for place in 0..groups.len() {
            let server = &servers[(turn + place) % 2];
            let (group, sum) = &mut groups[(turn + place) % 2];
            let before = server.processor();
            let (again, mut sample) = drive(std::mem::take(group), parameters.turn).await;
            sample.processor = server.processor() - before;
            *group = again;
            sum.add(sample);
        }
    }
    let [ours, etcd] = <[_; 2]>::try_from(groups).ok().unwrap().map(|(_, sample)| sample);
    table.add(Row::new(what, ours, etcd));
}
