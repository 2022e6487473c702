//! The service as a process that tests may kill: `cri-over-fakes DIR RUNTIME SUPERVISOR ROOTFS`.
//!
//! Images are one folder, networks are none; see `tests/support/fakes.rs`.

#[path = "../tests/support/fakes.rs"]
mod fakes;

use fakes::{Folder, NoNetwork};
use skiff_cri::{Cri, Settings};
use skiff_step::Engine;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [dir, runtime, supervisor, rootfs] = &args[..] else {
        return Err("expected DIR RUNTIME SUPERVISOR ROOTFS".into());
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let name = dir.file_name().unwrap_or_default().to_string_lossy().replace('.', "-");
    let settings = Settings {
        listen: dir.join("cri.sock"),
        state_dir: dir.join("run"),
        root_dir: dir.join("data"),
        oci_runtime: runtime.clone(),
        oci_root: dir.join("run/oci"),
        supervisor: supervisor.clone(),
        cgroup_root: format!("/skiff-test-cri{name}"),
        stream_listen: ([127, 0, 0, 1], 0).into(),
        cdi_spec_dirs: vec![dir.join("cdi")],
        engine: Engine::from_env("cri")?,
    };
    let images = Folder { rootfs: rootfs.clone(), snapshots: dir.join("snapshots") };
    let cri = Cri::bind_over(settings, Arc::new(images), Arc::new(NoNetwork)).await?;
    println!("ready");
    Ok(cri.run(CancellationToken::new()).await?)
}
