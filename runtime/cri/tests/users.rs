//! A pod with users of its own: root inside is somebody without rights on the host, and the host's files are not theirs.
//!
//! With our OCI runtime only (`SKIFF_TEST_OCI_RUNTIME`): runc looks for the root file system by its path as the pod's root, who may not pass the
//! service's folders. `tests/cluster/users.rs` has the same on a whole node.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_proto::cri::v1 as pb;
use std::os::unix::fs::MetadataExt;
use support::calls::{Runtime, create, exec, run_sandbox, start, status};
use support::{Service, container};

/// Who root of the pod is on the host.
const ROOT: u32 = 196_608;

fn users() -> pb::UserNamespace {
    let map = vec![pb::IdMapping { host_id: ROOT, container_id: 0, length: 65_536 }];
    pb::UserNamespace { mode: pb::NamespaceMode::Pod.into(), uids: map.clone(), gids: map }
}

/// A pod whose users are its own or, as a control, the host's.
fn pod(service: &Service, name: &str, users: Option<pb::UserNamespace>) -> pb::PodSandboxConfig {
    let namespaces = pb::NamespaceOption { userns_options: users, ..Default::default() };
    let security = pb::LinuxSandboxSecurityContext { namespace_options: Some(namespaces), ..Default::default() };
    let linux = pb::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    pb::PodSandboxConfig { linux: Some(linux), ..service.sandbox(name) }
}

/// Whether the runtime takes the root file system by a descriptor.
fn has_our_runtime() -> bool {
    let named = std::env::var("SKIFF_TEST_OCI_RUNTIME").unwrap_or_default();
    let is_ours = named.ends_with("skiff-oci");
    if !is_ours {
        println!("skipped: the OCI runtime is not skiff-oci");
    }
    is_ours
}

async fn text(runtime: &mut Runtime, id: &str, script: &str) -> String {
    let said = exec(runtime, id, &["/bin/sh", "-c", script]).await;
    assert_eq!(said.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// The container's first process, by what its status says on request.
async fn host_uid(runtime: &mut Runtime, id: &str) -> u32 {
    let request = pb::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let info = runtime.container_status(request).await.unwrap().into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    std::fs::metadata(format!("/proc/{}", info["pid"])).unwrap().uid()
}

/// A folder that only root of the host may look into.
fn secret(service: &Service) -> pb::Mount {
    use std::os::unix::fs::PermissionsExt;
    let folder = service.dir.path().join("secret");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), "root's").unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let host_path = folder.to_string_lossy().into_owned();
    pb::Mount { container_path: "/secret".to_owned(), host_path, ..Default::default() }
}

async fn running(service: &Service, name: &str, users: Option<pb::UserNamespace>, pid: pb::NamespaceMode) -> String {
    let mut runtime = service.runtime().await;
    let mut config = pod(service, name, users);
    let options = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    options.namespace_options.as_mut().unwrap().pid = pid.into();
    let sandbox = run_sandbox(&mut runtime, config).await;
    let mut main = container("main", &["/bin/sh", "-c", "echo out > /dev/stdout; exec sleep 1000"]);
    main.mounts.push(secret(service));
    let security = main.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    security.namespace_options.as_mut().unwrap().pid = pid.into();
    let id = create(&mut runtime, &sandbox, main).await.unwrap();
    start(&mut runtime, &id).await;
    id
}

#[tokio::test]
async fn root_of_a_pod_is_nobody_on_the_host() {
    if !has_our_runtime() {
        return;
    }
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let own = running(&service, "own", Some(users()), pb::NamespaceMode::Container).await;
    let control = running(&service, "control", None, pb::NamespaceMode::Container).await;
    assert_eq!(
        text(&mut runtime, &own, "id -u; cat /proc/self/uid_map").await,
        format!("0\n         0     {ROOT}      65536")
    );
    assert_eq!(text(&mut runtime, &control, "id -u").await, "0");
    assert_eq!((host_uid(&mut runtime, &own).await, host_uid(&mut runtime, &control).await), (ROOT, 0));

    // The image's files are root's, and what is written is the pod's on the host.
    text(&mut runtime, &own, "echo here > /written; test -O /etc/passwd; echo x >> /etc/passwd; echo y >> /etc/hosts")
        .await;
    let upper = service.dir.path().join("snapshots").join(&own).join("upper");
    let owner = |name: &str| std::fs::metadata(upper.join(name)).unwrap().uid();
    assert_eq!((owner("written"), owner("etc/passwd")), (ROOT, ROOT));
    assert_eq!(std::fs::metadata(service.dir.path().join("rootfs/etc/passwd")).unwrap().uid(), 0);

    // What is root's on the host is not theirs, unless the mount is mapped.
    let secret = "cat /secret/file";
    assert_eq!(text(&mut runtime, &control, secret).await, "root's");
    assert_ne!(exec(&mut runtime, &own, &["/bin/sh", "-c", secret]).await.exit_code, 0);
    service.finish().await;
}

#[tokio::test]
async fn a_pid_namespace_and_a_restart_keep_the_users() {
    if !has_our_runtime() {
        return;
    }
    let mut service = Service::start().await;
    let id = running(&service, "shared", Some(users()), pb::NamespaceMode::Pod).await;
    service.kill_and_restart().await;
    let mut runtime = service.runtime().await;
    assert_eq!(status(&mut runtime, &id).await.state(), pb::ContainerState::ContainerRunning);
    assert_eq!(text(&mut runtime, &id, "id -u; cat /proc/1/cmdline > /dev/null").await, "0");
    let sandbox =
        runtime.list_pod_sandbox(pb::ListPodSandboxRequest::default()).await.unwrap().into_inner().items.remove(0).id;
    let second = create(&mut runtime, &sandbox, container("second", &["/bin/sleep", "1000"])).await.unwrap();
    start(&mut runtime, &second).await;
    assert_eq!(host_uid(&mut runtime, &second).await, ROOT);
    let request = pb::PodSandboxStatusRequest { pod_sandbox_id: sandbox, verbose: false };
    let status = runtime.pod_sandbox_status(request).await.unwrap().into_inner().status.unwrap();
    let options = status.linux.unwrap().namespaces.unwrap().options.unwrap();
    assert_eq!(options.userns_options, Some(users()));
    service.finish().await;
}

#[tokio::test]
async fn a_container_has_the_users_of_its_pod() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, pod(&service, "own", Some(users()))).await;
    let mut other = container("other", &["sleep"]);
    let security = other.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    let on_host = pb::UserNamespace { mode: pb::NamespaceMode::Node.into(), ..Default::default() };
    security.namespace_options.as_mut().unwrap().userns_options = Some(on_host);
    let refused = create(&mut runtime, &sandbox, other).await.unwrap_err();
    assert_eq!(refused.message(), "userns_options: they are not those of the sandbox");
    service.finish().await;
}
