//! config.md, POSIX-platform Hooks: which, when, where, with what.

use super::lab::{Bundle, Lab, Outcome, eventually, must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs `script` with the host's or the container's shell: both have one at this path.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

/// A bundle whose hooks add their names to the file `order`, which the container sees as `/order`.
fn orderly(lab: &Lab, script: &str) -> Bundle {
    let bundle = lab.bundle(script, |_| ());
    fs::write(bundle.path("order"), "").unwrap();
    change(&bundle, |c| {
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/order", "type": "bind", "source": "order", "options": ["bind"]}));
        for kind in KINDS {
            let file = if kind == "startContainer" { "/order".into() } else { bundle.path("order") };
            let line = |number: u8| hook(&format!("echo {kind}{number} >> {}", file.display()));
            c["hooks"][kind] = json!([line(1), line(2)]);
        }
    });
    bundle
}

fn change(bundle: &Bundle, change: impl FnOnce(&mut Value)) {
    let mut config: Value = serde_json::from_str(&bundle.read("config.json")).unwrap();
    change(&mut config);
    fs::write(bundle.path("config.json"), config.to_string()).unwrap();
}

/// The order after create, after start, after delete.
fn orders(lab: &Lab) -> Result<[String; 3], super::Verdict> {
    let bundle = orderly(lab, "echo program >> /order");
    bundle.create().ok()?;
    let created = bundle.read("order");
    bundle.oci(&["start", &bundle.id]).ok()?;
    bundle.becomes("stopped")?;
    let started = bundle.read("order");
    bundle.oci(&["delete", &bundle.id]).ok()?;
    Ok([created, started, bundle.read("order")])
}

/// What a hook of `kind` finds on its standard input, for a container `bundle`.
fn state_of(lab: &Lab, kind: &str) -> Result<(Value, Bundle), super::Verdict> {
    let bundle = lab.bundle("true", |_| ());
    change(&bundle, |c| c["hooks"][kind] = json!([hook(&format!("cat > {}", bundle.path("state.json").display()))]));
    bundle.start()?;
    bundle.becomes("stopped")?;
    bundle.oci(&["delete", &bundle.id]).ok()?;
    Ok((serde_json::from_str(&bundle.read("state.json")).unwrap_or_default(), bundle))
}

/// A failing hook of `kind` makes the operation an error.
fn fails(lab: &Lab, kind: &str) -> Outcome {
    let bundle = lab.bundle("sleep 60", |c| c["hooks"][kind] = json!([hook("exit 3")]));
    let said = if bundle.create().code == 0 {
        bundle.oci(&["start", &bundle.id])
    } else {
        return must(bundle.status().is_empty(), || "the container exists".to_owned());
    };
    must(said.code != 0, || format!("a failing {kind} hook is no error"))?;
    eventually("the container is stopped or gone", || ["", "stopped"].contains(&bundle.status().as_str()))
}

fn namespace_of(lab: &Lab, kind: &str) -> Result<(String, String), super::Verdict> {
    let bundle = lab.bundle("readlink /proc/self/ns/mnt", |_| ());
    fs::write(bundle.path("ns"), "").unwrap();
    change(&bundle, |c| {
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/ns", "type": "bind", "source": "ns", "options": ["bind"]}));
        let file = if kind == "startContainer" { "/ns".into() } else { bundle.path("ns") };
        c["hooks"][kind] = json!([hook(&format!("readlink /proc/self/ns/mnt > {}", file.display()))]);
    });
    bundle.start()?;
    bundle.becomes("stopped")?;
    bundle.oci(&["delete", &bundle.id]).ok()?;
    Ok((bundle.read("ns"), bundle.read("out")))
}

fn in_runtime(lab: &Lab, kind: &str) -> Outcome {
    let (hook, container) = namespace_of(lab, kind)?;
    must(!hook.is_empty() && hook != container, || format!("hook in {hook:?}, container in {container:?}"))
}

fn in_container(lab: &Lab, kind: &str) -> Outcome {
    let (hook, container) = namespace_of(lab, kind)?;
    same("mount namespace", hook, container)
}

pub(crate) const ROWS: &[Row] = &[
    row("config, Hooks", "each list runs in the listed order", |lab| {
        // The program runs beside the poststart hooks.
        let all = orders(lab)?[2].replace("program\n", "");
        KINDS
            .iter()
            .try_for_each(|kind| must(all.contains(&format!("{kind}1\n{kind}2\n")), || format!("{kind}: {all:?}")))
    }),
    row("config, Prestart", "before createRuntime, part of create", |lab| {
        let [created, ..] = orders(lab)?;
        must(created.starts_with("prestart1\nprestart2\ncreateRuntime1\n"), || created)
    }),
    row("config, CreateContainer Hooks", "after createRuntime, part of create", |lab| {
        let [created, ..] = orders(lab)?;
        must(created.ends_with("createRuntime2\ncreateContainer1\ncreateContainer2\n"), || created)
    }),
    row("config, StartContainer Hooks", "part of start, before the program", |lab| {
        let [created, started, _] = orders(lab)?;
        must(!created.contains("startContainer") && started.contains("startContainer2\n"), || started.clone())?;
        must(started.find("startContainer2") < started.find("program"), || started)
    }),
    row("config, Poststart", "part of start, after the program is executed", |lab| {
        let [created, started, _] = orders(lab)?;
        must(!created.contains("poststart") && started.contains("poststart2\n"), || started)
    }),
    row("config, Poststop", "part of delete", |lab| {
        let [_, started, deleted] = orders(lab)?;
        must(!started.contains("poststop") && deleted.ends_with("poststop1\npoststop2\n"), || deleted)
    }),
    row("config, Hooks", "prestart, createRuntime, poststart, poststop run in the runtime's namespaces", |lab| {
        ["prestart", "createRuntime", "poststart", "poststop"].iter().try_for_each(|kind| in_runtime(lab, kind))
    }),
    row("config, Hooks", "createContainer and startContainer run in the container's", |lab| {
        ["createContainer", "startContainer"].iter().try_for_each(|kind| in_container(lab, kind))
    }),
    row("config, Hooks", "get the state on standard input", |lab| {
        for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
            let (state, bundle) = state_of(lab, kind)?;
            same(kind, state["id"].as_str(), Some(bundle.id.as_str()))?;
            let folder = bundle.path("").canonicalize().unwrap();
            let said = state["bundle"].as_str().map(|path| std::path::Path::new(path).to_owned());
            same(kind, said.and_then(|path| path.canonicalize().ok()), Some(folder))?;
        }
        Ok(())
    }),
    row("config, Hooks", "the state says creating, created or running, stopped", |lab| {
        for (kind, wanted) in [
            ("createRuntime", &["creating", "created"][..]),
            ("poststart", &["running", "stopped"]),
            ("poststop", &["stopped"]),
        ] {
            let (state, _) = state_of(lab, kind)?;
            let status = state["status"].as_str().unwrap_or_default().to_owned();
            must(wanted.contains(&status.as_str()), || format!("{kind}: {status:?}"))?;
        }
        Ok(())
    }),
    row("config, Hooks: env, args", "are the hook's alone", |lab| {
        let bundle = lab.bundle("true", |_| ());
        let script = format!("echo $0 $A $PWD_OF_TEST > {}", bundle.path("said").display());
        change(&bundle, |c| {
            c["hooks"]["createRuntime"] =
                json!([{"path": "/bin/sh", "args": ["sh", "-c", script, "zero"], "env": ["A=b"]}])
        });
        bundle.oci(&["run", &bundle.id]).ok()?;
        same("hook", bundle.read("said").as_str(), "zero b\n")
    }),
    row("config, Hooks: path", "must be absolute", |lab| {
        lab.refuses(|c| c["hooks"]["createRuntime"] = json!([{"path": "sh"}]))
    }),
    row("config, Hooks: timeout", "a hook that takes longer is killed, and that is an error", |lab| {
        let mut slow = hook("exec sleep 30");
        slow["timeout"] = json!(1);
        lab.refuses(|c| c["hooks"]["createRuntime"] = json!([slow]))
    }),
    row("config, Hooks: timeout", "must be greater than zero", |lab| {
        let mut hook = hook("true");
        hook["timeout"] = json!(0);
        lab.refuses(|c| c["hooks"]["createRuntime"] = json!([hook]))
    }),
    row("runtime, Lifecycle 3", "a failing prestart hook is an error", |lab| fails(lab, "prestart")),
    row("runtime, Lifecycle 4", "a failing createRuntime hook is an error", |lab| fails(lab, "createRuntime")),
    row("runtime, Lifecycle 5", "a failing createContainer hook is an error", |lab| fails(lab, "createContainer")),
    row("runtime, Lifecycle 7", "a failing startContainer hook is an error", |lab| fails(lab, "startContainer")),
    row("runtime, Lifecycle 9", "a failing poststart hook is an error and stops the container", |lab| {
        fails(lab, "poststart")
    }),
    row("runtime, Lifecycle 13", "a failing poststop hook is a warning, and the others run", |lab| {
        let bundle = lab.bundle("true", |_| ());
        let second = hook(&format!("echo second > {}", bundle.path("said").display()));
        change(&bundle, |c| c["hooks"]["poststop"] = json!([hook("exit 3"), second]));
        bundle.start()?;
        bundle.becomes("stopped")?;
        bundle.oci(&["delete", &bundle.id]).ok()?;
        same("second hook", bundle.read("said").as_str(), "second\n")?;
        must(bundle.status().is_empty(), || "the container is still there".to_owned())
    }),
];
