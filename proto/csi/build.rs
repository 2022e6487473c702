//! Generates the Rust side of CSI, of drivers and plugins of devices and of the registration of plugins with protox, so that the system needs no `protoc`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["csi.proto", "registration.proto", "dra.proto", "deviceplugin.proto", "podresources.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, [Path::new(".")])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
