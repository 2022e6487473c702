//! Beside nginx, one after the other on the same ports of the same machine, before the same backends: how many requests a second, and how long one takes.
//!
//! `SKIFF_BENCH=1 SKIFF_NGINX=/usr/sbin/nginx cargo test -p skiff-ingress --test serving --release bench -- --nocapture`

use super::*;
use crate::client::{connect, request, whole};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Connections of clients, and requests on each.
const CLIENTS: usize = 32;
const REQUESTS: usize = 4000;
/// Rounds, of which the best of each counts: what else the machine does costs both.
const ROUNDS: usize = 3;
/// Where nginx listens.
const NGINX: u16 = 8081;

/// What a round gave.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    median: Duration,
    p99: Duration,
}

impl Figures {
    fn better(self, other: Self) -> Self {
        Self {
            per_second: self.per_second.max(other.per_second),
            median: self.median.min(other.median),
            p99: self.p99.min(other.p99),
        }
    }
}

async fn round(to: SocketAddr) -> Figures {
    let begin = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(async move {
                let (mut connection, mut took) = (connect(to).await.unwrap(), Vec::with_capacity(REQUESTS));
                for _ in 0..REQUESTS {
                    let begin = Instant::now();
                    connection.ready().await.unwrap();
                    let answer = connection.send_request(request("GET", "a.test", "/x", &[], b"")).await.unwrap();
                    assert_eq!(whole(answer).await.unwrap().status, 200);
                    took.push(begin.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
    }
    let per_second = took.len() as f64 / begin.elapsed().as_secs_f64();
    took.sort();
    Figures { per_second, median: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
}

/// nginx as its ingress controller configures it: connections to backends are kept.
fn nginx(program: &str, address: IpAddr, backends: &[&Backend]) -> Child {
    let folder = std::env::temp_dir().join(format!("skiff-nginx-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let servers: String = backends.iter().map(|one| format!("server {};", one.address)).collect();
    let config = format!(
        "daemon off; worker_processes auto; pid {folder}/pid; error_log stderr; events {{ worker_connections 4096; }}
         http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
           fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
           upstream s {{ {servers} keepalive 320; keepalive_requests 1000000; }}
           server {{ listen {address}:{NGINX}; server_name a.test; location / {{ proxy_pass http://s; proxy_http_version 1.1;
             proxy_set_header Connection ''; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
             proxy_set_header X-Forwarded-Proto $scheme; proxy_buffering off; }} }} }}",
        folder = folder.display()
    );
    let path = folder.join("nginx.conf");
    std::fs::File::create(&path).unwrap().write_all(config.as_bytes()).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&path).stdin(Stdio::null());
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_nginx() {
    let Some(program) = std::env::var("SKIFF_NGINX").ok().filter(|_| std::env::var_os("SKIFF_BENCH").is_some()) else {
        // A figure of one run among others says nothing: whoever wants it asks for it.
        return;
    };
    let world = World::new();
    let (one, two) = (Backend::new("one").await, Backend::new("two").await);
    world.service("s", None, &[&one, &two]);
    world.ingress("i", json!({}), json!({"rules": [host("a.test", &[("/", "Prefix", "s")])]}));
    world.answers("a.test", "/", 200).await;
    let mut child = nginx(&program, world.address, &[&one, &two]);
    let theirs_at = SocketAddr::new(world.address, NGINX);
    until("nginx listens", async || TcpStream::connect(theirs_at).await.is_ok()).await;
    let nothing = Figures { per_second: 0.0, median: Duration::MAX, p99: Duration::MAX };
    let (mut ours, mut theirs) = (nothing, nothing);
    for _ in 0..ROUNDS {
        ours = ours.better(round(world.plain()).await);
        theirs = theirs.better(round(theirs_at).await);
    }
    for (name, figures) in [("skiff", ours), ("nginx", theirs)] {
        let Figures { per_second, median, p99 } = figures;
        println!("{name:6} {per_second:9.0} requests/s   median {median:9.1?}   99 % {p99:9.1?}");
    }
    println!(
        "throughput {:.2} x, latency {:.2} x",
        ours.per_second / theirs.per_second,
        ours.median.as_secs_f64() / theirs.median.as_secs_f64()
    );
    child.kill().unwrap();
    child.wait().unwrap();
    world.end().await;
}
