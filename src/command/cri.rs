//! `skiff cri`: only the CRI service.

use super::stop;
use crate::cli::CriArgs;
use crate::embedded::Programs;
use crate::folders::Folders;
use crate::node::{Place, Site, check_ranges};
use crate::out::tell;
use anyhow::{Context, bail};
use skiff_cri::Cri;
use std::path::PathBuf;

pub(crate) async fn run(args: CriArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    super::up::check_runtime(args.oci_runtime.as_deref())?;
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    check_ranges(&folders, &args.ranges, None, Place::Host)?;
    folders.create()?;
    let _lock = folders.lock()?;
    let programs = Programs::install(&folders.bin())?.shown_at(&folders.programs());
    let listen = socket(args.listen.as_deref(), &folders)?;
    let cgroup_root = folders.settle_cgroup_root(args.cgroup_root.as_deref())?;
    let site = Site::new(folders, args.ranges, cgroup_root);
    let config = site.cri(listen.clone(), &programs, args.oci_runtime.as_deref(), &args.devices.cdi_spec_dirs)?;
    let cri = Cri::bind(config).await.context("start the CRI service")?;
    tell!("serving CRI v1 on unix://{}", listen.display());
    Ok(cri.run(shutdown).await?)
}

fn socket(listen: Option<&str>, folders: &Folders) -> anyhow::Result<PathBuf> {
    match listen {
        None => Ok(folders.cri_socket()),
        Some(url) => match url.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
            _ => bail!("--listen {url}: want unix:///absolute/path"),
        },
    }
}
