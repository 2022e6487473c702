//! Sandboxes and containers through the gRPC socket, over a real OCI runtime.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_proto::cri::v1 as pb;
use support::calls::{create, exec, run_sandbox, start, status, wait_until_exited};
use support::{Service, container};
use tonic::Code;

#[tokio::test]
async fn a_pod_from_run_to_remove() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let mut events = runtime.get_container_events(pb::GetEventsRequest {}).await.unwrap().into_inner();
    let sandbox = run_sandbox(&mut runtime, service.sandbox("web")).await;
    let request = pb::PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose: true };
    let of_sandbox = runtime.pod_sandbox_status(request).await.unwrap().into_inner().status.unwrap();
    assert_eq!(
        (of_sandbox.state(), of_sandbox.network.unwrap().ip.as_str()),
        (pb::PodSandboxState::SandboxReady, "10.0.0.7")
    );

    let id = create(&mut runtime, &sandbox, container("main", &["/bin/sh", "-c", "echo hello; exec sleep 1000"]))
        .await
        .unwrap();
    assert_eq!(status(&mut runtime, &id).await.state(), pb::ContainerState::ContainerCreated);
    start(&mut runtime, &id).await;
    let running = status(&mut runtime, &id).await;
    assert_eq!(running.state(), pb::ContainerState::ContainerRunning);
    assert!(running.started_at >= running.created_at && !running.image_id.is_empty());

    let answer = exec(&mut runtime, &id, &["/bin/sh", "-c", "hostname; echo err >&2; cat /etc/hosts; exit 5"]).await;
    assert_eq!((answer.exit_code, answer.stderr.as_slice()), (5, &b"err\n"[..]));
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(text.starts_with("web\n") && text.ends_with("10.0.0.7\tweb\n"), "{text}");

    let stop = pb::StopContainerRequest { container_id: id.clone(), timeout: 0 };
    runtime.stop_container(stop.clone()).await.unwrap();
    let ended = status(&mut runtime, &id).await;
    assert_eq!(
        (ended.state(), ended.exit_code, ended.reason.as_str()),
        (pb::ContainerState::ContainerExited, 137, "Error")
    );
    runtime.stop_container(stop).await.unwrap();
    let log = std::fs::read_to_string(service.dir.path().join("logs/main.log")).unwrap();
    assert!(log.ends_with(" stdout F hello\n"), "{log}");

    runtime.stop_pod_sandbox(pb::StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await.unwrap();
    runtime.stop_pod_sandbox(pb::StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await.unwrap();
    runtime.remove_pod_sandbox(pb::RemovePodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await.unwrap();
    runtime.remove_pod_sandbox(pb::RemovePodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await.unwrap();
    runtime.remove_container(pb::RemoveContainerRequest { container_id: id.clone() }).await.unwrap();

    let mut seen = Vec::new();
    while seen.last() != Some(&(sandbox.clone(), pb::ContainerEventType::ContainerDeletedEvent)) {
        let event = events.message().await.unwrap().unwrap();
        seen.push((event.container_id.clone(), event.container_event_type()));
    }
    use pb::ContainerEventType::{
        ContainerCreatedEvent, ContainerDeletedEvent, ContainerStartedEvent, ContainerStoppedEvent,
    };
    let of = |wanted: &str| seen.iter().filter(|(id, _)| id == wanted).map(|(_, kind)| *kind).collect::<Vec<_>>();
    let whole = [ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent, ContainerDeletedEvent];
    assert_eq!(of(&id), whole);
    assert_eq!(of(&sandbox), whole);
    service.finish().await;
}

#[tokio::test]
async fn image_and_container_settings_reach_the_process() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("settings")).await;
    let mut config = container("main", &["/bin/sh", "-c", "id; env; exec sleep 1000"]);
    config.linux = None;
    config.envs = vec![pb::KeyValue { key: "OWN".to_owned(), value: b"1".to_vec() }];
    let id = create(&mut runtime, &sandbox, config).await.unwrap();
    start(&mut runtime, &id).await;
    let text = exec(&mut runtime, &id, &["/bin/sh", "-c", "id -u; id -G; env"]).await.stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["101", "102 29"]);
    for line in ["OWN=1", "FROM_IMAGE=yes", "HOME=/srv", "HOSTNAME=settings", "PATH=/bin"] {
        assert!(lines.contains(&line), "{line} in {text}");
    }
    service.finish().await;
}

#[tokio::test]
async fn names_are_unique_and_free_again_after_removal() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("one")).await;
    let again = pb::RunPodSandboxRequest { config: Some(service.sandbox("one")), runtime_handler: String::new() };
    let error = runtime.run_pod_sandbox(again.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    create(&mut runtime, &sandbox, container("main", &["sleep", "1"])).await.unwrap();
    let error = create(&mut runtime, &sandbox, container("main", &["sleep", "1"])).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    runtime.remove_pod_sandbox(pb::RemovePodSandboxRequest { pod_sandbox_id: sandbox }).await.unwrap();
    runtime.run_pod_sandbox(again).await.unwrap();
    service.finish().await;
}

#[tokio::test]
async fn what_fails_is_undone_and_says_why() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("bad")).await;
    let mut unknown_user = container("user", &["sleep"]);
    unknown_user.linux.as_mut().unwrap().security_context.as_mut().unwrap().run_as_user = None;
    unknown_user.linux.as_mut().unwrap().security_context.as_mut().unwrap().run_as_username = "ghost".to_owned();
    let mut no_image = container("image", &["sleep"]);
    no_image.image.as_mut().unwrap().image = "no/such:image".to_owned();
    for (config, code, text) in [
        (unknown_user, Code::InvalidArgument, "user `ghost`: not in the image's /etc/passwd"),
        (no_image, Code::NotFound, "image no/such:image: not found"),
    ] {
        let error = create(&mut runtime, &sandbox, config).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (code, text));
    }
    // What only the OCI runtime finds out is the start's failure, and the container stays to say so: fault C8.
    let id = create(&mut runtime, &sandbox, container("command", &["/no/such/program"])).await.unwrap();
    let request = pb::StartContainerRequest { container_id: id.clone() };
    let failed = runtime.start_container(request.clone()).await.unwrap_err();
    assert!(failed.message().contains("/no/such/program"), "{failed}");
    let ended = status(&mut runtime, &id).await;
    assert_eq!(
        (ended.state(), ended.exit_code, ended.reason.as_str()),
        (pb::ContainerState::ContainerExited, 128, "StartError")
    );
    assert!(ended.message.contains("/no/such/program"), "{ended:?}");
    assert_eq!(runtime.start_container(request).await.unwrap_err().code(), Code::FailedPrecondition);
    service.finish().await;
}

#[tokio::test]
async fn stopping_sends_the_stop_signal_first() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("graceful")).await;
    let script = "trap 'exit 42' USR1; echo armed; while :; do sleep 0.05; done";
    let mut config = container("main", &["/bin/sh", "-c", script]);
    config.stop_signal = pb::Signal::Sigusr1 as i32;
    let id = create(&mut runtime, &sandbox, config).await.unwrap();
    start(&mut runtime, &id).await;
    let log = service.dir.path().join("logs/main.log");
    while !std::fs::read_to_string(&log).unwrap().contains("armed") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    runtime.stop_container(pb::StopContainerRequest { container_id: id.clone(), timeout: 30 }).await.unwrap();
    assert_eq!(status(&mut runtime, &id).await.exit_code, 42);
    service.finish().await;
}

#[tokio::test]
async fn an_exec_that_takes_too_long_is_killed() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("slow")).await;
    let id = create(&mut runtime, &sandbox, container("main", &["sleep", "1000"])).await.unwrap();
    start(&mut runtime, &id).await;
    let cmd = vec!["/bin/sleep".to_owned(), "777".to_owned()];
    let request = pb::ExecSyncRequest { container_id: id.clone(), cmd, timeout: 1 };
    assert_eq!(runtime.exec_sync(request).await.unwrap_err().code(), Code::DeadlineExceeded);
    for _ in 0..6000 {
        let text = exec(&mut runtime, &id, &["/bin/sh", "-c", "cat /proc/*/cmdline"]).await.stdout;
        if !String::from_utf8_lossy(&text).contains("sleep\u{0}777") {
            return service.finish().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the command of the exec still runs");
}

#[tokio::test]
async fn pods_may_share_pids_and_the_host_network() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let mut config = service.sandbox("shared");
    let options = pb::NamespaceOption { network: pb::NamespaceMode::Node as i32, ..Default::default() };
    config.linux = Some(pb::LinuxPodSandboxConfig {
        security_context: Some(pb::LinuxSandboxSecurityContext {
            namespace_options: Some(options.clone()),
            ..Default::default()
        }),
        ..Default::default()
    });
    let sandbox = run_sandbox(&mut runtime, config).await;
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let mut config = container(name, &["sleep", "1000"]);
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options = Some(options.clone());
        let id = create(&mut runtime, &sandbox, config).await.unwrap();
        start(&mut runtime, &id).await;
        ids.push(id);
    }
    let text = exec(&mut runtime, &ids[0], &["/bin/sh", "-c", "cat /proc/[0-9]*/cmdline; readlink /proc/self/ns/net"])
        .await
        .stdout;
    let text = String::from_utf8_lossy(&text).replace('\0', " ");
    assert_eq!(text.matches("sleep 1000").count(), 2, "{text}");
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(text.ends_with(&format!("{}\n", host.display())), "{text}");
    service.finish().await;
}

#[tokio::test]
async fn a_killed_service_finds_everything_again() {
    let mut service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("survivor")).await;
    let stays = create(&mut runtime, &sandbox, container("stays", &["sleep", "1000"])).await.unwrap();
    let gate = service.dir.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    let mut config = container("ends", &["/bin/sh", "-c", "while ! test -e /gate/open; do sleep 0.01; done; exit 9"]);
    config.mounts = vec![pb::Mount {
        container_path: "/gate".to_owned(),
        host_path: gate.to_string_lossy().into_owned(),
        readonly: true,
        ..Default::default()
    }];
    let ends = create(&mut runtime, &sandbox, config).await.unwrap();
    let waits = create(&mut runtime, &sandbox, container("waits", &["sleep", "1000"])).await.unwrap();
    start(&mut runtime, &stays).await;
    start(&mut runtime, &ends).await;
    let (before, pids) =
        (status(&mut runtime, &stays).await, exec(&mut runtime, &stays, &["cat", "/proc/1/stat"]).await);

    std::fs::write(gate.join("open"), "").unwrap();
    service.kill_and_restart().await;
    let mut runtime = service.runtime().await;
    let after = status(&mut runtime, &stays).await;
    assert_eq!((after.state(), after.started_at), (before.state(), before.started_at));
    let same =
        |answer: &pb::ExecSyncResponse| String::from_utf8_lossy(&answer.stdout).split(' ').nth(21).map(str::to_owned);
    assert_eq!(same(&exec(&mut runtime, &stays, &["cat", "/proc/1/stat"]).await), same(&pids));
    assert_eq!(wait_until_exited(&mut runtime, &ends).await.exit_code, 9);
    start(&mut runtime, &waits).await;
    let error = create(&mut runtime, &sandbox, container("stays", &["sleep", "1"])).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    service.finish().await;
}

#[tokio::test]
async fn without_its_supervisor_a_pod_is_ended_and_says_so() {
    let mut service = Service::start().await;
    let mut runtime = service.runtime().await;
    for restart in [false, true] {
        let sandbox = run_sandbox(&mut runtime, service.sandbox(&format!("orphan-{restart}"))).await;
        let id = create(&mut runtime, &sandbox, container("main", &["sleep", "1000"])).await.unwrap();
        start(&mut runtime, &id).await;
        let request = pb::PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose: true };
        let info = runtime.pod_sandbox_status(request.clone()).await.unwrap().into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
        let pid = nix::unistd::Pid::from_raw(info["pid"].as_i64().unwrap().try_into().unwrap());
        if restart {
            service.stop_process().await;
        }
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        if restart {
            service.start_process().await;
            runtime = service.runtime().await;
        }
        let ended = wait_until_exited(&mut runtime, &id).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
        for _ in 0..6000 {
            let status = runtime.pod_sandbox_status(request.clone()).await.unwrap().into_inner().status.unwrap();
            if status.state() == pb::PodSandboxState::SandboxNotready {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let stop = pb::StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() };
        runtime.stop_pod_sandbox(stop).await.unwrap();
    }
    service.finish().await;
}

#[tokio::test]
async fn a_service_that_dies_half_way_leaves_nothing() {
    for fault in ["sandbox.supervise:1=kill", "sandbox.shm:1=kill", "sandbox.attach:1=kill"] {
        let mut service = Service::start_with(&[("SKIFF_FAULT", fault)]).await;
        let request =
            pb::RunPodSandboxRequest { config: Some(service.sandbox("half")), runtime_handler: String::new() };
        service.runtime().await.run_pod_sandbox(request).await.unwrap_err();
        service.restart_after_its_death().await;
        let mut runtime = service.runtime().await;
        let list = runtime.list_pod_sandbox(pb::ListPodSandboxRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.items.len(), 0, "{fault}");
        service.finish().await;
    }
    for fault in
        ["container.rootfs:1=kill", "container.bundle:1=kill", "container.create:1=kill", "container.start:1=kill"]
    {
        let mut service = Service::start_with(&[("SKIFF_FAULT", fault)]).await;
        let mut runtime = service.runtime().await;
        let sandbox = run_sandbox(&mut runtime, service.sandbox("half")).await;
        let made = create(&mut runtime, &sandbox, container("main", &["sleep", "1000"])).await;
        if let Ok(id) = &made {
            let start = pb::StartContainerRequest { container_id: id.clone() };
            runtime.start_container(start).await.unwrap_err();
        }
        service.restart_after_its_death().await;
        let mut runtime = service.runtime().await;
        let list = runtime.list_containers(pb::ListContainersRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.containers.len(), usize::from(made.is_ok()), "{fault}");
        if let Ok(id) = made {
            // The start was never acknowledged, so it may be asked for again.
            start(&mut runtime, &id).await;
        }
        let list = runtime.list_pod_sandbox(pb::ListPodSandboxRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.items.len(), 1, "{fault}");
        service.finish().await;
    }
}

#[tokio::test]
async fn killed_among_many_starts_nothing_leaks() {
    let mut service = Service::start().await;
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (mut runtime, config) = (service.runtime().await, service.sandbox(&format!("many-{number}")));
        starts.spawn(async move {
            let request = pb::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
            let sandbox = runtime.run_pod_sandbox(request).await.ok()?.into_inner().pod_sandbox_id;
            let id = create(&mut runtime, &sandbox, container("main", &["sleep", "1000"])).await.ok()?;
            runtime.start_container(pb::StartContainerRequest { container_id: id.clone() }).await.ok()?;
            Some(id)
        });
    }
    // The first pod runs, the others are somewhere on the way.
    let first = starts.join_next().await.unwrap().unwrap().unwrap();
    service.kill_and_restart().await;
    let mut runtime = service.runtime().await;
    assert_eq!(status(&mut runtime, &first).await.state(), pb::ContainerState::ContainerRunning);
    let list = runtime.list_containers(pb::ListContainersRequest::default()).await.unwrap().into_inner();
    let mut sandboxes: Vec<_> = list.containers.iter().map(|container| &container.pod_sandbox_id).collect();
    sandboxes.sort();
    sandboxes.dedup();
    assert_eq!(sandboxes.len(), list.containers.len());
    service.finish().await;
}

#[tokio::test]
async fn failed_steps_are_undone_at_once() {
    for fault in ["sandbox.attach:1=error(5)", "sandbox.shm:1=error(28)"] {
        let service = Service::start_with(&[("SKIFF_FAULT", fault)]).await;
        let request =
            pb::RunPodSandboxRequest { config: Some(service.sandbox("undone")), runtime_handler: String::new() };
        let mut runtime = service.runtime().await;
        runtime.run_pod_sandbox(request.clone()).await.unwrap_err();
        runtime.run_pod_sandbox(request).await.unwrap();
        service.finish().await;
    }
}

#[tokio::test]
async fn images_and_the_node_describe_themselves() {
    let service = Service::start().await;
    let (mut runtime, mut images) = (service.runtime().await, service.images().await);
    let version = runtime.version(pb::VersionRequest::default()).await.unwrap().into_inner();
    assert_eq!((version.runtime_name.as_str(), version.runtime_api_version.as_str()), ("skiff", "v1"));
    let status = runtime.status(pb::StatusRequest { verbose: true }).await.unwrap().into_inner();
    assert!(status.status.unwrap().conditions.iter().all(|condition| condition.status));
    let image = Some(pb::ImageSpec { image: support::fakes::IMAGE.to_owned(), ..Default::default() });
    let found = images.image_status(pb::ImageStatusRequest { image, verbose: false }).await.unwrap().into_inner();
    assert_eq!(found.image.unwrap().username, "web");
    let absent = Some(pb::ImageSpec { image: "no/such".to_owned(), ..Default::default() });
    let found =
        images.image_status(pb::ImageStatusRequest { image: absent, verbose: false }).await.unwrap().into_inner();
    assert_eq!(found.image, None);
    let error = runtime.list_metric_descriptors(pb::ListMetricDescriptorsRequest {}).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    service.finish().await;
}
