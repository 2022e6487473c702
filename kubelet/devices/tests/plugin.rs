//! A plugin as others write it, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod gpus;

use gpus::{RESOURCE, device, plugin};
use skiff_csi::call::channel;
use skiff_csi::podresources::v1 as monitor;
use skiff_csi::podresources::v1::pod_resources_lister_client::PodResourcesListerClient;
use skiff_devices::{After, Asked, AskedContainer, Devices, PodNames};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;

fn kubelet(folder: &Path) -> (Devices, JoinHandle<()>) {
    let devices = Devices::open(folder).unwrap();
    let served = devices.clone();
    (devices, tokio::spawn(async move { skiff_devices::serve_registration(served).await.unwrap() }))
}

fn asked(pod: &str, count: u64) -> Asked {
    let limits = vec![(RESOURCE.to_owned(), count), ("example.com/unknown".to_owned(), 1)];
    let containers = vec![AskedContainer { name: "web".to_owned(), after: After::Kept, limits }];
    Asked { pod: pod.to_owned(), containers }
}

async fn until(devices: &Devices, capacity: usize, allocatable: usize) {
    let mut changes = devices.changes();
    let wait = async {
        while devices.figures().first().map(|it| (it.capacity, it.allocatable)) != Some((capacity, allocatable)) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the figures come");
}

#[tokio::test]
async fn devices_are_counted_and_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _server) = kubelet(folder.path());
    assert!(!devices.needs(&asked("u1", 1)), "nobody offers it yet");
    let (gpus, _plugin) = plugin(folder.path(), Some(RESOURCE)).await;
    until(&devices, 2, 2).await;
    assert!(devices.needs(&asked("u1", 1)) && !devices.needs(&asked("u1", 0)));
    devices.allocate(&asked("u1", 1)).await.unwrap();
    assert!(!devices.needs(&asked("u1", 1)));
    let options = devices.before_start("u1", "web").await.unwrap();
    assert_eq!(options.envs["GPUS"], "gpu1", "the one that the plugin prefers");
    assert_eq!(options.mounts["/gpu"].host_path, "/usr");
    assert_eq!(options.devices["/dev/gpu1"].permissions, "rw");
    assert_eq!(options.annotations["example.com/gpus"], "1");
    assert_eq!(options.cdi.into_iter().collect::<Vec<_>>(), ["example.com/gpu=gpu1"]);
    assert_eq!(*gpus.told.lock().unwrap(), ["allocate gpu1", "start gpu1"]);
    let refused = devices.allocate(&asked("u2", 2)).await.unwrap_err();
    assert_eq!(refused, "requested number of devices unavailable for example.com/gpu. Requested: 2, Available: 1");
    gpus.devices.send_replace(vec![
        device("gpu0", "Unhealthy"),
        device("gpu1", "Healthy"),
        device("broken", "Healthy"),
    ]);
    until(&devices, 3, 2).await;
    let refused = devices.allocate(&asked("u3", 1)).await.unwrap_err();
    assert_eq!(refused, "rpc error: code = Internal desc = no power");
    devices.release("u1");
    devices.allocate(&asked("u4", 1)).await.unwrap();
    gpus.devices.send_replace(vec![device("gpu1", "Unhealthy")]);
    until(&devices, 1, 0).await;
    assert!(!devices.healths("u4", "web")[0].healthy);
}

#[tokio::test]
async fn what_was_handed_out_outlives_a_restart_of_the_kubelet_and_a_plugin_may_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, server) = kubelet(folder.path());
    let (gpus, first) = plugin(folder.path(), Some(RESOURCE)).await;
    until(&devices, 2, 2).await;
    devices.allocate(&asked("u1", 1)).await.unwrap();
    server.abort();
    drop(devices);
    let (devices, _server) = kubelet(folder.path());
    assert!(!folder.path().join("gpu.sock").exists(), "by which the plugin sees that it has to come again");
    assert_eq!((devices.figures()[0].capacity, devices.needs(&asked("u1", 1))), (0, false));
    let refused = devices.allocate(&asked("u2", 1)).await.unwrap_err();
    assert_eq!(refused, "no healthy devices present; cannot allocate unhealthy devices example.com/gpu");
    assert_eq!(devices.before_start("u1", "web").await.unwrap().envs["GPUS"], "gpu1");
    let (again, second) = plugin(folder.path(), Some(RESOURCE)).await;
    until(&devices, 2, 2).await;
    first.abort();
    drop(gpus);
    let refused = devices.allocate(&asked("u2", 2)).await.unwrap_err();
    assert!(refused.ends_with("Requested: 2, Available: 1"), "{refused}");
    second.abort();
    again.devices.send_replace(Vec::new());
    until(&devices, 2, 0).await;
    let (_third, _plugin) = plugin(folder.path(), Some(RESOURCE)).await;
    until(&devices, 2, 2).await;
}

#[tokio::test]
async fn monitors_see_who_has_what() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _server) = kubelet(folder.path());
    let (_gpus, _plugin) = plugin(folder.path(), Some(RESOURCE)).await;
    until(&devices, 2, 2).await;
    devices.allocate(&asked("u1", 2)).await.unwrap();
    let path = folder.path().join("pod-resources").join("kubelet.sock");
    let pod = PodNames {
        namespace: "ns".to_owned(),
        name: "p".to_owned(),
        uid: "u1".to_owned(),
        containers: vec!["proxy".to_owned(), "web".to_owned()],
    };
    let (served, at) = (devices.clone(), path.clone());
    let pods = Box::new(move || vec![pod.clone()]);
    let _monitored = tokio::spawn(async move { skiff_devices::serve_listing(served, &at, pods).await });
    let mut client = PodResourcesListerClient::new(channel(&path));
    let mut list = client.list(monitor::ListPodResourcesRequest {}).await;
    for _ in 0..100 {
        if list.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        list = client.list(monitor::ListPodResourcesRequest {}).await;
    }
    let of = |containers: &[monitor::ContainerResources]| {
        let ids = |devices: &[monitor::ContainerDevices]| {
            let numa =
                |device: &monitor::ContainerDevices| device.topology.as_ref().map(|topology| topology.nodes[0].id);
            devices.iter().map(|device| (device.device_ids.join(","), numa(device))).collect::<Vec<_>>()
        };
        containers.iter().map(|container| (container.name.clone(), ids(&container.devices))).collect::<Vec<_>>()
    };
    let gpus = vec![("gpu0".to_owned(), Some(1)), ("gpu1".to_owned(), None)];
    let expected = vec![("proxy".to_owned(), Vec::new()), ("web".to_owned(), gpus.clone())];
    assert_eq!(of(&list.unwrap().into_inner().pod_resources[0].containers), expected);
    let get =
        |name: &str| monitor::GetPodResourcesRequest { pod_name: name.to_owned(), pod_namespace: "ns".to_owned() };
    let one = client.get(get("p")).await.unwrap().into_inner().pod_resources.unwrap();
    assert_eq!(of(&one.containers), expected);
    assert_eq!(client.get(get("q")).await.unwrap_err().message(), "pod q in namespace ns not found");
    let all = client.get_allocatable_resources(monitor::AllocatableResourcesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.devices.len(), 2);
}
