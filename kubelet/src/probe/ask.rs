//! One question to one container.

use super::{Subject, grpc, http};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;
use tokio::net::TcpStream;

/// Asks; the error says what is wrong with the container.
pub(super) async fn ask(
    subject: &Subject,
    container: &Container,
    probe: &Probe,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &probe.exec {
        return ask_exec(subject, exec.command.clone().unwrap_or_default(), timeout).await;
    }
    if let Some(get) = &probe.http_get {
        return http::get(get, container, &subject.ip, timeout).await;
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.clone().unwrap_or_else(|| subject.ip.clone());
        let port = port(&socket.port, container)?;
        return match tokio::time::timeout(timeout, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("dial tcp {host}:{port}: {error}")),
            Err(_) => Err(format!("dial tcp {host}:{port}: no answer within {timeout:?}")),
        };
    }
    if let Some(action) = &probe.grpc {
        return grpc::check(action, &subject.ip, timeout).await;
    }
    // The API server lets no such probe in; a kind that a later version has would come here.
    Err("this kind of probe is not implemented".to_owned())
}

async fn ask_exec(subject: &Subject, command: Vec<String>, timeout: Duration) -> Result<(), String> {
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(1);
    let answer = subject.agent.cri.exec_sync(&subject.id, command, seconds).await;
    let answer = answer.map_err(|status| crate::cri::said(&status))?;
    match answer.exit_code {
        0 => Ok(()),
        code => {
            let said = [answer.stdout, answer.stderr].concat();
            let said = String::from_utf8_lossy(&said[..said.len().min(1024)]).into_owned();
            Err(format!("command exited with {code}: {said}"))
        }
    }
}

/// The number of a port that a probe names by number or by the container's name for it.
pub(super) fn port(named: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match named {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => name.parse().ok().or_else(|| {
            let mut ports = container.ports.iter().flatten();
            ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
        }),
    };
    let number = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("container {} has no port {named:?}", container.name))
}
