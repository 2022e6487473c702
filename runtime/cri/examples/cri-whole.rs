//! The service over the real image store and the real pod networks, as a process that a test starts in a network
//! namespace of its own: `cri-whole DIR RUNTIME SUPERVISOR WEB`.

use skiff_cri::{Cri, CriConfig};
use skiff_image::{Builtin, ImageStore};
use skiff_net::{NetConfig, PodNetworks};
use skiff_step::Engine;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [dir, runtime, supervisor, web] = &args[..] else { return Err("expected DIR RUNTIME SUPERVISOR WEB".into()) };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    skiff_net::prepare_own([10, 0, 0, 1].into())?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy().replace('.', "-");
    let builtin = Builtin { web: Some(web.clone()) };
    let networks = PodNetworks::new(NetConfig {
        state_dir: dir.join("network"),
        pod_cidr: "10.244.9.0/24".to_owned(),
        cluster_cidr: None,
        service_cidr: None,
        bridge: "skiff0".to_owned(),
        interface_prefix: "skf".to_owned(),
        cni: None,
        masquerade: false,
        table: "skiff_test".to_owned(),
        engine: Engine::from_env("net")?,
    })?;
    let cri = Cri::bind(CriConfig {
        listen: dir.join("cri.sock"),
        state_dir: dir.join("run"),
        root_dir: dir.join("data"),
        oci_runtime: runtime.clone(),
        supervisor: supervisor.clone(),
        images: ImageStore::open(&dir.join("images"), builtin, Engine::from_env("image")?)?,
        networks,
        cgroup_root: format!("/skiff-test-cri{name}"),
        stream_listen: ([127, 0, 0, 1], 0).into(),
        cdi_spec_dirs: vec![dir.join("cdi")],
        engine: Engine::from_env("cri")?,
    })
    .await?;
    println!("ready");
    Ok(cri.run(CancellationToken::new()).await?)
}
