//! With whose credentials an image is pulled, and whether a pod may use one that is there (Kubernetes, "Images", "Ensure secret
//! pulled images"; "Configure a kubelet image credential provider"). For containers and for volumes that show images.

use super::pull_secrets;
use super::sources::{self, References};
use super::tokens;
use crate::agent::Agent;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use skiff_client::sentence;
use skiff_proto::cri::v1 as cri;
use skiff_pulls::{About, Accounts, Source, repository};

/// Credentials and where they come from; those of the node have no source.
type Tried = (cri::AuthConfig, Option<Source>);

/// What the pod's secrets and the node's plugins have for `image`, the most fitting first.
async fn credentials(agent: &Agent, pod: &Pod, image: &str) -> Vec<Tried> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let references = pod.spec.as_ref().map(References::of_pulls).unwrap_or_default();
    // A secret that is not there, or not ours to see, must not keep a pod from an image that everybody may have.
    let found = sources::fetch(&agent.client, namespace, &references).await;
    let secrets: Vec<_> = found.unwrap_or_default().secrets.into_values().flatten().collect();
    let mut all: Vec<Tried> = pull_secrets::for_image(image, &secrets)
        .into_iter()
        .map(|(auth, secret)| (auth, Some(Source::Secret(secret))))
        .collect();
    let asker = Asker { agent, pod };
    for found in agent.plugins_of_images.find(&repository(image), &asker).await {
        let auth = cri::AuthConfig { username: found.username, password: found.password, ..Default::default() };
        all.push((auth, found.account.map(Source::Account)));
    }
    all
}

/// Whether the pod may use `image`, which is there as `image_ref`, without showing that it can pull it.
pub(crate) async fn may_use(agent: &Agent, pod: &Pod, image: &str, image_ref: &str) -> bool {
    if !agent.pull_records.asks(image, image_ref) || agent.pull_records.is_everybodys(image, image_ref) {
        return true;
    }
    let found = credentials(agent, pod, image).await;
    let shown: Vec<Source> = found.into_iter().filter_map(|(_, source)| source).collect();
    agent.pull_records.may_use(image, image_ref, &shown)
}

/// Pulls with each of the pod's credentials until one is good for the image, and without any if there are none; the image as the
/// runtime has it then, or none where it has none.
pub(crate) async fn pull(
    agent: &Agent,
    pod: &Pod,
    spec: &cri::ImageSpec,
    sandbox: &cri::PodSandboxConfig,
) -> Result<Option<cri::Image>, tonic::Status> {
    let name = &spec.image;
    agent.pull_records.begin(name).map_err(|error| {
        tonic::Status::unknown(format!("failed to record image pull intent for container image \"{name}\": {error}"))
    })?;
    let pulled = pull_with_any(agent, pod, spec, sandbox).await;
    if let Ok((Some(image), source)) = &pulled {
        agent.pull_records.pulled(name, &image.id, source.as_ref());
    } else {
        agent.pull_records.failed(name);
    }
    pulled.map(|(image, _)| image)
}

async fn pull_with_any(
    agent: &Agent,
    pod: &Pod,
    spec: &cri::ImageSpec,
    sandbox: &cri::PodSandboxConfig,
) -> Result<(Option<cri::Image>, Option<Source>), tonic::Status> {
    let found = credentials(agent, pod, &spec.image).await;
    let mut tries: Vec<_> = found.into_iter().map(|(auth, source)| (Some(auth), source)).collect();
    if tries.is_empty() {
        tries.push((None, None));
    }
    let mut last = Err(tonic::Status::unknown("no credentials were tried"));
    for (auth, source) in tries {
        last = match agent.cri.pull(spec.clone(), auth, sandbox.clone()).await {
            Ok(_) => return Ok((agent.cri.image(spec.clone()).await?, source)),
            Err(status) => Err(status),
        };
    }
    last
}

/// Pulls that the kubelet before this one began: what the runtime has of them was pulled, by nobody knows whom.
pub(crate) async fn settle(agent: &Agent) {
    for name in agent.pull_records.begun() {
        let spec = cri::ImageSpec { image: name.clone(), user_specified_image: name.clone(), ..Default::default() };
        match agent.cri.image(spec).await {
            Ok(Some(image)) => agent.pull_records.settle(&name, &image.id),
            Ok(None) => agent.pull_records.failed(&name),
            Err(status) => tracing::warn!("image {name}, whose pull was under way: {}", crate::cri::said(&status)),
        }
    }
}

/// The pod, for plugins that work with its service account.
struct Asker<'a> {
    agent: &'a Agent,
    pod: &'a Pod,
}

impl Accounts for Asker<'_> {
    fn name(&self) -> Option<(String, String)> {
        let account = self.pod.spec.as_ref()?.service_account_name.clone().filter(|name| !name.is_empty())?;
        Some((self.pod.metadata.namespace.clone().unwrap_or_default(), account))
    }

    fn about(&self) -> About<'_> {
        async {
            let (namespace, name) = self.name().unwrap_or_default();
            let accounts: Api<ServiceAccount> = Api::namespaced(self.agent.client.clone(), &namespace);
            let found = accounts.get(&name).await;
            let found =
                found.map_err(|error| format!("get serviceaccount {namespace}/{name}: {}", sentence(&error)))?;
            Ok((found.metadata.uid.unwrap_or_default(), found.metadata.annotations.unwrap_or_default()))
        }
        .boxed()
    }

    fn token<'a>(&'a self, uid: &'a str, audience: &'a str) -> BoxFuture<'a, Result<String, String>> {
        tokens::for_plugin(self.agent, self.pod, uid, audience).boxed()
    }
}
