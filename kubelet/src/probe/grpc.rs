//! Probes over gRPC: the health protocol (`grpc.health.v1.Health/Check`) at a port of the pod's, without TLS, which Kubernetes does not offer.

use super::http::USER_AGENT;
use k8s_openapi::api::core::v1::GRPCAction;
use skiff_proto::health::v1::HealthCheckRequest;
use skiff_proto::health::v1::health_check_response::ServingStatus;
use skiff_proto::health::v1::health_client::HealthClient;
use std::time::Duration;
use tokio::time::timeout_at;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// Asks the service that `action` names; `ip` is where the container is. Only SERVING is success.
pub(super) async fn check(action: &GRPCAction, ip: &str, timeout: Duration) -> Result<(), String> {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let address = format!("{host}:{}", action.port);
    let until = tokio::time::Instant::now() + timeout;
    let channel = match timeout_at(until, connect(&address)).await {
        Ok(connected) => {
            let words = |error: tonic::transport::Error| skiff_client::sentence(&error);
            connected.map_err(|error| format!("error: failed to connect service at \"{address}\": {}", words(error)))?
        }
        Err(_) => return Err(format!("timeout: failed to connect service \"{address}\" within {timeout:?}")),
    };
    let request = HealthCheckRequest { service: action.service.clone().unwrap_or_default() };
    let late = || format!("timeout: health rpc did not complete within {timeout:?}");
    match timeout_at(until, HealthClient::new(channel).check(request)).await {
        Err(_) => Err(late()),
        Ok(Ok(answer)) => match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            other => Err(format!("service unhealthy (responded with \"{}\")", other.as_str_name())),
        },
        Ok(Err(status)) => Err(match status.code() {
            Code::Unimplemented => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            ),
            Code::DeadlineExceeded => late(),
            _ => format!("error: health rpc probe failed: {}", crate::cri::said(&status)),
        }),
    }
}

async fn connect(address: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?.user_agent(USER_AGENT)?.connect().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_proto::health::v1::HealthCheckResponse;
    use skiff_proto::health::v1::health_server::{Health, HealthServer};
    use tokio::net::TcpListener;
    use tonic::{Request, Response, Status};

    /// Answers by the name of the service that is asked for.
    struct ByName;

    #[tonic::async_trait]
    impl Health for ByName {
        async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
            let agent = request.metadata().get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
            if !agent.starts_with("kube-probe/") {
                return Err(Status::permission_denied("who is this?"));
            }
            let status = match request.get_ref().service.as_str() {
                "" => ServingStatus::Serving,
                "down" => ServingStatus::NotServing,
                "slow" => return std::future::pending().await,
                other => return Err(Status::not_found(format!("unknown service {other}"))),
            };
            Ok(Response::new(HealthCheckResponse { status: status.into() }))
        }

        type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

        async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
            Err(Status::unimplemented("not asked for"))
        }
    }

    async fn served() -> i32 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(HealthServer::new(ByName));
        tokio::spawn(server.serve_with_incoming(incoming));
        port.into()
    }

    async fn asked(port: i32, service: Option<&str>, timeout: Duration) -> Result<(), String> {
        check(&GRPCAction { port, service: service.map(str::to_owned) }, "127.0.0.1", timeout).await
    }

    const SOON: Duration = Duration::from_millis(50);
    const LATER: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn only_serving_is_success() {
        let port = served().await;
        assert_eq!(asked(port, None, LATER).await, Ok(()));
        let down = asked(port, Some("down"), LATER).await.unwrap_err();
        assert_eq!(down, r#"service unhealthy (responded with "NOT_SERVING")"#);
        let slow = asked(port, Some("slow"), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(slow, "timeout: health rpc did not complete within 1s");
        let unknown = asked(port, Some("etcd"), LATER).await.unwrap_err();
        assert_eq!(unknown, "error: health rpc probe failed: unknown service etcd");
    }

    #[tokio::test]
    async fn a_port_where_nobody_or_something_else_listens_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Accepts and says nothing.
        let mute = asked(port.into(), None, SOON).await.unwrap_err();
        assert!(mute.starts_with("timeout: "), "{mute}");
        drop(listener);
        let closed = asked(port.into(), None, LATER).await.unwrap_err();
        assert!(closed.starts_with(&format!("error: failed to connect service at \"127.0.0.1:{port}\": ")), "{closed}");
        assert!(closed.ends_with("Connection refused (os error 111)"), "{closed}");
    }

    #[tokio::test]
    async fn a_server_without_the_health_protocol_is_told_of() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_routes(Default::default()).serve_with_incoming(incoming));
        let said = asked(port.into(), None, LATER).await.unwrap_err();
        assert!(said.starts_with("error: this server does not implement the grpc health protocol"), "{said}");
    }
}
