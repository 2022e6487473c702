//! Under load: backends, certificates and routes change, and no request fails.

use super::*;
use crate::client::{connect, request, whole};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// How many clients ask at a time, and how often things change.
const CLIENTS: usize = 8;
const CHANGES: usize = 30;

/// What clients saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicUsize,
    failed: std::sync::Mutex<Vec<String>>,
    by: std::sync::Mutex<BTreeSet<String>>,
}

/// Asks on one connection after the other, each for some requests.
async fn ask(to: SocketAddr, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = connect(to).await else {
            seen.failed.lock().unwrap().push("not connected".into());
            return;
        };
        for _ in 0..50 {
            let answer = async {
                connection.ready().await?;
                whole(connection.send_request(request("GET", "a.test", "/x", &[], b"")).await?).await
            };
            match answer.await {
                Ok(answer) if answer.status == 200 => {
                    seen.by.lock().unwrap().insert(answer.by());
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => seen.failed.lock().unwrap().push(format!("{} {:?}", answer.status, answer.body)),
                Err(error) => seen.failed.lock().unwrap().push(error.to_string()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_everything_changes() {
    let world = World::new();
    let mut backends = vec![Backend::new("b0").await, Backend::new("b1").await];
    world.service("s", None, &[&backends[0], &backends[1]]);
    world.service("t", None, &[&backends[0], &backends[1]]);
    let rules = |service: &str| json!({"rules": [host("a.test", &[("/", "Prefix", service)])]});
    world.ingress("i", json!({}), rules("s"));
    world.answers("a.test", "/", 200).await;
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(ask(world.plain(), seen.clone()))).collect();
    for number in 0..CHANGES {
        let so_far = seen.answered.load(Ordering::Relaxed);
        // A rollout: the next one is there before the oldest ends, which serves what it has begun.
        let next = Backend::new(&format!("b{}", number + 2)).await;
        for service in ["s", "t"] {
            world.cluster.put("endpointslices", next.slice(service));
        }
        backends.push(next);
        let oldest = backends.remove(0);
        for service in ["s", "t"] {
            world.cluster.delete("endpointslices", "n", &format!("{service}-{}", oldest.name));
        }
        oldest.end();
        // Routes change, and one that leads nowhere comes and goes.
        world.ingress("i", json!({}), rules(["s", "t"][number % 2]));
        world.ingress(
            &format!("other-{number}"),
            json!({}),
            json!({"rules": [host("b.test", &[("/", "Prefix", "gone")])]}),
        );
        until("clients go on", async || {
            seen.answered.load(Ordering::Relaxed) >= so_far + 100 || !seen.failed.lock().unwrap().is_empty()
        })
        .await;
    }
    seen.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let failed = seen.failed.lock().unwrap().clone();
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), seen.answered.load(Ordering::Relaxed));
    assert!(seen.by.lock().unwrap().len() > CHANGES / 2, "{:?}", seen.by.lock().unwrap());
    world.end().await;
}
