//! What every pod's task shares: the doors to the runtime and the API, and the node's settings.

use crate::board::Board;
use crate::config::{KubeletConfig, OnAddresses};
use crate::cri::Cri;
use crate::devices::Drivers;
use crate::events::Recorder;
use crate::node::Machine;
use crate::pod::cgroup::PodCgroup;
use crate::pod::container::log_path;
use crate::pod::names::{ClusterNames, HostResolver};
use crate::pod::observed::Instance;
use crate::pod::status::NodeFacts;
use crate::pod::sysctls::Allowed;
use crate::pod::tokens::Purse;
use crate::pod::users::PodUsers;
use crate::pressure::Gauge;
use crate::volume::PodDir;
use crate::volume::csi::Plugins;
use k8s_openapi::api::core::v1::{Pod, Service};
use skiff_client::{Cache, Caches};
use skiff_devices::Devices;
use skiff_proto::cri::v1::RuntimeHandlerFeatures;
use skiff_pulls::{Providers, Records};
use skiff_step::Engine;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pulls at once on a node (KubeletConfiguration, `maxParallelImagePulls`).
const PULLS_MAX: usize = 8;

/// Shared by all workers, behind an `Arc`.
pub(crate) struct Agent {
    pub(crate) node_name: String,
    pub(crate) client: kube::Client,
    pub(crate) cri: Cri,
    pub(crate) recorder: Recorder,
    /// What the node's own identity may see.
    pub(crate) caches: Caches,
    pub(crate) services: Cache<Service>,
    pub(crate) facts: NodeFacts,
    /// What the runtime can do besides.
    pub(crate) features: RuntimeHandlerFeatures,
    pub(crate) machine: Machine,
    pub(crate) cluster: ClusterNames,
    pub(crate) resolver: HostResolver,
    pub(crate) root_dir: PathBuf,
    pub(crate) log_root: PathBuf,
    pub(crate) cgroup_root: String,
    pub(crate) max_pods: u32,
    /// The folder with the files of static pods.
    pub(crate) static_pod_path: Option<PathBuf>,
    pub(crate) sysctls: Allowed,
    /// Ids of pods that have users of their own.
    pub(crate) users: PodUsers,
    /// Awaited when a pod has its addresses.
    pub(crate) on_addresses: Option<OnAddresses>,
    pub(crate) engine: Engine,
    pub(crate) board: Board,
    pub(crate) gauge: Arc<Gauge>,
    /// Tokens of service accounts that pods have in volumes.
    pub(crate) tokens: Purse,
    /// Drivers of volumes.
    pub(crate) plugins: Plugins,
    /// Drivers of devices.
    pub(crate) drivers: Drivers,
    /// Devices that are asked for by number.
    pub(crate) counted: Devices,
    /// Plugins that know credentials for images.
    pub(crate) plugins_of_images: Providers,
    /// With whose credentials images were pulled.
    pub(crate) pull_records: Records,
    /// Images that are pulled at once: each takes a few connections, megabytes of memory and a processor.
    pub(crate) pulls: Semaphore,
}

impl Agent {
    /// Assembles what `config` and the first answers of the runtime give.
    pub(crate) fn new(
        config: &KubeletConfig,
        cri: Cri,
        (runtime_name, features): (String, RuntimeHandlerFeatures),
        recorder: Recorder,
        (machine, gauge, counted): (Machine, Arc<Gauge>, Devices),
        sysctls: Allowed,
        (plugins_of_images, pull_records): (Providers, Records),
    ) -> Self {
        let caches = Caches::new(config.client.clone());
        Self {
            node_name: config.node_name.clone(),
            client: config.client.clone(),
            cri,
            recorder,
            services: caches.all(),
            caches,
            features,
            facts: NodeFacts { host_ip: config.node_ip.to_string(), runtime_name },
            machine,
            cluster: ClusterNames { servers: config.cluster_dns.clone(), domain: config.cluster_domain.clone() },
            resolver: HostResolver::read(),
            root_dir: config.root_dir.clone(),
            log_root: config.log_root(),
            cgroup_root: config.cgroup_root.clone(),
            max_pods: config.max_pods,
            static_pod_path: config.static_pod_path.clone(),
            sysctls,
            users: PodUsers::find(&config.root_dir, config.users, config.max_pods),
            on_addresses: config.on_addresses.clone(),
            engine: config.engine.clone(),
            board: Board::default(),
            gauge,
            tokens: Purse::default(),
            plugins: Plugins::new(&config.root_dir),
            drivers: Drivers::new(&config.root_dir),
            counted,
            plugins_of_images,
            pull_records,
            pulls: Semaphore::new(PULLS_MAX),
        }
    }

    /// The folder of `pod`.
    pub(crate) fn dir(&self, pod: &Pod) -> PodDir {
        PodDir::of(&self.root_dir, pod.metadata.uid.as_deref().unwrap_or_default())
    }

    /// The log folder of `pod`.
    pub(crate) fn logs(&self, pod: &Pod) -> PathBuf {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let meta = &pod.metadata;
        self.log_root.join(format!("{}_{}_{}", text(&meta.namespace), text(&meta.name), text(&meta.uid)))
    }

    /// The log of one of `pod`'s containers.
    pub(crate) fn log(&self, pod: &Pod, instance: &Instance) -> PathBuf {
        self.logs(pod).join(log_path(&instance.name, instance.attempt))
    }

    /// The cgroup of `pod`.
    pub(crate) fn cgroup(&self, pod: &Pod) -> PodCgroup {
        PodCgroup::of(&self.cgroup_root, pod)
    }
}
