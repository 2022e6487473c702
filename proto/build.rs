//! Generates the Rust side of every protocol with protox, so that the system needs no `protoc`; and a list of what can be asked, for the
//! tests that hold each field to a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (folder, files) in [
        ("etcd", &["rpc.proto", "v3lock.proto", "v3election.proto"][..]),
        ("health", &["health.proto"][..]),
        ("cri", &["api.proto"][..]),
        ("api", &["skiff.proto"][..]),
    ] {
        println!("cargo:rerun-if-changed={folder}");
        let descriptors = protox::compile(files, [Path::new(folder)])?;
        let mut messages = BTreeMap::new();
        for file in &descriptors.file {
            for message in &file.message_type {
                let fields = message.field.iter().map(|field| (field.name().to_owned(), field.type_name().to_owned()));
                messages.insert(format!(".{}.{}", file.package(), message.name()), fields.collect());
            }
        }
        let methods = descriptors.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
        let listed = request_fields(methods.map(|method| method.input_type().to_owned()).collect(), &messages);
        std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join(format!("{folder}.requests")), listed)?;
        tonic_prost_build::configure().bytes(".etcdserverpb").bytes(".mvccpb").compile_fds(descriptors)?;
    }
    Ok(())
}

/// `package.Message field`, a line each, of the messages `asked` and all that they may hold.
fn request_fields(mut asked: Vec<String>, messages: &BTreeMap<String, Vec<(String, String)>>) -> String {
    let (mut seen, mut lines) = (BTreeSet::new(), BTreeSet::new());
    while let Some(name) = asked.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        for (field, holds) in messages.get(&name).into_iter().flatten() {
            lines.insert(format!("{} {field}\n", name.trim_start_matches('.')));
            asked.extend(messages.contains_key(holds).then(|| holds.clone()));
        }
    }
    lines.into_iter().collect()
}
