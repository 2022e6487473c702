//! Namespaces, their users, clocks and interfaces (runtime-spec config-linux, Namespaces to Network Devices).

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use support::{Bundle, wait_until};

/// Every kind, with the specification's name and that of its file.
const KINDS: &[(&str, &str)] = &[
    ("mount", "mnt"),
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];
const MAPPED: u32 = 200_000;

fn of(pid: i64, file: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string()
}

fn own(file: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{file}")).unwrap().display().to_string()
}

fn map_users(config: &mut Value) {
    let maps = json!([{"containerID": 0, "hostID": MAPPED, "size": 1000}]);
    config["linux"]["uidMappings"] = maps.clone();
    config["linux"]["gidMappings"] = maps;
}

/// A started container with all kinds of namespaces.
fn with_everything() -> Bundle {
    let bundle = Bundle::new("sleep 60", |c| {
        map_users(c);
        c["linux"]["namespaces"] = KINDS.iter().map(|(name, _)| json!({"type": name})).collect();
    });
    bundle.start();
    bundle
}

fn pid(bundle: &Bundle) -> i64 {
    bundle.state()["pid"].as_i64().unwrap()
}

#[test]
fn every_kind_can_be_made() {
    let bundle = with_everything();
    for (name, file) in KINDS {
        assert_ne!(of(pid(&bundle), file), own(file), "{name}");
    }
}

#[test]
fn every_kind_can_be_entered_and_exec_enters_all() {
    let first = with_everything();
    let target = pid(&first);
    let second = Bundle::new("sleep 60", |c| {
        map_users(c);
        c.as_object_mut().unwrap().remove("hostname");
        let path = |file: &str| format!("/proc/{target}/ns/{file}");
        let entered = KINDS.iter().filter(|(name, _)| *name != "mount");
        let mut namespaces: Vec<_> = entered.map(|(name, file)| json!({"type": name, "path": path(file)})).collect();
        namespaces.push(json!({"type": "mount"}));
        c["linux"]["namespaces"] = json!(namespaces);
    });
    second.start();
    for (name, file) in KINDS.iter().filter(|(name, _)| *name != "mount") {
        assert_eq!(of(pid(&second), file), of(target, file), "{name}");
    }
    let script = "for n in mnt pid net ipc uts user cgroup time; do readlink /proc/self/ns/$n; done";
    let out = second.oci(&["exec", &second.id, "sh", "-c", script]).ok();
    let expected: Vec<_> = KINDS.iter().map(|(_, file)| of(pid(&second), file)).collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_mount_namespace_is_entered_by_path() {
    let mut holder = support::holder(&["unshare", "-m", "--propagation", "private", "sleep", "60"]);
    let path = format!("/proc/{}/ns/mnt", holder.id());
    wait_until("a namespace", || fs::read_link(&path).is_ok_and(|link| link != own("mnt")));
    let bundle = Bundle::new("readlink /proc/self/ns/mnt; ls /bin/busybox", |c| {
        c["linux"]["namespaces"] = json!([{"type": "mount", "path": path}, {"type": "pid"}, {"type": "uts"}]);
    });
    let expected = fs::read_link(&path).unwrap().display().to_string();
    assert_eq!(bundle.run().ok(), format!("{expected}\n/bin/busybox\n"));
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_path_that_is_no_such_namespace_is_an_error() {
    for (path, reason) in
        [("/proc/self/ns/uts", "Invalid argument"), ("/bin/busybox", "Invalid argument"), ("/nowhere", "No such file")]
    {
        let bundle = Bundle::new("true", |c| {
            c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": path}]);
        });
        let said = bundle.run();
        assert!(said.code == 1 && said.err.contains("ns.join") && said.err.contains(reason), "{said:?}");
    }
}

#[test]
fn what_is_not_named_is_the_runtimes() {
    let bundle = Bundle::new("for n in pid net ipc uts user cgroup time; do readlink /proc/self/ns/$n; done", |c| {
        c["linux"]["namespaces"] = json!([{"type": "mount"}]);
        c.as_object_mut().unwrap().remove("hostname");
    });
    let expected: Vec<_> = KINDS[1..].iter().map(|(_, file)| own(file)).collect();
    assert_eq!(bundle.run().ok().lines().collect::<Vec<_>>(), expected);
}

/// What `config.json` says that asks for nothing of Linux.
fn plain(c: &mut Value) {
    for name in ["linux", "mounts", "hostname"] {
        c.as_object_mut().unwrap().remove(name);
    }
}

/// The same with a cgroup of a known name, and `namespaces`, of which none is of mounts.
fn share_mounts(c: &mut Value, namespaces: Value) {
    let cgroup = c["linux"]["cgroupsPath"].clone();
    plain(c);
    c["linux"] = json!({"cgroupsPath": cgroup, "namespaces": namespaces});
}

fn mounts_below(bundle: &Bundle) -> Vec<String> {
    let path = bundle.path().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&path)).map(str::to_owned).collect()
}

/// Fault O8: every namespace that is not named is the runtime's, that of the mounts too; the root is the container's all the same.
#[test]
fn without_a_mount_namespace_a_container_has_a_root_and_changes_no_mount() {
    for namespaces in [json!([]), json!([{"type": "pid"}, {"type": "network"}]), json!([{"type": "time"}])] {
        let bundle = Bundle::new("pwd; ls /; echo end; sleep 60", |c| share_mounts(c, namespaces.clone()));
        bundle.start();
        wait_until("output", || bundle.output().contains("end"));
        assert_eq!(bundle.output(), "/\nbin\ndev\netc\nproc\nsys\ntmp\nend\n", "{namespaces}");
        let root = format!("/proc/{}/root", pid(&bundle));
        assert_eq!(fs::read_link(root).unwrap(), bundle.rootfs().canonicalize().unwrap());
        for (name, file) in KINDS {
            let is_made = namespaces.as_array().unwrap().iter().any(|namespace| namespace["type"] == *name);
            assert_eq!(of(pid(&bundle), file) != own(file), is_made, "{namespaces}: {name}");
        }
        let joined = bundle.oci(&["exec", "--cwd", "/tmp", &bundle.id, "sh", "-c", "pwd; ls /; ls /../.."]).ok();
        assert_eq!(joined, format!("/tmp\n{0}{0}", "bin\ndev\netc\nproc\nsys\ntmp\n"), "{namespaces}");
        assert_eq!(mounts_below(&bundle), Vec::<String>::new());
        assert_eq!(bundle.state()["status"], "running");
        bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
        wait_until("its end", || bundle.state()["status"] == "stopped");
        bundle.oci(&["delete", &bundle.id]).ok();
        assert_eq!(mounts_below(&bundle), Vec::<String>::new());
    }
}

/// Fault O8: who runs `exec` from other mounts than `create` arrives in the container's root too.
#[test]
fn exec_from_other_mounts_arrives_in_the_root_of_a_container_without_a_mount_namespace() {
    let bundle = Bundle::new("sleep 60", |c| share_mounts(c, json!([])));
    bundle.start();
    let oci = env!("CARGO_BIN_EXE_skiff-oci");
    let mut command = std::process::Command::new("unshare");
    let root = bundle.root();
    command.args(["-m", oci, "--root", root.to_str().unwrap(), "exec", &bundle.id, "ls", "/"]);
    assert_eq!(support::Said::of(command.output().unwrap()).ok(), "bin\ndev\netc\nproc\nsys\ntmp\n");
}

/// Fault O8, and CVE-2024-21626: no descriptor leads out of a root that is no mount, not with the host's procfs in it either.
#[test]
fn no_descriptor_leads_out_of_a_root_without_a_mount_namespace() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    for number in 3..20 {
        let bundle = Bundle::new("", |c| {
            share_mounts(c, json!([]));
            c["process"]["args"] = json!(["busybox", "pwd"]);
            c["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        });
        let procfs = bundle.rootfs().join("proc");
        mount(Some("proc"), &procfs, Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
        let said = bundle.run();
        umount2(&procfs, MntFlags::MNT_DETACH).unwrap();
        assert!(said.code == 1 || said.out == "/\n", "{number}: {said:?}");
    }
    let bundle = Bundle::new("sleep 60", |c| share_mounts(c, json!([])));
    bundle.start();
    wait_until("the program", || fs::read_dir(format!("/proc/{}/fd", pid(&bundle))).unwrap().count() == 3);
}

/// Fault O8.
#[test]
fn what_needs_a_mount_namespace_is_refused_without_one() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change)] = &[
        ("mounts", |c| c["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}])),
        ("root.readonly", |c| c["root"]["readonly"] = json!(true)),
        ("process.terminal", |c| c["process"]["terminal"] = json!(true)),
        ("linux.maskedPaths", |c| c["linux"]["maskedPaths"] = json!(["/etc"])),
        ("linux.readonlyPaths", |c| c["linux"]["readonlyPaths"] = json!(["/etc"])),
        ("linux.rootfsPropagation", |c| c["linux"]["rootfsPropagation"] = json!("private")),
    ];
    for (field, change) in cases {
        let bundle = Bundle::new("true", |c| {
            share_mounts(c, json!([]));
            change(c);
        });
        let said = bundle.run();
        let words = format!("{field}: without a mount namespace the host's mounts would change");
        assert!(said.code == 1 && said.err.contains(&words), "{said:?}");
    }
    let bundle = Bundle::new("true", |c| {
        share_mounts(c, json!([]));
        c["root"]["path"] = json!("host");
    });
    std::os::unix::fs::symlink("/", bundle.path().join("host")).unwrap();
    let said = bundle.run();
    assert!(said.code == 1 && said.err.contains("root.path: is the host's root"), "{said:?}");
    let bundle = Bundle::new("true", |c| {
        share_mounts(c, json!([{"type": "user"}]));
        map_users(c);
    });
    let said = bundle.run();
    assert!(said.err.contains("linux.namespaces: a user namespace needs a mount namespace too"), "{said:?}");
}

/// Fault O8: no `linux` is one with nothing in it.
#[test]
fn without_an_object_for_linux_everything_is_the_runtimes() {
    let bundle = Bundle::new("ls /; sleep 60", plain);
    bundle.start();
    wait_until("output", || bundle.output().contains("tmp"));
    for (name, file) in KINDS {
        assert_eq!(of(pid(&bundle), file), own(file), "{name}");
    }
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", pid(&bundle))).unwrap();
    assert!(cgroups.contains(&format!(":/skiff-oci/{}", bundle.id)), "{cgroups}");
    assert_eq!(bundle.oci(&["exec", &bundle.id, "ls", "/"]).ok(), "bin\ndev\netc\nproc\nsys\ntmp\n");
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(mounts_below(&bundle), Vec::<String>::new());
}

#[test]
fn names_of_the_host_are_the_containers() {
    let bundle = Bundle::new("hostname; cat /proc/sys/kernel/domainname", |c| c["domainname"] = json!("example.org"));
    assert_eq!(bundle.run().ok(), "box\nexample.org\n");
}

#[test]
fn maps_have_many_lines() {
    let bundle = Bundle::new("cat /proc/self/uid_map | tr -s ' '; wc -l < /proc/self/gid_map", |c| {
        let line = |index: u32| json!({"containerID": index * 10, "hostID": MAPPED + index * 100, "size": 10});
        c["linux"]["uidMappings"] = (0..50).map(line).collect();
        c["linux"]["gidMappings"] = (0..200).map(line).collect();
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    });
    bundle.applet("tr");
    let out = bundle.run().ok();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((lines.len(), lines[50]), (51, "200"));
    assert_eq!(lines[49], " 490 204900 10");
}

#[test]
fn clocks_are_offset_with_and_without_users() {
    let uptime = || fs::read_to_string("/proc/uptime").unwrap().split('.').next().unwrap().parse::<i64>().unwrap();
    for has_users in [false, true] {
        let bundle = Bundle::new("cat /proc/uptime; cat /proc/self/timens_offsets | tr -s ' '; sleep 60", |c| {
            let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({"type": "time"}));
            if has_users {
                namespaces.push(json!({"type": "user"}));
                map_users(c);
            }
            c["linux"]["timeOffsets"] =
                json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": -1}});
        });
        bundle.applet("tr");
        bundle.start();
        wait_until("output", || bundle.output().lines().count() == 3);
        let out = bundle.output();
        let inside: i64 = out.split('.').next().unwrap().parse().unwrap();
        let offset = inside - uptime();
        assert!((999_000..=1_000_001).contains(&offset), "{offset}");
        assert!(out.contains("monotonic -1 0\nboottime 1000000 5\n"), "{out}");
        assert_eq!(of(pid(&bundle), "time"), of(pid(&bundle), "time_for_children"));
    }
}

#[test]
fn a_pid_namespace_of_somebody_else_shows_with_users_of_ones_own() {
    // The new users may not mount a procfs of the host's processes, so they get the host's (as with crun).
    let bundle = Bundle::new("test -e /proc/1/status && head -c 5 /proc/uptime > /dev/null && echo seen", |c| {
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}, {"type": "user"}]);
        map_users(c);
        let sysfs = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]});
        c["mounts"].as_array_mut().unwrap().push(sysfs);
    });
    bundle.applet("test");
    bundle.applet("head");
    assert_eq!(bundle.run().ok(), "seen\n");
}

#[test]
fn parameters_of_the_containers_namespaces_are_set_and_the_hosts_stay() {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
    let before = (read("kernel/shmmax"), read("fs/mqueue/msg_max"));
    let script = "cat /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname";
    for has_users in [false, true] {
        let bundle = Bundle::new(script, |c| {
            if has_users {
                c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
                map_users(c);
            }
            c["linux"]["sysctl"] = json!({"kernel.shmmax": "7340032", "fs.mqueue.msg_max": "5", "net/ipv4/ip_forward": "1",
                                          "kernel.domainname": "here"});
        });
        assert_eq!(bundle.run().ok(), "7340032\n5\n1\nhere\n", "{has_users}");
    }
    assert_eq!((read("kernel/shmmax"), read("fs/mqueue/msg_max")), before);
}

/// Runs the runtime in a network namespace with dummy interfaces, so that this host's own stay untouched.
fn in_own_network(bundle: &Bundle, setup: &str) -> support::Said {
    let oci = env!("CARGO_BIN_EXE_skiff-oci");
    let script = format!("{setup}\nexec {oci} --root {} run {}", bundle.root().display(), bundle.id);
    let mut command = std::process::Command::new("unshare");
    command.args(["-n", "sh", "-ec", &script]).current_dir(bundle.path());
    support::Said::of(command.output().unwrap())
}

#[test]
fn interfaces_move_in_with_name_addresses_and_state() {
    if !support::has_program("ip") {
        return support::skipped("interfaces_move_in_with_name_addresses_and_state", "no `ip` here");
    }
    let script = "ip -o link show eth9 | grep -o 'mtu 1400'; ip -o link show eth9 | grep -o ',UP'; \
                  ip -o addr show eth9 | grep -o 'inet6* [^ ]*' | grep -v fe80; ip -o link | wc -l; ls /sys/class/net/num0 -d; \
                  ip -o link show lo | grep -c LOOPBACK";
    let bundle = Bundle::new(script, |c| {
        c["mounts"].as_array_mut().unwrap().push(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}));
        c["linux"]["netDevices"] = json!({"dummy0": {"name": "eth9"}, "dummy1": {"name": "num%d"}});
    });
    bundle.applet("ip");
    let setup = "ip link add dummy0 type dummy; ip link add dummy1 type dummy; ip link set dummy0 mtu 1400\n\
                 ip addr add 10.9.8.7/24 dev dummy0; ip addr add fd00::7/64 dev dummy0\n\
                 ip addr add 10.9.9.9/32 dev dummy0 scope link";
    let said = in_own_network(&bundle, setup);
    if said.err.contains("Unknown device type") || said.err.contains("not supported") {
        return support::skipped("interfaces_move_in_with_name_addresses_and_state", "no dummy interfaces here");
    }
    assert_eq!(said.ok(), "mtu 1400\n,UP\ninet 10.9.8.7/24\ninet6 fd00::7/64\n3\n/sys/class/net/num0\n1\n");
}

#[test]
fn an_interface_that_is_missing_or_whose_name_is_taken_is_an_error() {
    let devices = |names: Value| Bundle::new("true", |c| c["linux"]["netDevices"] = names);
    let said = devices(json!({"nonesuch": {}})).run();
    assert!(said.code == 1 && said.err.contains("net.move nonesuch as nonesuch: No such device"), "{said:?}");
    let refused = Bundle::new("true", |c| {
        c["linux"]["netDevices"] = json!({"eth0": {}});
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
    });
    assert!(refused.run().err.contains("linux.netDevices.eth0: needs a network namespace"));
    if support::has_program("ip") {
        let said =
            in_own_network(&devices(json!({"dummy0": {"name": "lo"}})), "ip link add dummy0 type dummy || exit 0");
        assert!(said.err.contains("File exists") || said.err.contains("Unknown device type"), "{said:?}");
    }
}
