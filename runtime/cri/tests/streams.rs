//! Exec and attach through the stream server's URLs, as kubectl's WebSocket client does it (v5.channel.k8s.io).

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use futures::{SinkExt, StreamExt};
use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::runtime_service_client::RuntimeServiceClient;
use support::{Service, container};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tonic::transport::Channel;

/// Channels of the protocol: the first byte of each message.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

async fn running(service: &Service, config: pb::ContainerConfig) -> (RuntimeServiceClient<Channel>, String) {
    let mut runtime = service.runtime().await;
    let request = pb::RunPodSandboxRequest { config: Some(service.sandbox("streams")), runtime_handler: String::new() };
    let pod_sandbox_id = runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
    let request = pb::CreateContainerRequest { pod_sandbox_id, config: Some(config), sandbox_config: None };
    let container_id = runtime.create_container(request).await.unwrap().into_inner().container_id;
    let request = pb::StartContainerRequest { container_id: container_id.clone() };
    runtime.start_container(request).await.unwrap();
    (runtime, container_id)
}

/// Sends the messages, then collects each channel until the server ends.
async fn talk(url: &str, messages: &[Vec<u8>]) -> [String; 4] {
    let mut request = url.replace("http://", "ws://").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "v5.channel.k8s.io".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    for message in messages {
        socket.send(Message::binary(message.clone())).await.unwrap();
    }
    let mut channels = [const { String::new() }; 4];
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message
            && let Some((&channel @ 0..4, text)) = bytes.split_first()
        {
            channels[usize::from(channel)].push_str(&String::from_utf8_lossy(text));
        }
    }
    channels
}

async fn exec(runtime: &mut RuntimeServiceClient<Channel>, id: &str, script: &str, tty: bool) -> String {
    let cmd = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let request = pb::ExecRequest { container_id: id.to_owned(), cmd, tty, stdin: true, stdout: true, stderr: !tty };
    runtime.exec(request).await.unwrap().into_inner().url
}

#[tokio::test]
async fn exec_streams_and_reports_its_exit_code() {
    let service = Service::start().await;
    let (mut runtime, id) = running(&service, container("main", &["sleep", "1000"])).await;
    let url = exec(&mut runtime, &id, "cat; echo done >&2; exit 3", false).await;
    let channels = talk(&url, &[[&[STDIN], &b"over and back"[..]].concat(), vec![CLOSE, STDIN]]).await;
    assert_eq!(channels[usize::from(STDOUT)], "over and back");
    assert_eq!(channels[usize::from(STDERR)], "done\n");
    assert!(channels[usize::from(ERROR)].contains("\"message\":\"3\""), "{channels:?}");
    service.finish().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    const PROGRAM: &str = "/no/such/program";
    let service = Service::start().await;
    let (mut runtime, id) = running(&service, container("main", &["sleep", "1000"])).await;
    for tty in [false, true] {
        let cmd = vec![PROGRAM.to_owned()];
        let request = pb::ExecRequest { container_id: id.clone(), cmd, tty, stdin: false, stdout: true, stderr: !tty };
        let url = runtime.exec(request).await.unwrap().into_inner().url;
        let status: serde_json::Value = serde_json::from_str(&talk(&url, &[]).await[usize::from(ERROR)]).unwrap();
        assert_eq!(status["status"], "Failure", "{status}");
        assert_ne!(status["reason"], "NonZeroExitCode", "nothing ran that could exit: {status}");
        assert!(status["message"].as_str().is_some_and(|text| text.contains(PROGRAM)), "{status}");
    }
    let request = pb::ExecSyncRequest { container_id: id, cmd: vec![PROGRAM.to_owned()], timeout: 10 };
    let refused = runtime.exec_sync(request).await.unwrap_err();
    assert!(refused.message().contains(PROGRAM), "{refused}");
    service.finish().await;
}

#[tokio::test]
async fn large_output_arrives_whole() {
    let service = Service::start().await;
    let (mut runtime, id) = running(&service, container("main", &["sleep", "1000"])).await;
    let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done";
    let url = exec(&mut runtime, &id, script, false).await;
    let channels = talk(&url, &[]).await;
    assert_eq!(channels[usize::from(STDOUT)].len(), 20_000 * 41);
    service.finish().await;
}

#[tokio::test]
async fn a_terminal_takes_sizes_and_ends_with_its_process() {
    let service = Service::start().await;
    let (mut runtime, id) = running(&service, container("main", &["sleep", "1000"])).await;
    // The background child keeps the terminal open.
    let script =
        "test -t 0 && while ! stty size 2>/dev/null | grep '^33 101'; do sleep 0.02; done; sleep 1000 & exit 4";
    let url = exec(&mut runtime, &id, script, true).await;
    let size = [&[RESIZE], &br#"{"Width":101,"Height":33}"#[..]].concat();
    let channels = talk(&url, &[size]).await;
    assert_eq!(channels[usize::from(STDOUT)], "33 101\r\n");
    assert!(channels[usize::from(ERROR)].contains("\"message\":\"4\""), "{channels:?}");
    service.finish().await;
}

#[tokio::test]
async fn attach_reaches_the_first_process() {
    let service = Service::start().await;
    let mut config = container("main", &["/bin/sh", "-c", "read line; echo got $line"]);
    (config.stdin, config.stdin_once) = (true, true);
    let (mut runtime, id) = running(&service, config).await;
    let request = pb::AttachRequest { container_id: id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let url = runtime.attach(request).await.unwrap().into_inner().url;
    let channels = talk(&url, &[[&[STDIN], &b"this\n"[..]].concat()]).await;
    assert_eq!(channels[usize::from(STDOUT)], "got this\n");
    service.finish().await;
}
