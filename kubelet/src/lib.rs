//! The node agent: turns the pods assigned to this node into CRI calls, and what happened into pod status.
//!
//! It knows two things only: a container runtime behind CRI v1, and an API server behind a `kube::Client`.
//!
//! What a pod asks for and we do not do is listed in [`unsupported`] and refused by name.

mod agent; // what all pods' tasks share
mod board; // what the HTTPS API may see
mod config; // what it is told
mod cri; // the door to the runtime
mod devices; // claims of devices, plugins that count them, and those that set them up
mod error; // why it cannot
mod events; // what people are told
mod labels; // how the runtime's objects name their pods
mod node; // the Node object and its lease
mod pod; // one pod's life
mod pressure; // how short it is of memory and space, and what gives way
mod probe; // is it up?
mod rotation; // logs that have grown large
mod server; // the HTTPS API: logs, exec, attach, port-forward
mod unsupported; // what we refuse
mod volume; // its files

pub use config::{KubeletConfig, KubeletTls, OnAddresses, PodCidr, PullSettings};
pub use error::KubeletError;
pub use pod::users::{UNIT, UserSettings, Whose};
pub use pressure::{ImageLimits, PressureLimits, Thresholds};
pub use rotation::LogLimits;
pub use skiff_pulls::Policy as PullPolicy;

use agent::Agent;
use cri::Cri;
use events::{Recorder, Severity};
use node::{Keeper, Machine, NodeInputs, PodRange};
use pod::sysctls::Allowed;
use pressure::Gauge;
use skiff_devices::Devices;
use skiff_pulls::{Providers, Records};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A node agent that is bound, connected to its container runtime and registered.
pub struct Kubelet {
    agent: Arc<Agent>,
    keeper: Keeper,
    server: server::Server,
    logs: LogLimits,
    helpers: JoinSet<()>,
}

impl Kubelet {
    /// Binds the HTTPS API, connects to the container runtime and registers the node.
    ///
    /// # Errors
    /// See [`KubeletError`].
    pub async fn start(config: KubeletConfig) -> Result<Self, KubeletError> {
        let sysctls = Allowed::parse(&config.allowed_unsafe_sysctls);
        let sysctls = sysctls.map_err(|message| KubeletError::Sysctls { message })?;
        for folder in [&config.root_dir, &config.log_root()] {
            make_folder(folder)?;
        }
        let server = server::Server::bind(config.listen, &config.tls).await?;
        let cri = Cri::connect(&config.container_runtime_endpoint).await?;
        let runtime = cri.version().await.map_err(|status| KubeletError::runtime("Version", &status))?;
        let features = cri.features("").await.map_err(|status| KubeletError::runtime("Status", &status))?;
        pod::cgroup::create_parents(&config.cgroup_root).map_err(|message| KubeletError::Cgroup { message })?;
        let machine = Machine::read(&config.root_dir);
        let inputs = NodeInputs {
            name: config.node_name.clone(),
            ip: config.node_ip.to_string(),
            pod_cidr: config.pod_cidr.ours().map(str::to_owned),
            max_pods: config.max_pods,
            port: server.address().port(),
            runtime: format!("{}://{}", runtime.name, runtime.version),
            machine: machine.clone(),
        };
        let gauge = Arc::new(Gauge::new(config.pressure.clone(), &config.root_dir));
        let counted = open_devices(&config.root_dir)?;
        let of_node = (Arc::clone(&gauge), counted.clone());
        let keeper = node::register(config.client.clone(), cri.clone(), inputs, of_node).await?;
        let pods = PodRange::new(&config, &cri, keeper.node());
        pods.announce().await.map_err(|status| KubeletError::runtime("UpdateRuntimeConfig", &status))?;
        let mut helpers = JoinSet::new();
        let (recorder, write_events) = Recorder::new(config.client.clone(), &config.node_name);
        helpers.spawn(write_events);
        recorder.node(keeper.node(), Severity::Normal, "Starting", "Starting kubelet.");
        let pulls = open_pulls(&config)?;
        let of_node = (machine, gauge, counted);
        let agent = Agent::new(&config, cri, (runtime.name, features), recorder, of_node, sysctls, pulls);
        let agent = Arc::new(agent);
        pod::pulling::settle(&agent).await;
        if config.pod_cidr.ours().is_none() {
            helpers.spawn(pods.follow(agent.caches.clone()));
        }
        Ok(Self { agent, keeper, server, logs: config.logs, helpers })
    }

    /// Where the HTTPS API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Runs pods until `shutdown` is cancelled; leaves them running then.
    ///
    /// # Errors
    /// The runtime does not list what it has.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), KubeletError> {
        let Self { agent, keeper, server, logs, mut helpers } = self;
        helpers.spawn(keeper.keep());
        helpers.spawn(server.serve(Arc::clone(&agent)));
        helpers.spawn(rotation::keep(Arc::clone(&agent), logs));
        helpers.spawn(pressure::keep(Arc::clone(&agent)));
        helpers.spawn(volume::csi::keep(Arc::clone(&agent)));
        helpers.spawn(devices::counted::keep(Arc::clone(&agent)));
        let result = pod::dispatch::run(agent, shutdown).await;
        helpers.shutdown().await;
        result.map_err(|status| KubeletError::runtime("list sandboxes and containers", &status))
    }
}

fn open_devices(root: &Path) -> Result<Devices, KubeletError> {
    let path = root.parent().unwrap_or(root).join("device-plugins");
    Devices::open(&path).map_err(|source| KubeletError::Folder { operation: "open", path, source })
}

fn open_pulls(config: &KubeletConfig) -> Result<(Providers, Records), KubeletError> {
    let providers = match &config.pulls.providers {
        Some((file, folder)) => Providers::load(file, folder).map_err(|source| KubeletError::Plugins { source })?,
        None => Providers::default(),
    };
    let root = config.root_dir.parent().unwrap_or(&config.root_dir);
    let records = Records::open(root, config.pulls.policy.clone()).map_err(|source| KubeletError::Folder {
        operation: "create",
        path: root.join("image_manager"),
        source,
    })?;
    Ok((providers, records))
}

fn make_folder(path: &Path) -> Result<(), KubeletError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| KubeletError::Folder { operation: "create", path: path.to_owned(), source })
}
