//! The mounts of config.json, as the container sees them (runtime-spec config, Mounts).

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use support::{Bundle, Host};

/// A bundle with `mounts` beside the usual ones; `busybox mountinfo` is printed by its script's `info PATH`.
fn bundle(script: &str, mounts: Value) -> Bundle {
    let prelude = "info() { grep \" $1 \" /proc/self/mountinfo; }; ";
    Bundle::new(&format!("{prelude}{script}"), |c| {
        c["mounts"].as_array_mut().unwrap().extend(mounts.as_array().unwrap().iter().cloned());
    })
}

/// A folder of the host with a mount below it: `file`, `sub/` (a tmpfs) and `sub/file`.
fn tree() -> Host {
    let host = Host::new();
    host.write("file", "outer");
    host.tmpfs("sub");
    host.write("sub/file", "inner");
    host
}

/// Attributes of a mount: the sixth field of mountinfo.
fn attributes(line: &str) -> Vec<&str> {
    line.split(' ').nth(5).unwrap_or_default().split(',').collect()
}

#[test]
fn attributes_of_a_bind_mount_are_those_of_its_words() {
    let host = tree();
    for (words, present, absent) in [
        (json!(["bind", "ro", "nosuid", "nodev", "noexec"]), "ro nosuid nodev noexec", "rw"),
        (json!(["bind", "nosuid", "suid", "ro", "rw"]), "rw", "ro nosuid"),
        (json!(["bind", "noatime", "nodiratime"]), "noatime nodiratime", "relatime"),
        (json!(["bind", "noatime", "relatime"]), "relatime", "noatime"),
        (json!(["bind", "strictatime"]), "", "relatime noatime"),
        (json!(["bind", "nosymfollow"]), "nosymfollow", ""),
        (json!(["bind", "sync", "dirsync", "lazytime", "mand", "iversion", "async", "loud", "defaults"]), "rw", ""),
    ] {
        let mount = json!([{"destination": "/data", "source": host.path(), "type": "none", "options": words}]);
        let line = bundle("info /data", mount).run().ok();
        let found = attributes(line.trim());
        assert!(present.split(' ').all(|word| word.is_empty() || found.contains(&word)), "{words}: {line}");
        assert!(absent.split(' ').all(|word| !found.contains(&word)), "{words}: {line}");
    }
}

#[test]
fn a_bind_is_one_mount_and_an_rbind_the_tree() {
    let host = tree();
    let script = "cat /data/file; cat /data/sub/file 2>/dev/null; echo; info /data/sub | wc -l";
    let mount = |word: &str| json!([{"destination": "/data", "source": host.path(), "options": [word]}]);
    assert_eq!(bundle(script, mount("bind")).run().ok(), "outer\n0\n");
    assert_eq!(bundle(script, mount("rbind")).run().ok(), "outerinner\n1\n");
}

#[test]
fn words_with_a_leading_r_reach_the_mounts_below() {
    let host = tree();
    let script = "info /data; info /data/sub; touch /data/sub/x 2>/dev/null || echo refused";
    let mount =
        |word: &str| json!([{"destination": "/data", "source": host.path(), "options": ["rbind", word, "rnosuid"]}]);
    let lines = bundle(script, mount("rro")).run().ok();
    let lines: Vec<_> = lines.lines().collect();
    for line in &lines[..2] {
        assert!(attributes(line).contains(&"ro") && attributes(line).contains(&"nosuid"), "{line}");
    }
    assert_eq!(lines[2], "refused");
    let lines = bundle(script, mount("ro")).run().ok();
    let lines: Vec<_> = lines.lines().collect();
    assert!(attributes(lines[0]).contains(&"ro") && !attributes(lines[1]).contains(&"ro"), "{lines:?}");
}

#[test]
fn propagation_is_what_the_words_say() {
    let host = tree();
    let field = |words: Value| {
        let mount = json!([{"destination": "/data", "source": host.path(), "options": words}]);
        let line = bundle("info /data", mount).run().ok();
        let optional = line.split(' ').skip(6).take_while(|word| *word != "-");
        optional.map(|word| word.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    host.share();
    assert_eq!(field(json!(["rbind"])), ["master"], "events arrive, none leave");
    assert_eq!(field(json!(["rbind", "rprivate"])), [""; 0]);
    assert_eq!(field(json!(["rbind", "rslave"])), ["master"]);
    assert_eq!(field(json!(["rbind", "rshared"])), ["shared"]);
    assert_eq!(field(json!(["rbind", "rslave", "rshared"])), ["shared", "master"]);
    assert_eq!(field(json!(["bind", "unbindable"])), ["unbindable"]);
}

#[test]
fn a_shared_volume_carries_mounts_to_the_host_and_a_slave_does_not() {
    let host = tree();
    host.share();
    host.directory("place");
    for (word, arrives) in [("rslave", false), ("rshared", true)] {
        let mount = json!({"destination": "/data", "source": host.path(), "options": ["rbind", word]});
        let all = json!(["CAP_SYS_ADMIN"]);
        let script = "mount -t tmpfs tmpfs /data/place && touch /data/place/seen && echo done; sleep 60";
        let bundle = Bundle::new(script, |c| {
            c["mounts"].as_array_mut().unwrap().push(mount);
            c["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
        });
        bundle.applet("mount");
        bundle.start();
        support::wait_until("the mount", || bundle.output().contains("done"));
        assert_eq!(host.path().join("place/seen").exists(), arrives, "{word}");
        bundle.oci(&["delete", "--force", &bundle.id]).ok();
        host.unmount("place");
    }
}

#[test]
fn the_roots_propagation_is_rootfs_propagation() {
    for (word, expected) in [("shared", "shared"), ("private", ""), ("unbindable", "unbindable"), ("rslave", "")] {
        let bundle = Bundle::new("grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo", |c| {
            c["linux"]["rootfsPropagation"] = json!(word);
        });
        let line = bundle.run().ok();
        let optional = line.lines().next().unwrap_or_default().split(' ').skip(6).take_while(|word| *word != "-");
        let kinds: Vec<_> = optional.map(|word| word.split(':').next().unwrap_or_default()).collect();
        let without_master: Vec<_> = kinds.iter().filter(|kind| **kind != "master").copied().collect();
        assert_eq!(without_master.join(" "), expected, "{word}: {line}");
        assert!(word != "private" || !kinds.contains(&"master"), "{line}");
    }
}

#[test]
fn files_links_and_missing_targets_are_bound() {
    let host = tree();
    symlink("file", host.path().join("link")).unwrap();
    let mounts = json!([
        {"destination": "/made/here/file", "source": host.path().join("file"), "options": ["bind"]},
        {"destination": "/by/link", "source": host.path().join("link"), "options": ["bind"]},
        {"destination": "relative/dir", "source": host.path(), "type": "bind"},
        {"destination": "/inside", "source": host.path().join("file"), "options": ["bind"]},
    ]);
    let bundle = bundle("cat /made/here/file /by/link /relative/dir/file /target; ls -ld /inside | cut -c1", mounts);
    bundle.applet("cut");
    fs::write(bundle.rootfs().join("target"), "").unwrap();
    symlink("/target", bundle.rootfs().join("inside")).unwrap();
    assert_eq!(bundle.run().ok(), "outerouterouterouterl\n", "a link of the image leads to a place inside");
    assert_eq!(fs::metadata(bundle.rootfs().join("made/here/file")).unwrap().len(), 0);
}

#[test]
fn a_sources_path_is_relative_to_the_bundle_and_must_exist() {
    let mount = json!([{"destination": "/x", "source": "rootfs/etc", "options": ["bind"]}]);
    let bundle = bundle("ls /x", mount);
    fs::write(bundle.rootfs().join("etc/here"), "").unwrap();
    assert_eq!(bundle.run().ok(), "here\n");
    let missing =
        Bundle::new("true", |c| c["mounts"] = json!([{"destination": "/x", "source": "no", "options": ["bind"]}]));
    let said = missing.run();
    assert!(said.code == 1 && said.err.contains("mount.source") && said.err.contains("No such file"), "{said:?}");
}

#[test]
fn filesystems_get_their_own_options() {
    let script = "info /data | grep -o 'size=[^,]*,nr_inodes=[^,]*,mode=[^,]*,uid=[^,]*'; info /data | grep -c lazytime; \
                  info /fine | grep -o sync; stat -c %a /tmp /plain; info /dev/mqueue | cut -d' ' -f9; info /sys | cut -d' ' -f6";
    let fresh =
        |to: &str, options: Value| json!({"destination": to, "type": "tmpfs", "source": "tmpfs", "options": options});
    let bundle = bundle(
        script,
        json!([
            fresh("/data", json!(["size=64k", "nr_inodes=20", "mode=0711", "uid=7", "lazytime"])),
            fresh("/fine", json!(["sync"])), fresh("/tmp", json!([])), fresh("/plain", json!(["mode=1750"])),
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]},
        ]),
    );
    bundle.applet("cut");
    fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let out = bundle.run().ok();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines,
        ["size=64k,nr_inodes=20,mode=711,uid=7", "1", "sync", "1777", "1750", "mqueue", "ro,nosuid,relatime"]
    );
}

#[test]
fn a_remount_changes_what_is_there() {
    let host = tree();
    let mounts = json!([
        {"destination": "/data", "source": host.path(), "options": ["bind", "ro", "noexec"]},
        {"destination": "/data", "source": "none", "type": "none", "options": ["bind", "remount", "nosuid"]},
        {"destination": "/fresh", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
        {"destination": "/fresh", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "size=128k"]},
        {"destination": "/fresh", "options": ["shared"]},
    ]);
    let out = bundle("info /data; info /fresh", mounts).run().ok();
    let lines: Vec<_> = out.lines().collect();
    let found = attributes(lines[0]);
    assert!(found.contains(&"nosuid") && found.contains(&"rw") && !found.contains(&"noexec"), "{out}");
    assert!(lines[1].contains("size=128k") && lines[1].contains(" shared:"), "{out}");
}

#[test]
fn tmpcopyup_keeps_kinds_owners_and_modes() {
    let mount = json!([{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}]);
    let bundle =
        bundle("stat -c '%n %a %u' /data/dir /data/dir/file; readlink /data/link; touch /data/x || echo ro", mount);
    let data = bundle.rootfs().join("data");
    fs::create_dir_all(data.join("dir")).unwrap();
    fs::write(data.join("dir/file"), "x").unwrap();
    fs::set_permissions(data.join("dir/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(data.join("dir"), Some(55), Some(55)).unwrap();
    symlink("/nowhere", data.join("link")).unwrap();
    let out = bundle.run();
    assert_eq!(out.out, "/data/dir 755 55\n/data/dir/file 4751 0\n/nowhere\nro\n", "{out:?}");
}

#[test]
fn owners_are_mapped_by_the_mount_or_by_the_container() {
    let host = Host::on_disk();
    host.write("file", "outer");
    host.bind("sub");
    host.write("sub/deep", "x");
    let maps = |outside: u32| json!([{"containerID": 0, "hostID": outside, "size": 1000}]);
    let mount = |word: &str| json!({"destination": "/data", "source": host.path(), "options": ["rbind", word]});
    let script = "stat -c %u /data/file /data/sub/deep";
    let mut mapped = mount("ridmap");
    mapped["uidMappings"] = maps(5000);
    mapped["gidMappings"] = maps(6000);
    let said = bundle(script, json!([mapped.clone()])).run();
    if said.err.contains("mount.map") && said.err.contains("Invalid argument") {
        return support::skipped(
            "owners_are_mapped_by_the_mount_or_by_the_container",
            "no idmapped tmpfs before Linux 6.3",
        );
    }
    assert_eq!(said.ok(), "5000\n5000\n", "without a user namespace");
    mapped["options"] = json!(["rbind", "idmap"]);
    assert_eq!(bundle(script, json!([mapped])).run().ok(), "5000\n0\n", "the mount below keeps its owners");

    for (word, expected) in [("ridmap", "0\n0\n"), ("rbind", "65534\n65534\n")] {
        let bundle = Bundle::new(script, |c| {
            c["linux"]["uidMappings"] = maps(200_000);
            c["linux"]["gidMappings"] = maps(200_000);
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            c["mounts"].as_array_mut().unwrap().push(mount(word));
        });
        // Its root has no rights over the image, which belongs to the host's.
        fs::create_dir(bundle.rootfs().join("data")).unwrap();
        assert_eq!(bundle.run().ok(), expected, "{word}");
    }
    let unmapped = bundle("true", json!([mount("idmap")])).run();
    assert!(unmapped.err.contains("mounts[3].options: `idmap` needs"), "{unmapped:?}");
    assert_eq!(fs::metadata(host.path().join("file")).unwrap().uid(), 0);
}

/// mount_namespaces(7), restrictions: the kernel locks what a mount forbids when less privileged users get a copy of it.
#[test]
fn what_the_host_forbids_on_a_mount_stays_forbidden_to_root_of_other_users() {
    let host = Host::new();
    host.tmpfs("kept");
    let kept = host.path().join("kept");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o777)).unwrap();
    let said = Command::new("mount").args(["-o", "remount,bind,ro,nosuid"]).arg(&kept).status().unwrap();
    assert!(said.success());
    let script = "for option in rw suid; do busybox mount -o remount,bind,$option /kept && echo $option; done
        touch /kept/file && echo written";
    let bundle = Bundle::new(script, |c| {
        let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
        c["linux"]["uidMappings"] = maps.clone();
        c["linux"]["gidMappings"] = maps;
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let all = json!(["CAP_SYS_ADMIN"]);
        c["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
        let mount = json!({"destination": "/kept", "source": kept, "options": ["rbind"]});
        c["mounts"].as_array_mut().unwrap().push(mount);
    });
    fs::create_dir(bundle.rootfs().join("kept")).unwrap();
    assert_eq!(bundle.run().out, "");
}

#[test]
fn devices_are_made_with_their_rights_and_bound_for_other_users() {
    let script =
        "stat -c '%n %F %t:%T %a %u:%g' /dev/null /dev/fuse2 /opt/block /dev/queue; echo x > /dev/null && echo ok";
    let devices = json!([
        {"path": "/dev/fuse2", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/opt/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600},
        {"path": "/dev/queue", "type": "p", "fileMode": 0o622},
    ]);
    let bundle = Bundle::new(script, |c| c["linux"]["devices"] = devices);
    assert_eq!(
        bundle.run().ok(),
        "/dev/null character special file 1:3 666 0:0\n/dev/fuse2 character special file 1:5 640 3:4\n\
         /opt/block block special file 7:c8 600 0:0\n/dev/queue fifo 0:0 622 0:0\nok\n"
    );
    let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    let users = Bundle::new("stat -c '%t:%T' /dev/zero /dev/full; stat -c %F /dev/queue", |c| {
        c["linux"]["uidMappings"] = maps.clone();
        c["linux"]["gidMappings"] = maps;
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        c["linux"]["devices"] = json!([{"path": "/dev/queue", "type": "p"}]);
    });
    assert_eq!(users.run().ok(), "1:5\n1:7\nfifo\n");
}

#[test]
fn a_file_in_the_place_of_an_asked_device_is_an_error() {
    let bundle = Bundle::new("true", |c| {
        c["linux"]["devices"] = json!([{"path": "/opt/dev", "type": "c", "major": 1, "minor": 3}]);
    });
    fs::create_dir(bundle.rootfs().join("opt")).unwrap();
    fs::write(bundle.rootfs().join("opt/dev"), "mine").unwrap();
    let said = bundle.run();
    assert!(said.code == 1 && said.err.contains("device.create /opt/dev: File exists"), "{said:?}");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("opt/dev")).unwrap(), "mine");
}

#[test]
fn the_cgroups_that_are_mounted_are_the_containers_own() {
    let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                       "options": ["ro", "nosuid", "noexec", "nodev"]});
    for own_view in [false, true] {
        let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do cat $d/cgroup.procs 2>/dev/null; done | grep -x $$ | wc -l; \
                      mkdir /sys/fs/cgroup/x 2>/dev/null || mkdir /sys/fs/cgroup/memory/x 2>/dev/null || echo read-only";
        let bundle = Bundle::new(script, |c| {
            c["mounts"].as_array_mut().unwrap().push(mount.clone());
            if own_view {
                c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
            }
        });
        let out = bundle.run().ok();
        let (count, rest) = out.split_once('\n').unwrap();
        let unified_root = support::is_unified() && !own_view;
        assert!(unified_root || count.parse::<u32>().unwrap() > 0, "{out}");
        assert_eq!(rest, "read-only\n");
    }
}
