//! CNI: what plugins are told, what happens when they fail, and the reference plugins themselves.

mod support;

use skiff_net::{CniConfig, NetConfig, NetError, PodNetwork, PodNetworks, PortMapping, Protocol};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::Namespace;

/// Writes what it was told beside itself, and answers an address (ADD) or fails if there is a file `fail`.
const RECORDER: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$(basename "$0") $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $(cat)" >> "$here/log"
if [ -e "$here/fail" ] && [ "$CNI_COMMAND" = ADD ]; then
    echo '{"cniVersion":"1.0.0","code":11,"msg":"not today","details":"come back later"}'; exit 1
fi
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}'
exit 0
"#;

/// Where Debian's package containernetworking-plugins puts the reference plugins.
const REFERENCE_PLUGINS: &str = "/usr/lib/cni";

fn networks(folder: &Path, conflist: &str, bin: PathBuf) -> PodNetworks {
    let conf_dir = folder.join("net.d");
    fs::create_dir_all(&conf_dir).expect("a folder");
    fs::write(conf_dir.join("10-test.conflist"), conflist).expect("written");
    let config = NetConfig {
        state_dir: folder.join("state"),
        pod_cidr: "10.99.0.0/24".to_owned(),
        cluster_cidr: None,
        service_cidr: None,
        bridge: "skt0".to_owned(),
        interface_prefix: "skt".to_owned(),
        cni: Some(CniConfig { conf_dir, bin_dirs: vec![bin] }),
        masquerade: true,
        table: "skiff-test".to_owned(),
        engine: skiff_step::Engine::off(),
    };
    PodNetworks::new(config).expect("the configuration is good")
}

fn pod(netns: PathBuf) -> PodNetwork {
    let mapping = PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port: 8080, host_ip: None };
    PodNetwork {
        sandbox_id: "sandbox-1".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        uid: "uid-1".to_owned(),
        netns,
        port_mappings: vec![mapping],
    }
}

fn recorders(folder: &Path) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    for name in ["first", "second"] {
        fs::write(bin.join(name), RECORDER).expect("written");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("executable");
    }
    bin
}

const TWO: &str = r#"{"cniVersion":"1.0.0","name":"two","plugins":[{"type":"first"},
    {"type":"second","capabilities":{"portMappings":true}}]}"#;

#[test]
fn plugins_are_chained_forwards_and_undone_backwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = recorders(folder.path());
    let (networks, node, inside) = (networks(folder.path(), TWO, bin.clone()), Namespace::new(), Namespace::new());
    let (asked, again) = (pod(inside.path()), networks.clone());
    let attached = node.block_on(async move { again.attach(&asked).await }).expect("attached");
    assert_eq!(attached.ips, ["10.1.2.3".parse::<std::net::IpAddr>().expect("an address")]);
    // The configuration goes away; DEL is owed all the same, also by a new process.
    fs::remove_file(folder.path().join("net.d/10-test.conflist")).expect("it was there");
    node.block_on(async move { networks.retain(&[]).await }).expect("the dead are freed");
    let log = fs::read_to_string(bin.join("log")).expect("the plugins wrote it");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}");
    assert!(lines[0].starts_with("first ADD sandbox-1 eth0 ") && lines[0].contains("K8S_POD_NAME=web;"), "{log}");
    assert!(!lines[0].contains("prevResult") && !lines[0].contains("runtimeConfig"), "{log}");
    assert!(lines[1].starts_with("second ADD ") && lines[1].contains(r#""prevResult":{"#), "{log}");
    assert!(lines[1].contains(r#""hostPort":8080"#), "{log}");
    assert!(lines[2].starts_with("second DEL ") && lines[2].contains("10.1.2.3"), "{log}");
    assert!(lines[3].starts_with("first DEL "), "{log}");
    assert!(inside.command("ip -br link show lo").contains("UP"), "loopback is brought up for the plugins");
}

#[test]
fn a_plugin_that_fails_is_quoted_and_what_was_done_is_undone() {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = recorders(folder.path());
    fs::write(bin.join("fail"), "").expect("written");
    let (networks, node, inside) = (networks(folder.path(), TWO, bin.clone()), Namespace::new(), Namespace::new());
    let asked = pod(inside.path());
    let error = node.block_on(async move { networks.attach(&asked).await }).expect_err("it fails");
    assert!(matches!(error, NetError::Plugin { .. }));
    let text = error.to_string();
    assert!(text.contains("\"first\": ADD: not today: come back later (code 11)"), "{text}");
    assert_eq!(fs::read_to_string(bin.join("log")).expect("a log").matches(" DEL ").count(), 2);
    assert_eq!(fs::read_dir(folder.path().join("state/cni")).expect("it is there").count(), 0);
}

#[test]
fn the_reference_plugins_make_a_network() {
    let bin = std::env::var_os("SKIFF_TEST_CNI_BIN").map_or_else(|| PathBuf::from(REFERENCE_PLUGINS), PathBuf::from);
    if !bin.join("bridge").exists() {
        eprintln!("SKIPPED: cni: no reference plugins in {} (package containernetworking-plugins)", bin.display());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let list = format!(
        r#"{{"cniVersion":"1.0.0","name":"reference","plugins":[{{"type":"bridge","bridge":"skt1","isGateway":true,
        "ipMasq":false,"ipam":{{"type":"host-local","dataDir":"{}","ranges":[[{{"subnet":"10.97.0.0/24"}}]],
        "routes":[{{"dst":"0.0.0.0/0"}}]}}}}]}}"#,
        folder.path().join("host-local").display()
    );
    let (networks, node, inside) = (networks(folder.path(), &list, bin), Namespace::new(), Namespace::new());
    let (asked, again) = (pod(inside.path()), networks.clone());
    let attached = node.block_on(async move { again.attach(&asked).await }).expect("attached");
    inside.serve_tcp("web", 80);
    assert_eq!(node.ask_tcp(&format!("{}:80", attached.ips[0])).expect("it answers"), "web 10.97.0.1");
    // Asked again, CHECK says that all is well, and the address is the same.
    let (asked, again) = (pod(inside.path()), networks.clone());
    assert_eq!(node.block_on(async move { again.attach(&asked).await }).expect("attached"), attached);
    let asked = pod(inside.path());
    node.block_on(async move { networks.detach(&asked).await }).expect("detached");
    assert!(!inside.command("ip -br link").contains("eth0"));
}
