//! What is refused says which value and which rule; what every runtime takes is taken.

#![allow(clippy::unwrap_used)] // what may fail here fails the test

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use support::{Bundle, is_unified};

type Change = fn(&mut Value);

/// What `run` says of a container with `change`, which it must not run.
fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let bundle = Bundle::new("true", change);
    fs::write(bundle.rootfs().join("etc/file"), "").unwrap();
    let said = bundle.run();
    assert_eq!(said.code, 1, "{said:?}");
    said.err
}

fn mount(c: &mut Value, mount: Value) {
    c["mounts"].as_array_mut().unwrap().push(mount);
}

/// Fault O14.
#[test]
fn the_culprit_is_named() {
    let cases: &[(&[&str], Change)] = &[
        (&["executable file not found in $PATH", "process.args[0] is empty"], |c| c["process"]["args"] = json!([""])),
        (&["mount.attach /etc/file", "the source /tmp is a directory", "is a file"], |c| {
            mount(c, json!({"destination": "/etc/file", "source": "/tmp", "options": ["bind"]}));
        }),
        (&["mount.attach /tmp", "the source /etc/passwd is a file", "is a directory"], |c| {
            mount(c, json!({"destination": "/tmp", "source": "/etc/passwd", "options": ["bind"]}));
        }),
        (&["mount.new tmpfs at /tmp", "'size'"], |c| {
            mount(
                c,
                json!({"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["mode=700", "size=lots"]}),
            );
        }),
        (&["mount.new tmpfs at /tmp", "'nonesuch'"], |c| {
            mount(c, json!({"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["nonesuch=1"]}));
        }),
        (&["process.user.additionalGids: has 100000 groups, and a process can have 65536"], |c| {
            c["process"]["user"]["additionalGids"] = json!(vec![7; 100_000]);
        }),
    ];
    for (words, change) in cases {
        let said = refusal(change);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    }
    let bundle = Bundle::new("true", |_| ());
    let said = bundle.oci(&["create", &"x".repeat(300)]);
    assert!(said.err.contains("is 300 bytes long, and may have 253"), "{said:?}");
}

/// Fault O14: processors and memory that are not there.
#[test]
fn sets_out_of_range_are_told_what_there_is() {
    for (name, field) in [("cpus", "cpu.cpus"), ("mems", "cpu.mems")] {
        let bundle = Bundle::new("true", |c| c["linux"]["resources"] = json!({"cpu": {name: "4000"}}));
        let said = bundle.run();
        // Version 2 keeps what it cannot give and gives what it has.
        if is_unified() && said.code == 0 {
            continue;
        }
        let words = [&format!("linux.resources.{field} = 4000"), ": the group above has 0"];
        assert!(words.iter().all(|word| said.err.contains(*word)), "{said:?}");
    }
}

/// Fault O4: the number that means "no change" to the kernel would leave what the runtime is, root.
#[test]
fn no_change_is_nobodys_id() {
    let cases: &[(&str, Change)] = &[
        ("process.user.uid", |c| c["process"]["user"]["uid"] = json!(u32::MAX)),
        ("process.user.gid", |c| c["process"]["user"]["gid"] = json!(u32::MAX)),
        ("process.user.additionalGids[0]", |c| c["process"]["user"]["additionalGids"] = json!([u32::MAX])),
        ("linux.devices[0].uid", |c| {
            c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": u32::MAX}]);
        }),
        ("linux.devices[0].gid", |c| {
            c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "p", "gid": u32::MAX}]);
        }),
        ("mounts[3].options[0]", |c| {
            mount(c, json!({"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["uid=4294967295"]}));
        }),
        ("linux.uidMappings[0]", |c| {
            let ids = json!([{"containerID": u32::MAX, "hostID": 0, "size": 1}]);
            c["linux"]["uidMappings"] = ids.clone();
            c["linux"]["gidMappings"] = ids;
        }),
    ];
    for (field, change) in cases {
        let said = refusal(change);
        assert!(said.contains(field) && said.contains("id"), "{field}: {said}");
    }
    let bundle = Bundle::new("sleep 60", |_| ());
    bundle.start();
    for user in ["4294967295", "0:4294967295"] {
        let said = bundle.oci(&["exec", "--user", user, &bundle.id, "id"]);
        assert!(said.code == 255 && said.err.contains("4294967295"), "{said:?}");
    }
    let process = bundle.path().join("process.json");
    fs::write(&process, json!({"user": {"uid": u32::MAX}, "args": ["id"], "cwd": "/"}).to_string()).unwrap();
    let said = bundle.oci(&["exec", "--process", process.to_str().unwrap(), &bundle.id]);
    assert!(said.code == 255 && said.err.contains("process.user.uid"), "{said:?}");
}

/// Fault O15.
#[test]
fn what_every_runtime_takes_is_taken() {
    let script = "grep -c ' /etc ' /proc/self/mounts; cat /etc/hidden; touch /etc/x 2>/dev/null || echo no";
    let bundle = Bundle::new(script, |c| {
        c["linux"]["readonlyPaths"] = json!(["etc"]);
        c["linux"]["maskedPaths"] = json!(["etc/hidden"]);
        mount(c, json!({"destination": "/tmp", "source": "/tmp", "options": ["bind", "size=64k", "ro"]}));
    });
    fs::write(bundle.rootfs().join("etc/hidden"), "secret").unwrap();
    let said = bundle.run();
    assert_eq!((said.code, said.out.as_str()), (0, "1\nno\n"), "{said:?}");
    assert!(said.err.contains("level=warning msg=\"mounts[3].options: `size`"), "{said:?}");
}

/// Fault O12: an image's `/etc/localtime` often leads to a file that it has not; what is bound there is bound inside.
#[test]
fn a_file_is_bound_where_a_dangling_link_leads() {
    let bundle = Bundle::new("cat /etc/localtime /usr/share/zone", |c| {
        mount(c, json!({"destination": "/etc/localtime", "source": "host-file", "options": ["bind", "ro"]}));
    });
    fs::write(bundle.path().join("host-file"), "zone\n").unwrap();
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink("../../../../../../../usr/share/zone", bundle.rootfs().join("etc/localtime")).unwrap();
    assert_eq!(bundle.run().ok(), "zone\nzone\n");
    assert!(bundle.rootfs().join("usr/share/zone").exists());
    fs::remove_file(bundle.rootfs().join("etc/localtime")).unwrap();
    symlink(outside.join("zone"), bundle.rootfs().join("etc/localtime")).unwrap();
    bundle.run();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Fault O11: the last one of a name counts, in config.json and over it.
#[test]
fn a_name_is_in_the_environment_once() {
    let bundle = Bundle::new("sleep 60", |c| c["process"]["env"] = json!(["MY=first", "PATH=/bin", "MY=spec"]));
    bundle.applet("env");
    bundle.start();
    let all = |words: &[&str]| {
        let out = bundle.oci(&[&["exec"], words, &[&bundle.id, "env"]].concat()).ok();
        out.lines().filter(|line| line.starts_with("MY=")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(all(&[]), ["MY=spec"]);
    assert_eq!(all(&["-e", "MY=cli"]), ["MY=cli"]);
}
