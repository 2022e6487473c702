//! `skiff store`: only the etcd stand-in.

use super::stop;
use crate::cli::{StoreCommand, StoreServeArgs};
use anyhow::Context;
use skiff_store::etcd::{Listen, ServeOptions, Tls};
use skiff_store::{Options, Store};
use std::path::Path;

pub(crate) async fn run(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Serve(args) => serve(args).await,
    }
}

async fn serve(args: StoreServeArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let listen = args.listen_client_urls.iter().map(|url| url.parse::<Listen>()).collect::<Result<_, _>>();
    let listen = listen.context("--listen-client-urls")?;
    let options = ServeOptions { listen, tls: tls(&args)? };
    let defaults = Options::default();
    let quota_bytes = if args.quota_backend_bytes == 0 { defaults.quota_bytes } else { args.quota_backend_bytes };
    let folder = args.data_dir.clone();
    let open = move || Store::open(&folder, Options { quota_bytes, ..defaults });
    let store = tokio::task::spawn_blocking(open).await.context("open the store")?.context("open the store")?;
    println!("serving etcd v3 on {}", args.listen_client_urls.join(", "));
    let served = skiff_store::etcd::serve(store.clone(), options, shutdown).await;
    store.close().await;
    served.context("serve")
}

fn tls(args: &StoreServeArgs) -> anyhow::Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&args.cert_file, &args.key_file) else { return Ok(None) };
    let client_ca = args.trusted_ca_file.as_deref().map(read).transpose()?;
    Ok(Some(Tls { certificate: read(certificate)?, key: read(key)?, client_ca }))
}

/// A file named on the command line.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}
