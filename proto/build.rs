//! Generates the Rust side of every protocol with protox, so that the system needs no `protoc`.

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
        tonic_prost_build::configure().bytes(".etcdserverpb").bytes(".mvccpb").compile_fds(descriptors)?;
    }
    Ok(())
}
