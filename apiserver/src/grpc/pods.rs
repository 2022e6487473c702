//! The Pods service: logs and exec, through the kubelet of the pod's node.

use super::{admit, refuse};
use crate::app::App;
use crate::auth::sender;
use crate::connections;
use crate::kubelet::{self, ExecCommand, ExecEvent, ExecInput, ExecSession, LogQuery};
use crate::registry::{Target, built_in};
use crate::request as asked;
use crate::status::Status;
use futures::stream::{BoxStream, StreamExt};
use skiff_client::Identity;
use skiff_proto::api::v1 as proto;
use skiff_proto::api::v1::exec_input::Input;
use skiff_proto::api::v1::exec_output::Output;
use skiff_proto::api::v1::pods_server::Pods;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Streaming};

/// Messages between the kubelet and a slow client; then the kubelet has to wait.
const BACKLOG: usize = 16;

pub(super) struct Service {
    pub(super) app: Arc<App>,
}

type Outputs = mpsc::Sender<Result<proto::ExecOutput, tonic::Status>>;

fn pod_address(namespace: &str, name: &str, part: &str) -> proto::Address {
    proto::Address {
        version: "v1".to_owned(),
        resource: "pods".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: part.to_owned(),
        ..proto::Address::default()
    }
}

#[tonic::async_trait]
impl Pods for Service {
    type LogsStream = BoxStream<'static, Result<proto::LogsChunk, tonic::Status>>;
    type ExecStream = ReceiverStream<Result<proto::ExecOutput, tonic::Status>>;

    async fn logs(&self, request: Request<proto::LogsRequest>) -> Result<Response<Self::LogsStream>, tonic::Status> {
        let asked = request.get_ref();
        let address = pod_address(&asked.namespace, &asked.pod, "log");
        let about = admit(&self.app.registry.catalog(), &request, Some(&address), "get").await?;
        let flags = [("follow", asked.follow), ("previous", asked.previous), ("timestamps", asked.timestamps)];
        let numbers = [("tailLines", asked.tail_lines), ("sinceSeconds", asked.since_seconds)];
        let flags = flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "true".to_owned()));
        let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name, number?.to_string())));
        let query = LogQuery { container: asked.container.clone(), parameters: flags.chain(numbers).collect() };
        query.check().map_err(|status| refuse(&status))?;
        let body = kubelet::log_stream(&self.app, &about, &query).await;
        let chunks = body.map_err(|status| refuse(&status))?.into_data_stream().map(|chunk| match chunk {
            Ok(data) => Ok(proto::LogsChunk { data: data.to_vec() }),
            Err(error) => Err(tonic::Status::unavailable(format!("stream from the kubelet: {error}"))),
        });
        Ok(Response::new(chunks.boxed()))
    }

    async fn exec(
        &self,
        request: Request<Streaming<proto::ExecInput>>,
    ) -> Result<Response<Self::ExecStream>, tonic::Status> {
        let (metadata, extensions, mut inputs) = request.into_parts();
        let Some(proto::ExecInput { input: Some(Input::Start(start)) }) = inputs.message().await? else {
            return Err(tonic::Status::invalid_argument("the first message must be the start"));
        };
        let address = pod_address(&start.namespace, &start.pod, "exec");
        let who = sender(&extensions);
        let request = Request::from_parts(metadata, extensions, ());
        let about = admit(&self.app.registry.catalog(), &request, Some(&address), "create").await?;
        self.admit_exec(who, &start).await.map_err(|status| refuse(&status))?;
        let command =
            ExecCommand { container: start.container, command: start.command, stdin: start.stdin, tty: start.tty };
        let session = ExecSession::start(&self.app, &about, &command).await.map_err(|status| refuse(&status))?;
        let (outputs, stream) = mpsc::channel(BACKLOG);
        tokio::spawn(converse(session, inputs, outputs, self.app.stopping.clone()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Service {
    /// Asks admission whether this command may run.
    async fn admit_exec(&self, who: Identity, start: &proto::ExecStart) -> Result<(), Status> {
        let target = Target { resource: built_in("", "pods")?, namespace: &start.namespace, name: &start.pod };
        let asked = asked::Request::new(who, "create", &target).of_part("exec");
        let said = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let flags = [("stdin", start.stdin), ("stdout", true), ("stderr", !start.tty), ("tty", start.tty)];
        let flags = flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| said(name, "true"));
        let command = start.command.iter().map(|word| said("command", word));
        let container = [said("container", &start.container)].into_iter();
        let said: Vec<_> = flags.chain(command).chain(container).collect();
        connections::admit(&self.app.registry, &asked, &said, "").await
    }
}

/// Carries messages both ways until the command ends or either side goes.
async fn converse(
    mut session: ExecSession,
    mut inputs: Streaming<proto::ExecInput>,
    outputs: Outputs,
    stopping: tokio_util::sync::CancellationToken,
) {
    let mut listening = true;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = outputs.closed() => return,
            event = session.next() => {
                let (message, last) = output(event);
                if outputs.send(message).await.is_err() || last {
                    return;
                }
            }
            input = inputs.message(), if listening => {
                let (input, more) = match input {
                    Ok(Some(message)) => (decode(message), true),
                    // A client that stops sending is still listening, but its stdin has ended.
                    Ok(None) => (Some(ExecInput::StdinClosed), false),
                    Err(_) => return,
                };
                listening = more;
                if let Some(input) = input
                    && let Err(status) = session.send(input).await
                    && (listening || status.code != http::StatusCode::NOT_IMPLEMENTED)
                {
                    let _client_may_be_gone = outputs.send(Err(refuse(&status))).await;
                    return;
                }
            }
        }
    }
}

fn decode(message: proto::ExecInput) -> Option<ExecInput> {
    match message.input? {
        Input::Stdin(data) => Some(ExecInput::Stdin(data)),
        Input::StdinClosed(true) => Some(ExecInput::StdinClosed),
        Input::Resize(size) => Some(ExecInput::Resize { width: size.width, height: size.height }),
        Input::StdinClosed(false) | Input::Start(_) => None,
    }
}

/// The message for the client, and whether it is the last one.
fn output(event: Option<Result<ExecEvent, crate::status::Status>>) -> (Result<proto::ExecOutput, tonic::Status>, bool) {
    let output = match event {
        Some(Ok(ExecEvent::Stdout(data))) => Output::Stdout(data),
        Some(Ok(ExecEvent::Stderr(data))) => Output::Stderr(data),
        Some(Ok(ExecEvent::End { exit_code, error })) => Output::End(proto::ExecEnd { exit_code, error }),
        Some(Err(status)) => return (Err(refuse(&status)), true),
        None => return (Err(tonic::Status::unavailable("the kubelet hung up before the command ended")), true),
    };
    let last = matches!(output, Output::End(_));
    (Ok(proto::ExecOutput { output: Some(output) }), last)
}
