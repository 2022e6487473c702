//! config.md: version, root, names, annotations, extensibility.

use super::lab::{must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;

pub(crate) const ROWS: &[Row] = &[
    row("config, Specification version", "versions 1.0 to 1.3 are taken", |lab| {
        ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"]
            .iter()
            .try_for_each(|version| lab.prints("echo yes", "yes\n", |c| c["ociVersion"] = json!(version)))
    }),
    row("config, Specification version", "what is no version of this specification is an error", |lab| {
        ["2.0.0", "", "one"].iter().try_for_each(|version| lab.refuses(|c| c["ociVersion"] = json!(version)))
    }),
    row("config, Root: path", "a relative path is below the bundle", |lab| {
        lab.prints("echo /bin/true", "/bin/true\n", |_| ())
    }),
    row("config, Root: path", "an absolute path is taken as it is", |lab| {
        let bundle = lab.bundle("echo yes", |_| ());
        let mut config: Value = serde_json::from_str(&bundle.read("config.json")).unwrap();
        config["root"]["path"] = json!(bundle.rootfs());
        fs::write(bundle.path("config.json"), config.to_string()).unwrap();
        same("output", bundle.oci(&["run", &bundle.id]).ok()?.as_str(), "yes\n")
    }),
    row("config, Root: path", "a directory must exist there", |lab| {
        lab.refuses(|c| c["root"]["path"] = json!("nothing"))
    }),
    row("config, Root: readonly", "true: nothing can be written to the root", |lab| {
        lab.prints("touch /file 2>/dev/null || echo no; echo x > /dev/null && echo dev", "no\ndev\n", |c| {
            c["root"]["readonly"] = json!(true);
        })
    }),
    row("config, Root: readonly", "not given: the root can be written to", |lab| {
        lab.prints("touch /file && echo yes", "yes\n", |_| ())
    }),
    row("config, Hostname", "is seen inside a UTS namespace of its own", |lab| {
        lab.prints("hostname", "clause\n", |c| c["hostname"] = json!("clause"))
    }),
    row("config, Domainname", "is seen inside", |lab| {
        lab.prints("cat /proc/sys/kernel/domainname", "clause.test\n", |c| c["domainname"] = json!("clause.test"))
    }),
    row("config, Annotations", "are in the state", |lab| {
        let bundle = lab.bundle("sleep 60", |c| c["annotations"] = json!({"com.example.key": "value"}));
        bundle.start()?;
        same("annotation", bundle.state()?["annotations"]["com.example.key"].clone(), json!("value"))
    }),
    row("config, Annotations", "unknown keys are no error", |lab| {
        lab.prints("echo yes", "yes\n", |c| c["annotations"] = json!({"org.example.unheard-of": ""}))
    }),
    row("config, Extensibility", "unknown properties are ignored, at every level", |lab| {
        lab.prints("echo yes", "yes\n", |c| {
            c["x"] = json!({"y": [1]});
            c["process"]["x"] = json!(7);
            c["linux"]["x"] = json!("x");
            c["linux"]["resources"] = json!({"x": {}});
            c["mounts"][0]["x"] = json!(true);
        })
    }),
    row("config, Valid values", "a value of the wrong type is an error", |lab| {
        lab.refuses(|c| c["process"]["user"]["uid"] = json!("root"))?;
        lab.refuses(|c| c["linux"]["resources"] = json!({"memory": {"limit": "1G"}}))?;
        lab.refuses(|c| c["mounts"] = json!({}))
    }),
    row("config, Valid values", "an error names the field that is wrong", |lab| {
        let bundle = lab.bundle("true", |c| c["linux"]["resources"] = json!({"memory": {"limit": "1G"}}));
        let said = bundle.create();
        must(said.err.contains("linux.resources.memory.limit"), || format!("{said:?}"))
    }),
];
