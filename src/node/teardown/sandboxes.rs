//! Stops and removes every pod sandbox the orderly way: through the CRI.

use anyhow::Context;
use futures::{StreamExt, stream};
use skiff_cri::{Cri, CriConfig};
use skiff_proto::cri::v1::runtime_service_client::RuntimeServiceClient;
use skiff_proto::cri::v1::{ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// Sandboxes stopped at once; each waits mostly for the kernel.
const AT_ONCE: usize = 16;
/// One sandbox may take this long: its containers are killed, not asked.
const SANDBOX_MAX: Duration = Duration::from_secs(20);

pub(super) async fn remove_all(config: CriConfig) -> anyhow::Result<usize> {
    let address = format!("unix://{}", config.listen.display());
    let cri = Cri::bind(config).await.context("open the CRI service")?;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(cri.run(shutdown.clone()));
    let channel = Endpoint::from_shared(address)?.connect().await.context("connect to the CRI service")?;
    let removed = remove_listed(RuntimeServiceClient::new(channel)).await;
    shutdown.cancel();
    serving.await.context("end the CRI service")?.context("end the CRI service")?;
    removed
}

async fn remove_listed(mut runtime: RuntimeServiceClient<Channel>) -> anyhow::Result<usize> {
    let listed = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.context("list sandboxes")?;
    let ids = listed.into_inner().items.into_iter().map(|sandbox| sandbox.id);
    let removals: Vec<_> =
        stream::iter(ids.map(|id| remove(runtime.clone(), id))).buffer_unordered(AT_ONCE).collect().await;
    let number = removals.len();
    removals.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    Ok(number)
}

async fn remove(mut runtime: RuntimeServiceClient<Channel>, id: String) -> anyhow::Result<()> {
    let orderly = async {
        runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await?;
        runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.clone() }).await
    };
    let ended = tokio::time::timeout(SANDBOX_MAX, orderly).await.with_context(|| format!("sandbox {id}: no answer"))?;
    ended.map(drop).with_context(|| format!("remove sandbox {id}"))
}
