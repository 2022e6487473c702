//! What load balancers ask of a node: how many endpoints of a service it has (`spec.healthCheckNodePort`), by HTTP, as kube-proxy answers.

use crate::service::Health;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// How long who asks may take, and how much they may say.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
const REQUEST_BYTES_MAX: usize = 8192;
/// How many may ask at once at one port.
const ASKING_MAX: usize = 64;

/// The servers, by port. They end with it.
#[derive(Default)]
pub(crate) struct HealthChecks(BTreeMap<u16, Server>);

struct Server {
    told: watch::Sender<Health>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthChecks {
    /// Serves these from now on, and no others. A port that somebody else has is tried again at the next change.
    pub(crate) async fn serve(&mut self, wanted: BTreeMap<u16, Health>) {
        self.0.retain(|port, _| wanted.contains_key(port));
        for (port, health) in wanted {
            if let Some(server) = self.0.get(&port) {
                server.told.send_replace(health);
                continue;
            }
            match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
                Ok(listener) => {
                    let (told, tells) = watch::channel(health);
                    self.0.insert(port, Server { told, task: tokio::spawn(listen(listener, tells)) });
                }
                Err(error) => {
                    let service = format!("{}/{}", health.namespace, health.service);
                    tracing::warn!(
                        port,
                        service,
                        error = skiff_client::sentence(&error),
                        "health check port not served"
                    );
                }
            }
        }
    }
}

async fn listen(listener: TcpListener, health: watch::Receiver<Health>) {
    let places = Arc::new(Semaphore::new(ASKING_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let text = answer(&health.borrow());
                tokio::spawn(async move {
                    let _who_asked_is_gone = tokio::time::timeout(ASKED_WITHIN, tell(stream, &text)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Reads a request to its end, and answers whatever it asks.
async fn tell(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while request.len() < REQUEST_BYTES_MAX && !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => request.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The whole answer.
fn answer(health: &Health) -> String {
    let Health { namespace, service, ready_here } = health;
    let status = if *ready_here == 0 { "503 Service Unavailable" } else { "200 OK" };
    let body = json!({
        "service": {"namespace": namespace, "name": service},
        "localEndpoints": ready_here,
        "serviceProxyHealthy": true,
    });
    let body = format!("{body:#}");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {ready_here}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(ready_here: usize) -> Health {
        Health { namespace: "default".to_owned(), service: "web".to_owned(), ready_here }
    }

    async fn ask(port: u16) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn balancers_are_told_and_a_service_that_is_gone_is_not_served() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let mut checks = HealthChecks::default();
        checks.serve([(free, health(2))].into()).await;
        let text = ask(free).await.unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("X-Load-Balancing-Endpoint-Weight: 2"),
            "{text}"
        );
        assert!(text.contains("\"localEndpoints\": 2"), "{text}");
        checks.serve([(free, health(0))].into()).await;
        assert!(ask(free).await.unwrap().starts_with("HTTP/1.1 503 "));
        checks.serve(BTreeMap::new()).await;
        for _ in 0..100 {
            if ask(free).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it is served still");
    }
}
