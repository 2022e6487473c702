//! Leader election against our API server: one leads, another takes over, and never two at once.

mod common;

use common::World;
use skiff_client::Election;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/work";

fn candidate(identity: &str) -> Election {
    let mut election = Election::new("work", identity.to_owned());
    election.duration = Duration::from_secs(1);
    election.renew_deadline = Duration::from_millis(700);
    election.retry_period = Duration::from_millis(50);
    election
}

/// Counts itself among those who work, for as long as it lives.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Stands for the lease in a task of its own; tells its name when it begins to work, and works until it is stopped.
fn stand(
    client: kube::Client,
    identity: &'static str,
    begun: mpsc::UnboundedSender<&'static str>,
    working: Arc<AtomicUsize>,
) -> (CancellationToken, tokio::task::JoinHandle<Option<()>>) {
    let shutdown = CancellationToken::new();
    let until = shutdown.clone();
    let task = tokio::spawn(async move {
        let work = |token: CancellationToken| {
            let (begun, working) = (begun.clone(), working.clone());
            async move {
                assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0, "two lead at once");
                let _at_work = AtWork(working);
                begun.send(identity).expect("the test listens");
                token.cancelled().await;
            }
        };
        candidate(identity).lead(&client, &until, work).await
    });
    (shutdown, task)
}

/// Fault N25: one of two leads; when it stops the other takes over at once, and when it dies after the lease's time.
#[tokio::test]
async fn one_leads_and_another_takes_over() {
    let world = World::new().await;
    let (begun, mut news) = mpsc::unbounded_channel();
    let working = Arc::new(AtomicUsize::new(0));
    let (stop_a, a) = stand(world.client(), "a", begun.clone(), working.clone());
    assert_eq!(news.recv().await, Some("a"));
    let (_, lease) = world.get(LEASE).await;
    assert_eq!((&lease["spec"]["holderIdentity"], &lease["spec"]["leaseTransitions"]), (&"a".into(), &0.into()));
    let (stop_b, b) = stand(world.client(), "b", begun.clone(), working.clone());
    // Longer than the lease lasts: renewing keeps it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(news.try_recv().is_err(), "a renews");
    stop_a.cancel();
    assert_eq!(a.await.expect("ends"), Some(()));
    assert_eq!(news.recv().await, Some("b"));
    let (_, lease) = world.get(LEASE).await;
    assert_eq!((&lease["spec"]["holderIdentity"], &lease["spec"]["leaseTransitions"]), (&"b".into(), &1.into()));
    let (stop_c, c) = stand(world.client(), "c", begun, working);
    // A process that dies gives nothing back.
    b.abort();
    assert!(b.await.is_err());
    assert_eq!(news.recv().await, Some("c"));
    stop_c.cancel();
    assert_eq!(c.await.expect("ends"), Some(()));
    drop(stop_b);
    let (_, lease) = world.get(LEASE).await;
    assert_eq!(lease["spec"]["holderIdentity"], "");
}

/// Fault N25: whoever cannot renew stops working, and who never led ends without work.
#[tokio::test]
async fn a_lost_lease_ends_the_work() {
    let world = World::new().await;
    let (begun, mut news) = mpsc::unbounded_channel();
    let working = Arc::new(AtomicUsize::new(0));
    let (stop_a, a) = stand(world.client(), "a", begun.clone(), working.clone());
    assert_eq!(news.recv().await, Some("a"));
    // Somebody takes it by force.
    let force = serde_json::json!({"spec": {"holderIdentity": "z", "leaseDurationSeconds": 3600}}).to_string();
    let (code, _) = world.ask("PATCH", LEASE, "application/merge-patch+json", &force).await;
    assert!(code.is_success());
    for _ in 0..1000 {
        if working.load(Ordering::SeqCst) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(working.load(Ordering::SeqCst), 0, "work goes on without the lease");
    stop_a.cancel();
    assert_eq!(a.await.expect("ends"), None);
}
