//! Exec over a WebSocket of our own, for gRPC clients (KEP-4006: `v5.channel.k8s.io`; v4 lacks the close frame).
//!
//! Each binary message begins with a channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 resize; 255 closes a channel.

use super::place::{Place, encode, with_query};
use crate::app::App;
use crate::request::Request;
use crate::status::Status;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

const V5: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What a client sends into a running command.
#[derive(Debug)]
pub(crate) enum ExecInput {
    Stdin(Vec<u8>),
    StdinClosed,
    Resize { width: u32, height: u32 },
}

/// What comes out of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExecEvent {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The command ended; a text says why there is no exit code of its own.
    End {
        exit_code: i32,
        error: String,
    },
}

/// A command that runs in a container.
pub(crate) struct ExecSession {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    closes_stdin: bool,
}

/// What to run.
#[derive(Debug, Default)]
pub(crate) struct ExecCommand {
    pub(crate) container: String,
    pub(crate) command: Vec<String>,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

impl ExecSession {
    /// Runs it in a container of the pod that `asked` is about.
    pub(crate) async fn start(app: &Arc<App>, asked: &Request, run: &ExecCommand) -> Result<Self, Status> {
        let place = Place::of(&app.registry, &asked.namespace, &asked.name).await?;
        if run.command.is_empty() {
            return Err(Status::bad_request("you must specify at least one command for the container"));
        }
        let path = exec_path(&place, asked, run)?;
        let url = format!("wss://{}{path}", place.authority);
        let mut request = url.into_client_request().map_err(|error| Status::bad_request(error.to_string()))?;
        let offered = http::HeaderValue::from_static("v5.channel.k8s.io, v4.channel.k8s.io");
        request.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, offered);
        let stream = app.kubelets.dial(&place.authority).await?;
        let (socket, response) = client_async(request, stream).await.map_err(refused)?;
        let protocol = response.headers().get(http::header::SEC_WEBSOCKET_PROTOCOL);
        Ok(Self { socket, closes_stdin: protocol.is_some_and(|protocol| protocol == V5) })
    }

    pub(crate) async fn send(&mut self, input: ExecInput) -> Result<(), Status> {
        let message = match input {
            ExecInput::Stdin(data) => [&[STDIN], data.as_slice()].concat(),
            ExecInput::StdinClosed if self.closes_stdin => vec![CLOSE, STDIN],
            ExecInput::StdinClosed => {
                return Err(Status::not_implemented(
                    "this kubelet cannot close stdin: it speaks v4.channel.k8s.io only",
                ));
            }
            ExecInput::Resize { width, height } => {
                [&[RESIZE], json!({"Width": width, "Height": height}).to_string().as_bytes()].concat()
            }
        };
        self.socket.send(Message::binary(message)).await.map_err(broken)
    }

    /// What comes next; `None`: the kubelet hung up without saying how the command ended.
    pub(crate) async fn next(&mut self) -> Option<Result<ExecEvent, Status>> {
        loop {
            let data = match self.socket.next().await? {
                Ok(Message::Binary(data)) => data,
                Ok(Message::Close(_)) => return None,
                Ok(_) => continue,
                Err(error) => return Some(Err(broken(error))),
            };
            match data.split_first() {
                Some((_, [])) => {}
                Some((&STDOUT, data)) => return Some(Ok(ExecEvent::Stdout(data.to_vec()))),
                Some((&STDERR, data)) => return Some(Ok(ExecEvent::Stderr(data.to_vec()))),
                Some((&ERROR, data)) => return Some(Ok(end(data))),
                _ => {}
            }
        }
    }
}

fn exec_path(place: &Place, asked: &Request, run: &ExecCommand) -> Result<String, Status> {
    let container = place.container(&run.container)?;
    let path = format!("/exec/{}/{}/{}", encode(&asked.namespace), encode(&asked.name), encode(&container));
    let flags = [("input", run.stdin), ("output", true), ("error", !run.tty), ("tty", run.tty)];
    let flags = flags.iter().filter(|(_, on)| *on).map(|(name, _)| (*name, "1"));
    Ok(with_query(path, run.command.iter().map(|word| ("command", word.as_str())).chain(flags)))
}

/// Reads the final Status: success, or `NonZeroExitCode` with the code as a cause.
fn end(status: &[u8]) -> ExecEvent {
    let Ok(status) = serde_json::from_slice::<Value>(status) else {
        return ExecEvent::End { exit_code: -1, error: String::from_utf8_lossy(status).into_owned() };
    };
    if status["status"] == "Success" {
        return ExecEvent::End { exit_code: 0, error: String::new() };
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code =
        causes.filter(|cause| cause["reason"] == "ExitCode").find_map(|cause| cause["message"].as_str()?.parse().ok());
    match code {
        Some(exit_code) => ExecEvent::End { exit_code, error: String::new() },
        None => ExecEvent::End { exit_code: -1, error: status["message"].as_str().unwrap_or_default().to_owned() },
    }
}

fn refused(error: tokio_tungstenite::tungstenite::Error) -> Status {
    match error {
        tokio_tungstenite::tungstenite::Error::Http(response) => {
            let text = response.body().as_ref().map(|body| String::from_utf8_lossy(body).trim().to_owned());
            let text = text.filter(|text| !text.is_empty());
            Status::bad_gateway(text.unwrap_or_else(|| format!("the kubelet answered {}", response.status())))
        }
        error => broken(error),
    }
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> Status {
    Status::bad_gateway(format!("stream to the kubelet: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_says_how_it_ended() {
        assert_eq!(end(br#"{"status":"Success"}"#), ExecEvent::End { exit_code: 0, error: String::new() });
        let failed = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(end(failed), ExecEvent::End { exit_code: 7, error: String::new() });
        let broken = br#"{"status":"Failure","message":"no such file"}"#;
        assert_eq!(end(broken), ExecEvent::End { exit_code: -1, error: "no such file".to_owned() });
    }
}
