//! The service over the real image store and pod networks, in a network namespace of its own.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_proto::cri::v1 as pb;
use std::net::Ipv4Addr;
use support::{Service, container};

#[tokio::test]
async fn a_pod_of_the_demo_image_has_an_address_that_the_node_reaches() {
    let mut service = Service::start_whole().await;
    let image = pb::ImageSpec { image: "skiff.local/demo".to_owned(), ..Default::default() };
    let pull = pb::PullImageRequest { image: Some(image.clone()), ..Default::default() };
    let image_ref = service.images().await.pull_image(pull).await.unwrap().into_inner().image_ref;

    let mut runtime = service.runtime().await;
    let request = pb::RunPodSandboxRequest { config: Some(service.sandbox("demo")), runtime_handler: String::new() };
    let sandbox = runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
    let mut config = container("main", &["sleep", "1000"]);
    config.image = Some(image);
    let request =
        pb::CreateContainerRequest { pod_sandbox_id: sandbox.clone(), config: Some(config), sandbox_config: None };
    let id = runtime.create_container(request).await.unwrap().into_inner().container_id;
    runtime.start_container(pb::StartContainerRequest { container_id: id.clone() }).await.unwrap();

    let request = pb::PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose: false };
    let answer = runtime.pod_sandbox_status(request.clone()).await.unwrap().into_inner();
    let ip: Ipv4Addr = answer.status.unwrap().network.unwrap().ip.parse().unwrap();
    assert_eq!(ip.octets()[..3], [10, 244, 9]);
    assert_eq!(answer.containers_statuses[0].image_id, image_ref);
    // In the pod nobody listens: a refusal proves that the packet arrived and its answer came back.
    assert_eq!(refused_in(service.pid(), ip), std::io::ErrorKind::ConnectionRefused);

    service.kill_and_restart().await;
    let mut runtime = service.runtime().await;
    let again = runtime.pod_sandbox_status(request).await.unwrap().into_inner();
    assert_eq!(again.status.unwrap().network.unwrap().ip, ip.to_string());
    let stats = pb::ListPodSandboxStatsRequest::default();
    let stats = runtime.list_pod_sandbox_stats(stats).await.unwrap().into_inner().stats.remove(0).linux.unwrap();
    assert_eq!(stats.network.unwrap().default_interface.unwrap().name, "eth0");
    assert!(stats.containers[0].memory.as_ref().unwrap().usage_bytes.unwrap().value > 0);
    // Fault C6: what eviction and `crictl stats` read.
    let cmd = ["/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done > /written"];
    let cmd = cmd.map(str::to_owned).to_vec();
    runtime.exec_sync(pb::ExecSyncRequest { container_id: id.clone(), cmd, timeout: 60 }).await.unwrap();
    let request = pb::ListContainerStatsRequest::default();
    let stats = runtime.list_container_stats(request).await.unwrap().into_inner().stats.remove(0);
    assert!(stats.cpu.unwrap().usage_nano_cores.unwrap().value > 0);
    let layer = stats.writable_layer.unwrap();
    assert!(layer.used_bytes.unwrap().value > 16 * 1024 && layer.inodes_used.unwrap().value > 0);
    let of_images = service.images().await.image_fs_info(pb::ImageFsInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(layer.fs_id, of_images.image_filesystems[0].fs_id, "the kubelet looks file systems up by this");
    service.finish().await;
}

/// Connects to a closed port from the network namespace of process `pid`.
fn refused_in(pid: u32, ip: Ipv4Addr) -> std::io::ErrorKind {
    let dial = move || {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        std::net::TcpStream::connect((ip, 4)).unwrap_err().kind()
    };
    std::thread::spawn(dial).join().unwrap()
}
