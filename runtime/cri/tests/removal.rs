//! What is given back at a container's end and at its removal, and by whom when the service dies between.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_proto::cri::v1 as pb;
use support::calls::{create, run_sandbox, start, wait_until_exited};
use support::{Service, container};

fn remove(id: &str) -> pb::RemoveContainerRequest {
    pb::RemoveContainerRequest { container_id: id.to_owned() }
}

/// Row C9 of the faults: unmounting was what made a removal slow.
#[tokio::test]
async fn a_container_that_has_ended_is_mounted_no_more_and_still_tells_its_end() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("ended")).await;
    let id = create(&mut runtime, &sandbox, container("main", &["sh", "-c", "exit 3"])).await.unwrap();
    let rootfs = service.dir.path().join("run/containers").join(&id).join("rootfs").display().to_string();
    let is_mounted = || std::fs::read_to_string("/proc/self/mounts").unwrap().contains(&rootfs);
    assert!(is_mounted());
    start(&mut runtime, &id).await;
    for _ in 0..6000 {
        if !is_mounted() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!is_mounted());
    assert_eq!(wait_until_exited(&mut runtime, &id).await.exit_code, 3);
    runtime.remove_container(remove(&id)).await.unwrap();
    service.finish().await;
}

#[tokio::test]
async fn a_service_that_dies_between_an_end_and_a_removal_leaves_nothing() {
    for fault in ["container.clear:1=kill", "container.remove:1=kill"] {
        let mut service = Service::start_with(&[("SKIFF_FAULT", fault)]).await;
        let mut runtime = service.runtime().await;
        let sandbox = run_sandbox(&mut runtime, service.sandbox("between")).await;
        let id = create(&mut runtime, &sandbox, container("main", &["sh", "-c", "exit 3"])).await.unwrap();
        // The service may be gone before it answers.
        let start = pb::StartContainerRequest { container_id: id.clone() };
        let _may_have_died = runtime.start_container(start).await;
        if fault.contains("remove") {
            wait_until_exited(&mut runtime, &id).await;
            runtime.remove_container(remove(&id)).await.unwrap_err();
        }
        service.restart_after_its_death().await;
        let mut runtime = service.runtime().await;
        if fault.contains("clear") {
            assert_eq!(wait_until_exited(&mut runtime, &id).await.exit_code, 3, "{fault}");
        } else {
            let all = runtime.list_containers(pb::ListContainersRequest::default()).await.unwrap().into_inner();
            assert_eq!(all.containers, [], "what was being removed is not there any more");
        }
        runtime.remove_container(remove(&id)).await.unwrap();
        service.finish().await;
    }
}
