//! What the node agent is told when it starts.
//!
//! Every folder, address and key comes from the caller; the kubelet knows no default but those that Kubernetes itself
//! prescribes (ports in the node status, intervals of leases).

use crate::pod::users::UserSettings;
use crate::pressure::PressureLimits;
use crate::rotation::LogLimits;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use skiff_client::Presented;
use skiff_step::Engine;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything a kubelet needs from the outside.
#[derive(Clone)]
pub struct KubeletConfig {
    /// The node's name in the API; pods with this `spec.nodeName` are run.
    pub node_name: String,
    /// The API server, as `system:node:<node_name>`.
    pub client: kube::Client,
    /// The CRI socket, `unix:///run/…/cri.sock`.
    pub container_runtime_endpoint: String,
    /// Where pods keep volumes and managed files: `<data-dir>/pods`. Logs go to `logs` beside it.
    pub root_dir: PathBuf,
    /// The cgroup all pods live under, `/skiff`; created if missing, never left.
    pub cgroup_root: String,
    /// The address announced as InternalIP and as `status.hostIP`.
    pub node_ip: IpAddr,
    /// Who gives the pods' addresses.
    pub pod_cidr: PodCidr,
    /// Where the kubelet's HTTPS API listens; port 0 takes a free one, which the node status then names.
    pub listen: SocketAddr,
    /// Keys of the HTTPS API.
    pub tls: KubeletTls,
    /// Name servers of `dnsPolicy: ClusterFirst`; empty while there is no cluster DNS (such pods get the host's).
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// How many pods the node announces and accepts; Kubernetes says 110.
    pub max_pods: u32,
    /// A folder with files that describe static pods.
    pub static_pod_path: Option<PathBuf>,
    /// Kernel parameters that pods may set besides the safe ones: names, or starts of names that end in `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// What pods get that have users of their own, and which pods do.
    pub users: UserSettings,
    /// How large container logs may become.
    pub logs: LogLimits,
    /// When the node is short of memory, space or processes, and what goes then.
    pub pressure: PressureLimits,
    /// Credentials for images.
    pub pulls: PullSettings,
    /// Awaited when a pod has its addresses, before any of its containers starts; `None`: nobody has to know of them.
    pub on_addresses: Option<OnAddresses>,
    /// Records the steps of pod starts.
    pub engine: Engine,
}

/// Credentials for images: who knows some, and who has to show some for an image that is there.
#[derive(Debug, Clone, Default)]
pub struct PullSettings {
    /// The file or folder that names plugins, and the folder of their programs.
    pub providers: Option<(PathBuf, PathBuf)>,
    /// For which images a pod has to show credentials.
    pub policy: skiff_pulls::Policy,
}

/// What is called with a pod and its addresses.
type Act = dyn Fn(Arc<Pod>, Vec<String>) -> BoxFuture<'static, ()> + Send + Sync;

/// What has to happen before a pod's first packet: whoever enforces network policies gets to know the pod's addresses.
#[derive(Clone)]
pub struct OnAddresses(Arc<Act>);

impl OnAddresses {
    /// Of a function that returns once the addresses may be used.
    #[must_use]
    pub fn new(act: impl Fn(Arc<Pod>, Vec<String>) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(act))
    }

    /// Waits until they may be used.
    pub(crate) async fn wait(&self, pod: Arc<Pod>, addresses: Vec<String>) {
        (self.0)(pod, addresses).await;
    }
}

impl fmt::Debug for OnAddresses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("OnAddresses")
    }
}

/// Who gives the range of the node's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodCidr {
    /// Nobody else does: this one is written to `spec.podCIDR` and told to the runtime.
    Ours(String),
    /// The control plane writes `spec.podCIDR`, and the runtime is told what stands there; as long as there is nothing, it is
    /// told this one, if any.
    FromNode(Option<String>),
}

impl PodCidr {
    /// The range that is ours to give.
    pub(crate) fn ours(&self) -> Option<&str> {
        match self {
            Self::Ours(range) => Some(range),
            Self::FromNode(_) => None,
        }
    }

    /// The range as long as the node object names none.
    pub(crate) fn fallback(&self) -> Option<&str> {
        match self {
            Self::Ours(range) => Some(range),
            Self::FromNode(range) => range.as_deref(),
        }
    }
}

/// Keys of the kubelet's HTTPS API.
#[derive(Debug, Clone)]
pub struct KubeletTls {
    /// The serving certificate; whoever has made it puts another in its place before it ends.
    pub serving: Arc<Presented>,
    /// Client certificates must come from this authority (PEM).
    pub client_ca: String,
}

impl KubeletConfig {
    /// Where container logs are written: `<root_dir>/../logs`.
    #[must_use]
    pub fn log_root(&self) -> PathBuf {
        self.root_dir.parent().unwrap_or(Path::new("/")).join("logs")
    }
}
