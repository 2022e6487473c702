//! What skopeo and umoci make, a pod runs.

use crate::support::{page, wanted, web};
use serde_json::json;
use skiff_harness::{Ended, Peer, TestNode, skiff};
use std::path::Path;

/// `skiff image` on the node's store.
fn image<S: AsRef<std::ffi::OsStr>>(node: &TestNode, words: impl IntoIterator<Item = S>) -> Ended {
    let mut command = skiff();
    command.arg("image").arg("--data-dir").arg(node.data()).arg("--run-dir").arg(node.run_dir()).args(words);
    command.output().unwrap().into()
}

/// A root file system with nothing but busybox and a page.
fn root(folder: &Path) {
    for name in ["bin", "www", "proc", "sys", "dev", "etc", "tmp"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", folder.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", folder.join("bin/sh")).unwrap();
    std::fs::write(folder.join("www/index.html"), "made by umoci\n").unwrap();
}

fn ok(peer: &Peer, words: &[&str]) {
    let ended: Ended = peer.run(words).into();
    assert_eq!(ended.code, 0, "{} {words:?}: {}", peer.path().display(), ended.err);
}

/// An OCI layout with one image, made by umoci from nothing.
fn layout(umoci: &Peer, folder: &Path) -> String {
    let layout = folder.join("layout").display().to_string();
    let image = format!("{layout}:latest");
    let bundle = folder.join("bundle").display().to_string();
    ok(umoci, &["init", "--layout", &layout]);
    ok(umoci, &["new", "--image", &image]);
    ok(umoci, &["unpack", "--image", &image, &bundle]);
    root(&folder.join("bundle/rootfs"));
    ok(umoci, &["repack", "--image", &image, &bundle]);
    let command =
        ["--config.cmd=/bin/busybox", "--config.cmd=httpd", "--config.cmd=-f", "--config.cmd=-p", "--config.cmd=8080"];
    ok(umoci, &[&["config", "--image", &image, "--config.workingdir=/www"][..], &command].concat());
    image
}

/// Runs the image, and asks for its page by the service.
fn serves(node: &TestNode, reference: &str) {
    let mut list = web(1);
    let template = &mut list["items"][0]["spec"]["template"]["spec"];
    template["containers"][0]["image"] = json!(reference);
    template["containers"][0]["imagePullPolicy"] = json!("Never");
    node.apply(&list.to_string());
    let pods = node.ready_pods("app=web", 1);
    let address = format!("{}:8080", pods[0]["status"]["podIP"].as_str().unwrap());
    let page = skiff_harness::eventually("the page is served", || page(node.holder(), &address));
    assert!(page.ends_with("\r\n\r\nmade by umoci\n"), "{page}");
    drop(node.skiff(["delete", "deployment", "web"]).ok());
}

#[test]
fn images_of_umoci_and_skopeo_run() {
    let (Some(umoci), Some(skopeo)) = (wanted("umoci"), wanted("skopeo-1.18")) else { return };
    let node = TestNode::up(&[]);
    let made = layout(&umoci, node.scratch());
    let at = |name: &str| node.scratch().join(name).display().to_string();
    let oci = format!("oci:{made}");
    ok(&skopeo, &["copy", "-q", &oci, &format!("docker-archive:{}:example.test/docker:1", at("docker.tar"))]);
    ok(&skopeo, &["copy", "-q", &oci, &format!("oci-archive:{}:example.test/oci:1", at("oci.tar"))]);
    let known = image(&node, ["import", &at("docker.tar")]).ok();
    assert!(known.contains("example.test/docker:1"), "{known}");
    drop(image(&node, ["import", &at("oci.tar"), "--name", "example.test/oci:1"]).ok());
    drop(image(&node, ["import", &at("layout"), "--name", "example.test/layout:1"]).ok());
    for reference in ["example.test/docker:1", "example.test/oci:1", "example.test/layout:1"] {
        let list = image(&node, ["list"]).ok();
        assert!(list.contains(reference), "{reference} is not in:\n{list}");
        serves(&node, reference);
    }
    drop(image(&node, ["rm", "example.test/oci:1"]).ok());
    assert!(!image(&node, ["list"]).ok().contains("example.test/oci:1"));
    node.down();
}

#[test]
fn what_is_no_image_is_refused() {
    let node = TestNode::up(&[]);
    let file = node.scratch().join("not-an-image.tar");
    std::fs::write(&file, "hello").unwrap();
    let said = image(&node, ["import".as_ref(), file.as_os_str()]).refused();
    assert!(said.starts_with("skiff: import ") && said.contains("not-an-image.tar"), "{said}");
    let said = image(&node, ["import", "/nowhere.tar"]).refused();
    assert!(said.contains("/nowhere.tar") && said.contains("o such file"), "{said}");
    let said = image(&node, ["rm", "example.test/nobody:1"]).refused();
    assert!(said.contains("no such image"), "{said}");
    node.down();
}
