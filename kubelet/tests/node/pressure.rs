//! A node that runs short of space.

use super::*;

/// Does `test` on a thread where a small filesystem stands at the pods' folder, for nobody else to see.
fn on_a_small_disk<T: Future<Output = ()>>(test: impl FnOnce(Bench) -> T + Send + 'static) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let tested = std::thread::spawn(|| {
        let none = None::<&str>;
        let private = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none));
        if private.is_err() {
            return eprintln!("SKIPPED: a_pod_that_fills_the_disk_is_evicted: a small filesystem takes root");
        }
        // Its threads are begun by this one and so see the same mounts.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let pods = bench.folder.path().join("pods");
            std::fs::create_dir_all(&pods).unwrap();
            mount(Some("tmpfs"), &pods, Some("tmpfs"), MsFlags::empty(), Some("size=16m")).unwrap();
            test(bench).await;
            nix::mount::umount2(&pods, nix::mount::MntFlags::MNT_DETACH).unwrap();
        });
    });
    tested.join().unwrap();
}

/// Fault N2: the node says that it is short of space, lets the pod go that takes it, and takes no new one until there is space.
#[test]
fn a_pod_that_fills_the_disk_is_evicted() {
    on_a_small_disk(|mut bench| async move {
        bench.pressure.thresholds = "nodefs.available<50%".parse().unwrap();
        // Longer than the node takes to say so.
        bench.pressure.transition = Duration::from_secs(25);
        let (_shutdown, _task) = bench.kubelet().await;
        let spec =
            json!({"containers": [{"name": "web", "image": "img:1"}], "volumes": [{"name": "v", "emptyDir": {}}]});
        let uid = bench.create("greedy", spec.clone()).await.metadata.uid.unwrap();
        bench.create("modest", spec.clone()).await;
        for name in ["greedy", "modest"] {
            bench.wait(name, "ran", |pod| phase(pod) == "Running").await;
        }
        let file = bench.folder.path().join("pods").join(uid).join("volumes/v/file");
        std::fs::write(&file, vec![1; 10 << 20]).unwrap();
        let gone = bench.wait("greedy", "went", |pod| phase(pod) == "Failed").await.status.unwrap();
        assert_eq!(gone.reason.as_deref(), Some("Evicted"));
        let message = gone.message.unwrap();
        let begun = "The node was low on resource: ephemeral-storage. Threshold quantity: 8Mi, available: ";
        assert!(message.starts_with(begun), "{message}");
        assert!(bench.reasons().await.contains(&"Evicted".to_owned()));
        let nodes: Api<Node> = Api::all(bench.client.clone());
        let says = async |status: &str| {
            let node = nodes.get("n1").await.unwrap().status.unwrap().conditions.unwrap();
            node.iter().any(|of| of.type_ == "DiskPressure" && of.status == status)
        };
        let wait = async |status: &str| {
            let started = Instant::now();
            while !says(status).await {
                assert!(started.elapsed() < PATIENCE, "DiskPressure never became {status}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        wait("True").await;
        bench.create("new", spec).await;
        let refused = bench.wait("new", "was turned away", |pod| phase(pod) == "Failed").await.status.unwrap();
        let wanted = Some("Pod was rejected: The node had condition: [DiskPressure]. ");
        assert_eq!((refused.reason.as_deref(), refused.message.as_deref()), (Some("Evicted"), wanted));
        assert!(!file.exists(), "what it took is free again");
        wait("False").await;
        assert_eq!(phase(&bench.pods().get("modest").await.unwrap()), "Running", "one was enough");
    });
}
