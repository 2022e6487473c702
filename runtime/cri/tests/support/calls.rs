//! The calls of a test's client, each as one line.

use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::runtime_service_client::RuntimeServiceClient;
use tonic::transport::Channel;

pub(crate) type Runtime = RuntimeServiceClient<Channel>;

pub(crate) async fn run_sandbox(runtime: &mut Runtime, config: pb::PodSandboxConfig) -> String {
    let request = pb::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id
}

pub(crate) async fn create(
    runtime: &mut Runtime,
    sandbox: &str,
    config: pb::ContainerConfig,
) -> Result<String, tonic::Status> {
    let request =
        pb::CreateContainerRequest { pod_sandbox_id: sandbox.to_owned(), config: Some(config), sandbox_config: None };
    Ok(runtime.create_container(request).await?.into_inner().container_id)
}

pub(crate) async fn start(runtime: &mut Runtime, id: &str) {
    runtime.start_container(pb::StartContainerRequest { container_id: id.to_owned() }).await.unwrap();
}

pub(crate) async fn status(runtime: &mut Runtime, id: &str) -> pb::ContainerStatus {
    let request = pb::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    runtime.container_status(request).await.unwrap().into_inner().status.unwrap()
}

pub(crate) async fn exec(runtime: &mut Runtime, id: &str, command: &[&str]) -> pb::ExecSyncResponse {
    let cmd = command.iter().map(|&word| word.to_owned()).collect();
    let request = pb::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: 10 };
    runtime.exec_sync(request).await.unwrap().into_inner()
}

pub(crate) async fn wait_until_exited(runtime: &mut Runtime, id: &str) -> pb::ContainerStatus {
    for _ in 0..6000 {
        let status = status(runtime, id).await;
        if status.state() == pb::ContainerState::ContainerExited {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("container {id} does not end");
}
