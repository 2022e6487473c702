//! config.md, Mounts: order, sources, and what each option does, read from the container's mountinfo (proc_pid_mountinfo(5)).

use super::lab::{Lab, Outcome, must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;

/// Adds a mount at `/m` of `kind` with `options`.
fn add(config: &mut Value, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({"destination": "/m", "type": kind, "source": source, "options": options});
    config["mounts"].as_array_mut().unwrap().push(mount);
}

/// The options of the mount at `/m` and of its filesystem contain `wanted`; those of the mount do not contain `unwanted`.
fn shows(lab: &Lab, options: &[&str], wanted: &[&str], unwanted: &[&str]) -> Outcome {
    let script = "awk '$5 == \"/m\" {print $6; print $NF}' /proc/self/mountinfo";
    let out = lab.says(script, |c| add(c, "tmpfs", "tmpfs", options))?;
    let (mount, filesystem) = out.trim().split_once('\n').unwrap_or_default();
    let has = |text: &str, word: &str| text.split(',').any(|has| has == word);
    let is_fine = wanted.iter().all(|word| has(mount, word) || has(filesystem, word));
    must(is_fine && !unwanted.iter().any(|word| has(mount, word)), || format!("{options:?}: {out:?}"))
}

/// A bind mount of a tree `a` with a tmpfs at `a/b`, made in a mount namespace of the runtime's own.
fn tree(lab: &Lab, options: &[&str], script: &str, wanted: &str) -> Outcome {
    let bundle = lab.bundle(script, |c| add(c, "bind", "a", options));
    fs::create_dir_all(bundle.path("a/b")).unwrap();
    let mut inner = std::process::Command::new("unshare");
    inner.args(["-m", "--propagation", "slave", "sh", "-c", "mount -t tmpfs inner a/b && exec \"$0\" \"$@\""]);
    let runtime = bundle.command(&["run", &bundle.id]);
    inner
        .arg(runtime.get_program())
        .args(runtime.get_args())
        .current_dir(bundle.path(""))
        .stdin(std::process::Stdio::null());
    let output = inner.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    same(script, said.as_str(), wanted).map_err(|_| {
        super::Verdict::Breaks(format!("{options:?}: {said:?} {}", String::from_utf8_lossy(&output.stderr)))
    })
}

pub(crate) const ROWS: &[Row] = &[
    row("config, Mounts", "entries are mounted in the listed order", |lab| {
        let bundle = lab.bundle("ls /m; cat /m/n/in", |c| {
            let list = c["mounts"].as_array_mut().unwrap();
            list.push(json!({"destination": "/m", "type": "tmpfs", "source": "t"}));
            list.push(json!({"destination": "/m/n", "type": "bind", "source": "here", "options": ["bind"]}));
        });
        fs::create_dir(bundle.path("here")).unwrap();
        fs::write(bundle.path("here/in"), "second\n").unwrap();
        same("output", bundle.oci(&["run", &bundle.id]).ok()?.as_str(), "n\nsecond\n")
    }),
    row("config, Mounts: destination", "a relative path is relative to the root", |lab| {
        lab.prints("awk '$5 == \"/m\" {print $5}' /proc/self/mountinfo", "/m\n", |c| {
            c["mounts"].as_array_mut().unwrap().push(json!({"destination": "m", "type": "tmpfs", "source": "t"}));
        })
    }),
    row("config, Mounts: source", "of a bind mount, relative to the bundle", |lab| {
        let bundle = lab.bundle("cat /m", |c| add(c, "bind", "data", &["bind"]));
        fs::write(bundle.path("data"), "here\n").unwrap();
        same("output", bundle.oci(&["run", &bundle.id]).ok()?.as_str(), "here\n")
    }),
    row("config, Mounts: source", "a missing one is an error", |lab| {
        lab.refuses(|c| add(c, "bind", "/no/such/file", &["bind"]))
    }),
    row("config, Mounts: options", "ro · rw", |lab| {
        shows(lab, &["ro"], &["ro"], &["rw"])?;
        lab.prints("touch /m/x 2>/dev/null || echo no", "no\n", |c| add(c, "tmpfs", "t", &["ro"]))?;
        lab.prints("touch /m/x && echo yes", "yes\n", |c| add(c, "tmpfs", "t", &["ro", "rw"]))
    }),
    row("config, Mounts: options", "nosuid, nodev, noexec · suid, dev, exec", |lab| {
        shows(lab, &["nosuid", "nodev", "noexec"], &["nosuid", "nodev", "noexec"], &[])?;
        shows(lab, &["nosuid", "nodev", "noexec", "suid", "dev", "exec"], &[], &["nosuid", "nodev", "noexec"])
    }),
    row("config, Mounts: options", "noatime, nodiratime, relatime, strictatime", |lab| {
        shows(lab, &["noatime"], &["noatime"], &["relatime"])?;
        shows(lab, &["nodiratime"], &["nodiratime"], &[])?;
        shows(lab, &["relatime"], &["relatime"], &["noatime"])?;
        shows(lab, &["strictatime"], &[], &["relatime", "noatime"])
    }),
    row("config, Mounts: options", "atime, diratime, norelatime, nostrictatime", |lab| {
        shows(lab, &["noatime", "atime"], &[], &["noatime"])?;
        shows(lab, &["nodiratime", "diratime"], &[], &["nodiratime"])?;
        ["norelatime", "nostrictatime"].iter().try_for_each(|word| shows(lab, &[word], &[], &["noatime"]))
    }),
    row("config, Mounts: options", "nosymfollow · symfollow", |lab| {
        shows(lab, &["nosymfollow"], &["nosymfollow"], &[])?;
        shows(lab, &["nosymfollow", "symfollow"], &[], &["nosymfollow"])
    }),
    row("config, Mounts: options", "sync, dirsync, lazytime and their opposites", |lab| {
        shows(lab, &["sync"], &["sync"], &[])?;
        shows(lab, &["sync", "async"], &[], &["sync"])?;
        ["dirsync", "lazytime", "nolazytime"].iter().try_for_each(|word| shows(lab, &[word], &[], &[]))
    }),
    row("config, Mounts: options", "defaults, silent, loud, mand, nomand, iversion, noiversion are taken", |lab| {
        ["defaults", "silent", "loud", "nomand", "noiversion"].iter().try_for_each(|word| shows(lab, &[word], &[], &[]))
    }),
    row("config, Mounts: options", "private, slave, shared, unbindable", |lab| {
        let tag = "awk '$5 == \"/m\" {print $7}' /proc/self/mountinfo | sed 's/:.*//'";
        let tag = |word: &str, wanted| {
            lab.prints(tag, wanted, |c| {
                c["linux"]["rootfsPropagation"] = json!("private");
                add(c, "tmpfs", "t", &[word]);
            })
        };
        tag("private", "-\n")?;
        tag("shared", "shared\n")?;
        tag("unbindable", "unbindable\n")
    }),
    row("config, Mounts: options", "bind brings one mount, rbind all below it", |lab| {
        tree(lab, &["bind"], "grep -c ' /m/b ' /proc/self/mountinfo", "0\n")?;
        tree(lab, &["rbind"], "grep -c ' /m/b ' /proc/self/mountinfo", "1\n")
    }),
    row("config, Mounts: options", "ro on rbind changes the topmost mount alone", |lab| {
        tree(lab, &["rbind", "ro"], "touch /m/x 2>/dev/null || echo no; touch /m/b/x && echo yes", "no\nyes\n")
    }),
    row(
        "config, Mounts: options",
        "rro, rnosuid, rnodev, rnoexec, rnoatime, rnosymfollow reach all mounts below",
        |lab| {
            let options = ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"];
            options.iter().try_for_each(|option| {
                let word = option.trim_start_matches('r');
                let word = if word == "o" { "ro" } else { word };
                let script =
                    format!("awk '$5 == \"/m/b\" {{print $6}}' /proc/self/mountinfo | tr , '\\n' | grep -x {word}");
                tree(lab, &["rbind", option], &script, &format!("{word}\n"))
            })
        },
    ),
    row("config, Mounts: options", "tmpcopyup copies what the tmpfs covers", |lab| {
        let bundle = lab.bundle("cat /m/x; echo new > /m/x", |c| add(c, "tmpfs", "t", &["tmpcopyup"]));
        fs::create_dir(bundle.rootfs().join("m")).unwrap();
        fs::write(bundle.rootfs().join("m/x"), "old\n").unwrap();
        same("output", bundle.oci(&["run", &bundle.id]).ok()?.as_str(), "old\n")?;
        same("the image's file", bundle.read("rootfs/m/x").as_str(), "old\n")
    }),
    row("config, Mounts: options", "unknown words are the filesystem's own", |lab| {
        shows(lab, &["size=64k", "mode=711"], &["size=64k", "mode=711"], &[])
    }),
    row("config, Mounts: options", "what the filesystem does not know is an error", |lab| {
        lab.refuses(|c| add(c, "tmpfs", "t", &["no-such-option=1"]))
    }),
    row("config, Mounts: uidMappings, gidMappings", "idmap maps owners, of this mount alone", |lab| {
        let maps = json!([{"containerID": 0, "hostID": 1000, "size": 100}]);
        let bundle = lab.bundle("stat -c %u:%g /m/x", |c| {
            add(c, "bind", "data", &["bind", "idmap"]);
            let mount = c["mounts"].as_array_mut().unwrap().last_mut().unwrap();
            (mount["uidMappings"], mount["gidMappings"]) = (maps.clone(), maps);
        });
        fs::create_dir(bundle.path("data")).unwrap();
        fs::write(bundle.path("data/x"), "").unwrap();
        same("owner", bundle.oci(&["run", &bundle.id]).ok()?.as_str(), "1000:1000\n")
    }),
    row("config, Mounts: uidMappings, gidMappings", "one without the other is an error", |lab| {
        let maps = json!([{"containerID": 0, "hostID": 1000, "size": 100}]);
        lab.refuses(|c| {
            add(c, "bind", "/tmp", &["bind", "idmap"]);
            c["mounts"].as_array_mut().unwrap().last_mut().unwrap()["uidMappings"] = maps;
        })
    }),
    row("runtime, Errors", "mounts of a refused container are gone", |lab| {
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
        lab.refuses(|c| add(c, "tmpfs", "t", &["no-such-option=1"]))?;
        same("mounts", fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(), before)
    }),
];
