//! Measures durable puts: `cargo run --release -p skiff-store --example puts -- [URL | FOLDER] [SECONDS]`.
//!
//! With the URL of an etcd (or of our own server) it measures that, otherwise our store in a folder (default: a new one below the
//! current directory, because the system's temporary folder may be memory). Prints clients, puts a second, p50 and p99.

use bytes::Bytes;
use skiff_store::etcd::Remote;
use skiff_store::{Backend, Options, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let target = args.next().unwrap_or_else(|| "store-bench.tmp".to_owned());
    let seconds = args.next().map_or(Ok(3), |text| text.parse())?;
    let backend: Arc<dyn Backend> = if target.contains("://") {
        Remote::connect(&[target], None).await?
    } else {
        Store::open(target.as_ref(), Options::default())?.backend()
    };
    println!("{:>8} {:>10} {:>10} {:>10}", "clients", "puts/s", "p50 ms", "p99 ms");
    for clients in [1, 16, 64, 256] {
        measure(&backend, clients, Duration::from_secs(seconds)).await?;
    }
    Ok(())
}

async fn measure(backend: &Arc<dyn Backend>, clients: usize, time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let tasks: Vec<_> =
        (0..clients).map(|client| tokio::spawn(client_of(backend.clone(), client, begun + time))).collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await?);
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{clients:>8} {rate:>10.0} {:>10.2} {:>10.2}", at(0.5), at(0.99));
    Ok(())
}

/// Creates keys of 1 KiB until `end`.
async fn client_of(backend: Arc<dyn Backend>, client: usize, end: Instant) -> Vec<Duration> {
    let value = Bytes::from(vec![b'x'; 1024]);
    let run: u64 = rand::random();
    let mut took = Vec::new();
    for count in 0.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        let key = Bytes::from(format!("/bench/{run:016x}/{client}/{count}"));
        if backend.put(key, value.clone(), 0, 0).await.is_err() {
            break;
        }
        took.push(begun.elapsed());
    }
    took
}
