//! `skiff apiserver`: only the API server, on the embedded store or on any etcd.

use super::{stop, store};
use crate::cli::ApiserverArgs;
use crate::folders::Folders;
use crate::node::{NODE_PORTS, engine, host_name, open_backend};
use anyhow::Context;
use skiff_apiserver::{ApiServer, Config, Pki};
use skiff_store::etcd::ClientTls;
use std::net::TcpListener;

pub(crate) async fn run(args: ApiserverArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    folders.create()?;
    let listener = TcpListener::bind(args.api_listen).with_context(|| format!("listen on {}", args.api_listen))?;
    let address = listener.local_addr().context("address of the API")?;
    let (backend, embedded) = open_backend(&folders, &args.etcd_servers, client_tls(&args)?).await?;
    let names = [address.ip().to_string(), "127.0.0.1".to_owned(), "localhost".to_owned(), host_name()];
    let pki = Pki::open_or_create(&folders.pki(), &names).context("keys of the cluster")?;
    pki.write_kubeconfig(&folders.kubeconfig(), &format!("https://{address}")).context("write the kubeconfig")?;
    let config = Config {
        backend,
        service_cidr: args.service_cluster_ip_range,
        node_port_range: NODE_PORTS,
        pki,
        advertise: address,
        engine: engine("apiserver")?,
    };
    let server = ApiServer::new(config).await.context("start the API server")?;
    println!("serving the Kubernetes API on https://{address}; KUBECONFIG={}", folders.kubeconfig().display());
    let served = server.serve(listener, shutdown).await;
    if let Some(store) = embedded {
        store.close().await;
    }
    served.context("serve")
}

fn client_tls(args: &ApiserverArgs) -> anyhow::Result<Option<ClientTls>> {
    let Some(ca) = &args.etcd_cafile else { return Ok(None) };
    let identity = match (&args.etcd_certfile, &args.etcd_keyfile) {
        (Some(certificate), Some(key)) => Some((store::read(certificate)?, store::read(key)?)),
        _ => None,
    };
    Ok(Some(ClientTls { ca: store::read(ca)?, identity }))
}
