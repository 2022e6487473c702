//! Binds pods to nodes: filter, score, bind, and preempt.
//!
//! Caches feed it: nodes, pods, and what else decisions depend on. A pod without a node is looked at when it appears, and again
//! when something happens that could help it ([`hints`]), never by polling. A decision is a pure function over a [`Cluster`]
//! ([`decide`]), made of the scheduling framework's plugins by their names; what follows from it is written in the background
//! ([`bind`]). [`explain`] says the same to people.
//!
//! Never here: the store, or a node's inside.

mod actor; // the loop
mod amounts; // how much of each resource a pod requests
mod bind; // writes decisions, and removes pods for others
mod cluster; // what is known of a cluster
mod config; // what a KubeSchedulerConfiguration says
mod cycle; // one decision: which nodes fit, and how good they are
mod decide; // a whole decision: a node, or why there is none and what could be done
mod devices; // claims of devices
mod explain; // each node's reason and each plugin's score
mod extender; // programs outside that have a say
mod figures; // what is counted
mod hints; // whether what happened may help a pod that waits
mod node; // a node with what is taken on it
mod plugin; // the framework's plugins by their names, and how one refuses
mod plugins; // what each plugin decides
mod pod; // what is read of a pod
mod preempt; // which pods of lower priority would have to go
mod profile; // which plugins, and their settings
mod queue; // pods that wait
mod selector; // labels, nodes and taints that fit
mod storage; // claims, volumes and drivers

pub use cluster::{Cluster, Object};
pub use config::{Config, ConfigError};
pub use explain::{Explanation, OfNode, explain};
pub use plugin::Plugin;

use actor::{Scheduler, Signal};
use bind::Binder;
use extender::Extender;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use kube::Client;
use skiff_client::{Cache, Caches, Kept, Subscription};
use skiff_step::Engine;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

/// Pods name their scheduler in spec.schedulerName; this is ours, and the default.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// Schedules as `config` says against the API server behind `client` until `shutdown`; `caches` show what that server has.
pub async fn run(client: Client, caches: Caches, engine: Engine, config: Config, shutdown: CancellationToken) {
    let extenders: Result<Vec<_>, _> = config.extenders.iter().cloned().map(Extender::new).collect();
    let extenders = match extenders {
        Ok(extenders) => extenders.into(),
        Err(error) => {
            tracing::error!(error = skiff_client::sentence(&error), "the scheduler does not start");
            return;
        }
    };
    figures::show();
    let (tell, mut signals) = mpsc::unbounded_channel();
    let mut following = Following { caches, tell: tell.clone(), subscriptions: Vec::new(), synced: Vec::new() };
    let (claims, volumes) = following.all();
    let synced = std::mem::take(&mut following.synced);
    // Before all are complete, a node may only seem to be missing, or to have room.
    tokio::select! {
        () = shutdown.cancelled() => return,
        _all = join_all(synced) => {}
    }
    let binder = Binder { client, engine, claims, volumes, extenders, outcomes: tell };
    let mut scheduler = Scheduler::new(config);
    let began = Instant::now();
    let now = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    loop {
        // All that is known goes into the next decision.
        while let Ok(signal) = signals.try_recv() {
            scheduler.note(signal, now());
        }
        figures::pending(&scheduler.queue);
        if scheduler.decide(&binder, now()).await {
            tokio::task::yield_now().await;
            if shutdown.is_cancelled() {
                return;
            }
            continue;
        }
        let wait = scheduler.queue.due().map_or(FOREVER, |due| Duration::from_millis(due.saturating_sub(now()).max(1)));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            signal = signals.recv() => match signal {
                Some(signal) => scheduler.note(signal, now()),
                None => return,
            },
        }
    }
}

/// Nothing is due; a signal comes first.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What is followed.
struct Following {
    caches: Caches,
    tell: mpsc::UnboundedSender<Signal>,
    subscriptions: Vec<Subscription>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl Following {
    fn all(
        &mut self,
    ) -> (Cache<k8s_openapi::api::core::v1::PersistentVolumeClaim>, Cache<k8s_openapi::api::core::v1::PersistentVolume>)
    {
        self.kind(Object::Namespace);
        self.kind(Object::Service);
        self.kind(Object::ReplicationController);
        self.kind(Object::ReplicaSet);
        self.kind(Object::StatefulSet);
        self.kind(Object::Budget);
        self.kind(Object::Class);
        self.kind(Object::CsiNode);
        self.kind(Object::CsiDriver);
        self.kind(Object::Capacity);
        self.kind(Object::Attachment);
        self.kind(Object::Slice);
        self.kind(Object::DeviceClass);
        self.kind(Object::DeviceClaim);
        let claims = self.kind(Object::Claim);
        let volumes = self.kind(Object::Volume);
        self.kind(Object::Node);
        self.kind(Object::Pod);
        (claims, volumes)
    }

    fn kind<K: Kept>(&mut self, object: fn(Arc<K>) -> Object) -> Cache<K> {
        let cache = self.caches.all::<K>();
        let tell = self.tell.clone();
        self.subscriptions.push(cache.subscribe(move |change| {
            let (before, now) = (change.before.cloned().map(object), change.now.cloned().map(object));
            // The receiver lives as long as the subscriptions.
            let _over = tell.send(Signal::Changed { before, now });
        }));
        let synced = cache.clone();
        self.synced.push(async move { synced.synced().await }.boxed());
        cache
    }
}
