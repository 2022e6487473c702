//! Leader election on a Lease: of several processes that could do a job, one does it (client-go's `leaderelection`).
//!
//! ```text
//!  candidate ──nobody holds the lease, or its time is over──► leader ──stops──► gives the lease back
//!      ▲                                                        │
//!      └──────────── not renewed in time: work is dropped ◄─────┘
//! ```
//!
//! Times in the lease are never compared with our clock: how long it has not changed is measured here. A leader gives up
//! before others may take over (`renew_deadline` is shorter than `duration`), so two never work at once, whatever the network
//! does; only a process that is stopped for longer and then goes on may still send what it had begun.

use crate::events::{EventKind, event_about, record};
use crate::figures::leads;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who stands for what, and how patiently. The times of [`Election::new`] are Kubernetes' own.
#[derive(Debug, Clone)]
pub struct Election {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name: that of the job.
    pub name: String,
    /// Who we are: unique among all who stand.
    pub identity: String,
    /// How long others wait for a leader that does not renew.
    pub duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How long to wait between two tries.
    pub retry_period: Duration,
}

impl Election {
    /// For the job `name`, as Kubernetes' components have it: 15 s, 10 s, 2 s, in `kube-system`.
    #[must_use]
    pub fn new(name: &str, identity: String) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            identity,
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Runs `work` whenever we are the leader, until it ends by itself, and answers what it answers; `None`: `shutdown` came
    /// while somebody else led.
    ///
    /// `work` is given a token that `shutdown` cancels. When the lease is lost, `work` is dropped where it stands, and is made
    /// anew when we lead again: nothing that it spawned may act on its own for long.
    pub async fn lead<F>(
        &self,
        client: &Client,
        shutdown: &CancellationToken,
        mut work: impl FnMut(CancellationToken) -> F,
    ) -> Option<F::Output>
    where
        F: Future,
    {
        let mut seat = Seat::new(self, client);
        loop {
            leads(&self.name, false);
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = seat.win() => {}
            }
            tracing::info!(lease = %self.name, identity = %self.identity, "leading");
            leads(&self.name, true);
            tokio::select! {
                output = work(shutdown.child_token()) => {
                    leads(&self.name, false);
                    seat.give_back().await;
                    return Some(output);
                }
                () = seat.hold() => tracing::warn!(lease = %self.name, "lost the lease; standing again"),
            }
        }
    }
}

/// Runs `work` as [`Election::lead`] does, or at once if there is no election.
pub async fn lead_if<F>(
    election: Option<&Election>,
    client: &Client,
    shutdown: &CancellationToken,
    mut work: impl FnMut(CancellationToken) -> F,
) -> Option<F::Output>
where
    F: Future,
{
    match election {
        Some(election) => election.lead(client, shutdown, work).await,
        None => Some(work(shutdown.child_token()).await),
    }
}

/// What is known of the lease.
struct Seat<'a> {
    election: &'a Election,
    client: &'a Client,
    leases: Api<Lease>,
    /// The lease as last seen, and when it was first seen so.
    seen: Option<(LeaseSpec, Instant)>,
}

/// What a try came to.
#[derive(Debug, PartialEq, Eq)]
enum Try {
    Ours,
    Others,
    /// Somebody else wrote at the same time.
    Raced,
}

impl<'a> Seat<'a> {
    fn new(election: &'a Election, client: &'a Client) -> Self {
        Self { election, client, leases: Api::namespaced(client.clone(), &election.namespace), seen: None }
    }

    /// Tries until the lease is ours.
    async fn win(&mut self) {
        loop {
            match tokio::time::timeout(self.election.renew_deadline, self.attempt()).await {
                Ok(Ok(Try::Ours)) => return,
                Ok(Ok(Try::Others | Try::Raced)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = crate::sentence(&error), lease = %self.election.name, "cannot stand for the lease")
                }
                Err(_) => tracing::warn!(lease = %self.election.name, "no answer while standing for the lease"),
            }
            tokio::time::sleep(self.election.retry_period).await;
        }
    }

    /// Renews until that fails for too long, or somebody else has the lease.
    async fn hold(&mut self) {
        let mut deadline = Instant::now() + self.election.renew_deadline;
        loop {
            tokio::time::sleep(self.election.retry_period).await;
            let asked = Instant::now();
            match tokio::time::timeout_at(deadline, self.attempt()).await {
                // From when we asked: the server may have written it at any time since.
                Ok(Ok(Try::Ours)) => deadline = asked + self.election.renew_deadline,
                Ok(Ok(Try::Others)) | Err(_) => return,
                Ok(Ok(Try::Raced)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = crate::sentence(&error), lease = %self.election.name, "lease not renewed")
                }
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Takes or renews the lease, if nobody else has it.
    async fn attempt(&mut self) -> Result<Try, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.election.name).await? else {
            let metadata = ObjectMeta { name: Some(self.election.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.record(None)) };
            return self.written(self.leases.create(&PostParams::default(), &lease).await, true);
        };
        let present = lease.spec.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == present => *since,
            _ => Instant::now(),
        };
        self.seen = Some((present.clone(), since));
        let holder = present.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.election.identity;
        let seconds = u64::try_from(present.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        if !holder.is_empty() && !ours && since.elapsed() < Duration::from_secs(seconds) {
            return Ok(Try::Others);
        }
        lease.spec = Some(self.record(Some(&present)));
        let name = lease.name_any();
        // The version that was read goes with it, so that of two who take it at once one does.
        self.written(self.leases.replace(&name, &PostParams::default(), &lease).await, !ours)
    }

    fn written(&mut self, result: Result<Lease, kube::Error>, new: bool) -> Result<Try, kube::Error> {
        match result {
            Ok(lease) => {
                if new {
                    let message = format!("{} became leader", self.election.identity);
                    let (kind, by) = (EventKind::Normal, self.election.name.as_str());
                    record(self.client, event_about(&lease, by, kind, "LeaderElection", message));
                }
                self.seen = Some((lease.spec.unwrap_or_default(), Instant::now()));
                Ok(Try::Ours)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Try::Raced),
            Err(error) => Err(error),
        }
    }

    /// What we write over `present`.
    fn record(&self, present: Option<&LeaseSpec>) -> LeaseSpec {
        let ours = present.filter(|present| present.holder_identity.as_ref() == Some(&self.election.identity));
        let transitions = present.and_then(|present| present.lease_transitions).unwrap_or(0);
        let seconds = i32::try_from(self.election.duration.as_secs().max(1)).unwrap_or(i32::MAX);
        LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: ours.and_then(|ours| ours.acquire_time.clone()).or_else(|| Some(now())),
            renew_time: Some(now()),
            lease_transitions: Some(transitions + i32::from(present.is_some() && ours.is_none())),
            ..LeaseSpec::default()
        }
    }

    /// Lets others lead at once. Should that fail, they wait for the lease's time.
    async fn give_back(&mut self) {
        let free = async {
            let Some(mut lease) = self.leases.get_opt(&self.election.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.election.identity) {
                return Ok(());
            }
            (spec.holder_identity, spec.lease_duration_seconds) = (Some(String::new()), Some(1));
            (spec.renew_time, spec.acquire_time) = (Some(now()), Some(now()));
            self.leases.replace(&self.election.name, &PostParams::default(), &lease).await.map(drop)
        };
        match tokio::time::timeout(self.election.retry_period, free).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = crate::sentence(&error), lease = %self.election.name, "lease not given back")
            }
            Err(_) => tracing::debug!(lease = %self.election.name, "lease not given back: no answer"),
        }
    }
}

/// Now, in the six digits that a MicroTime has.
fn now() -> MicroTime {
    MicroTime(Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default())
}
