//! Peers that end while the service asks them, and things that are taken away while they are used.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skiff_proto::cri::v1 as pb;
use support::calls::{Runtime, create, exec, run_sandbox, start, status};
use support::{Service, container};

/// The supervisor of a sandbox.
async fn supervisor(runtime: &mut Runtime, sandbox: &str) -> Pid {
    let request = pb::PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: true };
    let info = runtime.pod_sandbox_status(request).await.unwrap().into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    Pid::from_raw(info["pid"].as_i64().unwrap().try_into().unwrap())
}

/// Fault C1: whatever is asked of a pod whose supervisor dies before it answers is done all the same.
#[tokio::test]
async fn a_supervisor_that_dies_while_it_is_asked_has_answered() {
    let service = Service::start().await;
    for what in ["stop container", "remove container", "stop pod", "remove pod"] {
        let mut runtime = service.runtime().await;
        let sandbox = run_sandbox(&mut runtime, service.sandbox(&what.replace(' ', "-"))).await;
        let id = create(&mut runtime, &sandbox, container("main", &["sleep", "1000"])).await.unwrap();
        start(&mut runtime, &id).await;
        let pid = supervisor(&mut runtime, &sandbox).await;
        // It takes connections and requests, which is the kernel's work, and never looks at them.
        kill(pid, Signal::SIGSTOP).unwrap();
        let (mut client, of, container_id) = (service.runtime().await, sandbox.clone(), id.clone());
        let asked = tokio::spawn(async move {
            match what {
                "stop container" => {
                    client.stop_container(pb::StopContainerRequest { container_id, timeout: 0 }).await.map(drop)
                }
                "remove container" => {
                    client.remove_container(pb::RemoveContainerRequest { container_id }).await.map(drop)
                }
                "stop pod" => client.stop_pod_sandbox(pb::StopPodSandboxRequest { pod_sandbox_id: of }).await.map(drop),
                _ => client.remove_pod_sandbox(pb::RemovePodSandboxRequest { pod_sandbox_id: of }).await.map(drop),
            }
        });
        // Long enough, as a rule, that the request waits for its answer; sooner, it must do as well.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        kill(pid, Signal::SIGKILL).unwrap();
        asked.await.unwrap().unwrap_or_else(|status| panic!("{what}: {status}"));
    }
    service.finish().await;
}

/// Fault C1, as it was found: removing at once after stopping.
#[tokio::test]
async fn a_pod_may_be_removed_while_its_stop_ends() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    for round in 0..20 {
        let sandbox = run_sandbox(&mut runtime, service.sandbox(&format!("at-once-{round}"))).await;
        let mut other = service.runtime().await;
        let stop = pb::StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() };
        let (stopped, again) = tokio::join!(runtime.stop_pod_sandbox(stop.clone()), other.stop_pod_sandbox(stop));
        stopped.unwrap();
        again.unwrap();
        runtime.remove_pod_sandbox(pb::RemovePodSandboxRequest { pod_sandbox_id: sandbox }).await.unwrap();
    }
    service.finish().await;
}

/// The OCI runtime's own words reach the caller although it ended before it read what we sent: fault C1's kind.
#[tokio::test]
async fn a_refused_update_says_why() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("update")).await;
    let id = create(&mut runtime, &sandbox, container("main", &["sleep", "1000"])).await.unwrap();
    start(&mut runtime, &id).await;
    let linux = pb::LinuxContainerResources { cpuset_cpus: "4000".to_owned(), ..Default::default() };
    let request =
        pb::UpdateContainerResourcesRequest { container_id: id.clone(), linux: Some(linux), ..Default::default() };
    let error = runtime.update_container_resources(request).await.unwrap_err();
    assert!(!error.message().contains("Broken pipe"), "{error}");
    service.finish().await;
}

/// Fault N27: limits can be read, whoever set them and whenever.
#[tokio::test]
async fn limits_are_read_back_before_and_after_the_start() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("limits")).await;
    let id = create(&mut runtime, &sandbox, container("main", &["sleep", "1000"])).await.unwrap();
    let mut read = async || status(&mut runtime, &id).await.resources.unwrap().linux.unwrap();
    assert_eq!(read().await, pb::LinuxContainerResources::default());
    let update = |linux| pb::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(linux),
        ..Default::default()
    };
    let memory = pb::LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() };
    let mut runtime = service.runtime().await;
    runtime.update_container_resources(update(memory)).await.unwrap();
    start(&mut runtime, &id).await;
    let cpu = pb::LinuxContainerResources { cpu_period: 100_000, cpu_quota: 50_000, ..Default::default() };
    runtime.update_container_resources(update(cpu)).await.unwrap();
    let after = status(&mut runtime, &id).await.resources.unwrap().linux.unwrap();
    assert_eq!((after.memory_limit_in_bytes, after.cpu_quota), (64 << 20, 50_000));
    let stats = pb::ContainerStatsRequest { container_id: id.clone() };
    let stats = runtime.container_stats(stats).await.unwrap().into_inner().stats.unwrap().memory.unwrap();
    assert!(stats.available_bytes.unwrap().value <= 64 << 20);
    service.finish().await;
}

/// Fault C10: the list of images is the caller's; what a container stands on stays until it goes.
#[tokio::test]
async fn an_image_that_containers_use_may_be_removed_from_the_list() {
    let service = Service::start_whole().await;
    let image = pb::ImageSpec { image: "skiff.local/demo".to_owned(), ..Default::default() };
    let mut images = service.images().await;
    let pull = pb::PullImageRequest { image: Some(image.clone()), ..Default::default() };
    images.pull_image(pull).await.unwrap();
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("user")).await;
    let mut config = container("main", &["sleep", "1000"]);
    config.image = Some(image.clone());
    let id = create(&mut runtime, &sandbox, config).await.unwrap();
    start(&mut runtime, &id).await;
    images.remove_image(pb::RemoveImageRequest { image: Some(image.clone()) }).await.unwrap();
    let list = images.list_images(pb::ListImagesRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.images, vec![]);
    assert_eq!(exec(&mut runtime, &id, &["true"]).await.exit_code, 0);
    runtime.stop_container(pb::StopContainerRequest { container_id: id.clone(), timeout: 0 }).await.unwrap();
    assert!(!status(&mut runtime, &id).await.image_ref.is_empty());
    service.finish().await;
}
