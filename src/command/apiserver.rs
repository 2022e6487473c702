//! `skiff apiserver`: only the API server, on the embedded store or on any etcd.

use super::stop;
use crate::cli::ApiserverArgs;
use crate::folders::Folders;
use crate::node::{OpenStore, Ranges, engine, hand_over, host_name, open_backend};
use crate::out::tell;
use anyhow::{Context, bail};
use skiff_apiserver::{AdmissionFile, ApiServer, Authorization, Config, Pki, encrypted};
use std::net::{SocketAddr, TcpListener};
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(args: ApiserverArgs) -> anyhow::Result<()> {
    let cbor = speaks_cbor(&args.feature_gates)?;
    let authentication = args.authentication.read()?;
    let audit = args.audit.read()?;
    let (limits, fairly) = args.fairness.read()?;
    args.without_effect.warn();
    let plugins = args.plugins();
    let shutdown = stop::token()?;
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    folders.create()?;
    let listener = TcpListener::bind(args.listen()).with_context(|| format!("listen on {}", args.listen()))?;
    let address = listener.local_addr().context("address of the API")?;
    let services = ("--service-cluster-ip-range", args.service_cluster_ip_range.as_str());
    Ranges { asked: &[services], node_ip: Some(address.ip()) }.check(&[])?;
    let OpenStore { backend, embedded, compaction } = open(&args, &folders, &shutdown).await?;
    let advertise = SocketAddr::new(args.advertise_address.unwrap_or(address.ip()), address.port());
    let own = [address.ip().to_string(), advertise.ip().to_string()];
    let names: Vec<_> = own.into_iter().chain(["127.0.0.1".to_owned(), "localhost".to_owned(), host_name()]).collect();
    let pki = Pki::open_or_create(&folders.pki(), &names).context("keys of the cluster")?;
    let (own, url) = (pki.clone(), format!("https://{address}"));
    pki.write_kubeconfig(&folders.kubeconfig(), &url).context("write the kubeconfig")?;
    let config = Config {
        backend,
        service_cidr: args.service_cluster_ip_range,
        node_port_range: args.service_node_port_range.clone(),
        pki,
        advertise,
        authentication,
        engine: engine("apiserver")?,
    };
    let server = ApiServer::new(config).await.context("start the API server")?;
    let server = server.limited_to(limits, fairly);
    let server = if cbor { server.with_cbor() } else { server };
    let modes = args.authorization_mode.map(Authorization::Modes);
    let server = match modes.or(args.authorization_config.map(Authorization::File)) {
        Some(authorization) => server.authorized_by(&authorization).await.context("start the API server")?,
        None => server,
    };
    let file = args.admission_control_config_file.as_deref().map(AdmissionFile::read).transpose();
    let file = file.context("--admission-control-config-file")?.unwrap_or_default();
    let server = server.with_admission(&file, &plugins).await.context("start the API server")?;
    let server = match audit {
        Some(audit) => server.audited(&audit).await?,
        None => server,
    };
    tell!("serving the Kubernetes API on https://{address}; KUBECONFIG={}", folders.kubeconfig().display());
    if let Some((compactor, every)) = compaction {
        tokio::spawn(compactor.run(every, shutdown.clone()));
    }
    let renewed = server.clone();
    tokio::spawn(own.keep(shutdown.clone(), move |next| hand_over(&renewed, next, &folders.kubeconfig(), &url)));
    let served = server.serve(listener, shutdown).await;
    if let Some(store) = embedded {
        store.close().await;
    }
    served.context("serve")
}

/// The store, encrypted if it is ours or somebody says how.
async fn open(args: &ApiserverArgs, folders: &Folders, shutdown: &CancellationToken) -> anyhow::Result<OpenStore> {
    let own = args.etcd.etcd_servers.is_empty().then(|| folders.encryption());
    let encryption = args.encryption.read(own.as_deref())?;
    let mut store = open_backend(folders, &args.etcd).await?;
    if let Some(encryption) = encryption {
        store.backend = encrypted(store.backend, encryption, shutdown.clone()).await;
    }
    Ok(store)
}

/// Whether the gate of CBOR opens.
fn speaks_cbor(gates: &[String]) -> anyhow::Result<bool> {
    let mut open = false;
    for gate in gates {
        open = match gate.split_once('=') {
            Some(("CBORServingAndStorage", "true")) => true,
            Some(("CBORServingAndStorage", "false")) => false,
            // Whoever tells a plugin of a folder has it.
            Some(("ManifestBasedAdmissionControlConfig", "true")) => open,
            _ => bail!(
                "--feature-gates {gate}: known here are CBORServingAndStorage and ManifestBasedAdmissionControlConfig"
            ),
        };
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::speaks_cbor;

    #[test]
    fn gates_are_known_or_refused() {
        let of = |gates: &[&str]| speaks_cbor(&gates.iter().map(|gate| (*gate).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]).ok(), Some(false));
        let both = ["CBORServingAndStorage=true", "ManifestBasedAdmissionControlConfig=true"];
        assert_eq!(of(&both).ok(), Some(true));
        for wrong in ["CBORServingAndStorage", "AllAlpha=true", "CBORServingAndStorage=yes"] {
            assert!(of(&[wrong]).is_err(), "{wrong}");
        }
    }
}
