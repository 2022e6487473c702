//! What may be typed. Names of flags are those of the programs that Skiff stands in for, where there is one.

mod apiserver; // `skiff apiserver`
mod audit; // what an API server records
mod authentication; // whom an API server believes
mod autoscaler; // how fast autoscalers follow
mod client; // the small client
mod dns; // names
mod election; // which of several works
mod encryption; // who encrypts what is stored
mod etcd; // where objects are, if not here
mod fairness; // how many requests at a time
mod image; // `skiff image`
mod ingress; // requests from outside
mod join; // a node of another cluster
mod names; // names that the API takes
mod node; // what a node is told
mod pressure; // when a node is short of something
mod pulls; // credentials for images
mod ranges; // addresses
mod refused; // flags of etcd that do not work here
mod registry; // `skiff registry`
mod run; // `skiff run`
mod store; // `skiff store`
mod tips; // what a refused command line is answered
mod top; // `skiff top`
mod users; // who the users of pods are

mod without_effect; // flags that stock manifests pass and that do nothing here

#[cfg(test)]
mod tests;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub(crate) use apiserver::ApiserverArgs;
pub(crate) use audit::{AuditArgs, AuditCommand, AuditVerifyArgs};
pub(crate) use authentication::AuthenticationArgs;
pub(crate) use client::*;
pub(crate) use dns::{ClusterNameArgs, DnsArgs, Part};
pub(crate) use election::{ControllersArgs, SchedulerArgs, standing};
pub(crate) use encryption::EncryptionArgs;
pub(crate) use etcd::EtcdArgs;
pub(crate) use fairness::FairnessArgs;
pub(crate) use image::*;
pub(crate) use ingress::{IngressArgs, ServeIngressArgs};
pub(crate) use join::{JoinArgs, TokenArgs, TokenCommand};
pub(crate) use node::{DeviceArgs, NodeArgs};
pub(crate) use pressure::{LogArgs, PressureArgs};
pub(crate) use pulls::PullArgs;
pub(crate) use ranges::RangeArgs;
pub(crate) use registry::{RegistryArgs, RegistryCommand, ServeRegistryArgs, UpRegistryArgs};
pub(crate) use run::{ListForm, Pull, RunArgs, RunCommand, RunLogsArgs, RunLsArgs, RunRmArgs};
pub(crate) use store::*;
pub(crate) use top::{SortBy, TopWhat, UsageArgs};
pub(crate) use users::UserArgs;
use without_effect::{Kubelet, Proxy, WithoutEffect};

/// A whole Kubernetes node that one person can hold in the head.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Say more on stderr: -v information, -vv debugging. RUST_LOG overrides it.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    early: EarlyArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    /// It cannot be read, or asks for help: what is to be printed, and the exit code.
    pub(crate) fn read<W: Into<OsString> + Clone>(words: impl IntoIterator<Item = W>) -> Result<Self, clap::Error> {
        let read = Self::try_parse_from(words).and_then(Self::settle);
        read.map_err(|error| tips::improve(error, &Self::command()))
    }

    /// Gives flags that stand before the command to it.
    fn settle(mut self) -> Result<Self, clap::Error> {
        let EarlyArgs { kubeconfig, namespace } = self.early.clone();
        let refused = |flag: &str, command: &Command| {
            let text = format!("'{flag}' is not for 'skiff {}'", command.name());
            Self::command().error(ErrorKind::UnknownArgument, text)
        };
        if let Some(kubeconfig) = kubeconfig {
            match self.command.kubeconfig() {
                Some(place) => *place = kubeconfig,
                None => return Err(refused("--kubeconfig", &self.command)),
            }
        }
        if let Some(namespace) = namespace {
            match self.command.server() {
                Some(server) => server.namespace.get_or_insert(namespace),
                None => return Err(refused("--namespace", &self.command)),
            };
        }
        Ok(self)
    }
}

const EXAMPLES: &str = "Examples:
  skiff up --demo                      a node in a box with a deployment to look at; Ctrl-C leaves nothing behind
  skiff up --isolated                  the same, empty and lasting; `skiff down` removes it
  skiff apply -f pod.yaml              create or update what a manifest says
  skiff get pods -A                    what runs
  skiff get all -n shop                what runs there
  skiff why pod/web -n shop            why it does not run, or is not ready
  skiff image from-host -t skiff.local/app:1 ./app:/app -- /app       an image of a program of this host
  skiff image build -t skiff.local/app:1 .       one by a Dockerfile
  skiff store serve --listen-client-urls http://127.0.0.1:2379      only the etcd stand-in

Exit codes: 0 done; 1 refused or failed, with a sentence on standard error; 2 the command line is wrong; of exec, the\ncommand's; of why, 1 if a cause was found and 2 if it could not tell.";

/// The commands, in the order in which a newcomer needs them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole node in this process
    Up(Box<UpArgs>),
    /// Stop a node and leave the host as it was
    Down(DownArgs),
    /// Run a node of a cluster whose API server is elsewhere
    Join(Box<JoinArgs>),
    /// Work on tokens with which nodes join
    #[command(subcommand)]
    Token(TokenCommand),
    /// Serve, save, restore, check, copy and watch the etcd stand-in
    #[command(subcommand)]
    Store(StoreCommand),
    /// Work on audit logs
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Run only the API server, on the embedded store or on any etcd
    Apiserver(Box<ApiserverArgs>),
    /// Run only the scheduler, against any API server
    #[command(
        after_help = "Example:\n  skiff scheduler --kubeconfig /etc/kubernetes/scheduler.conf --config scheduler.yaml"
    )]
    Scheduler(SchedulerArgs),
    /// Run only the controllers, against any API server
    #[command(after_help = "Example:\n  skiff controllers --kubeconfig /etc/kubernetes/controller-manager.conf")]
    Controllers(ControllersArgs),
    /// Run only the node agent, against any API server and CRI runtime
    Kubelet(Box<KubeletArgs>),
    /// Run only the service proxy, against any API server
    Proxy(ProxyArgs),
    /// Run only the ingress controller, against any API server
    Ingress(IngressArgs),
    /// Run only the CRI service
    Cri(CriArgs),
    /// Work on the image store
    Image(ImageArgs),
    /// Serve images to others, and look at those that are served
    Registry(RegistryArgs),
    /// Serve a web application from its image, encrypted and under a name
    Run(RunArgs),
    /// Create or change objects as manifests say
    Apply(ApplyArgs),
    /// Show objects
    Get(GetArgs),
    /// Show objects in detail, with their events
    Describe(DescribeArgs),
    /// Show what nodes or pods use
    Top(UsageArgs),
    /// Say why something does not run or answer, with figures and what can be done
    Why(WhyArgs),
    /// Delete objects and wait until they are gone
    Delete(DeleteArgs),
    /// Show what a container wrote
    Logs(LogsArgs),
    /// Run a command in a container
    Exec(ExecArgs),
    /// Print what makes a shell complete skiff's command lines
    #[command(after_help = "Examples:
  skiff completion bash > /etc/bash_completion.d/skiff
  skiff completion zsh > /usr/local/share/zsh/site-functions/_skiff
  skiff completion fish > ~/.config/fish/completions/skiff.fish")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    #[command(after_help = "Example:
  skiff man /usr/local/share/man/man1; man skiff-image-build")]
    Man {
        /// The folder; it is made if it is not there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Live inside a node's namespaces and keep them (started by `up --isolated`)
    #[command(hide = true)]
    Hold {
        /// The node's run folder, where the holder writes down who it is
        run_dir: PathBuf,
    },
}

impl Command {
    /// The word that stands for it.
    fn name(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Down(_) => "down",
            Self::Join(_) => "join",
            Self::Token(_) => "token",
            Self::Store(_) => "store",
            Self::Audit(_) => "audit",
            Self::Apiserver(_) => "apiserver",
            Self::Scheduler(_) => "scheduler",
            Self::Controllers(_) => "controllers",
            Self::Kubelet(_) => "kubelet",
            Self::Proxy(_) => "proxy",
            Self::Ingress(_) => "ingress",
            Self::Cri(_) => "cri",
            Self::Image(_) => "image",
            Self::Registry(_) => "registry",
            Self::Run(_) => "run",
            Self::Apply(_) => "apply",
            Self::Get(_) => "get",
            Self::Describe(_) => "describe",
            Self::Top(_) => "top",
            Self::Why(_) => "why",
            Self::Delete(_) => "delete",
            Self::Logs(_) => "logs",
            Self::Exec(_) => "exec",
            Self::Completion { .. } => "completion",
            Self::Man { .. } => "man",
            Self::Hold { .. } => "hold",
        }
    }

    /// Which API server the small client asks, and about which namespace.
    fn server(&mut self) -> Option<&mut ServerArgs> {
        match self {
            Self::Run(args) => Some(args.server()),
            Self::Apply(args) => Some(&mut args.server),
            Self::Get(args) => Some(&mut args.server),
            Self::Describe(args) => Some(&mut args.server),
            Self::Top(args) => Some(&mut args.server),
            Self::Why(args) => Some(&mut args.server),
            Self::Delete(args) => Some(&mut args.server),
            Self::Logs(args) => Some(&mut args.server),
            Self::Exec(args) => Some(&mut args.server),
            _ => None,
        }
    }

    /// The kubeconfig of those who have one.
    fn kubeconfig(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Scheduler(args) => Some(&mut args.client.kubeconfig),
            Self::Controllers(args) => Some(&mut args.client.kubeconfig),
            Self::Kubelet(args) => Some(&mut args.client.kubeconfig),
            Self::Proxy(args) => Some(&mut args.client.kubeconfig),
            Self::Ingress(args) => Some(&mut args.client.kubeconfig),
            Self::Token(TokenCommand::Create(args)) => Some(&mut args.client.kubeconfig),
            other => other.server().map(|server| &mut server.kubeconfig),
        }
    }
}

/// Where a node keeps things.
#[derive(Debug, Clone, Args)]
pub(crate) struct FolderArgs {
    /// Folder for what must survive a restart of the machine [default: /var/lib/skiff]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Folder for sockets and the state of running pods [default: /run/skiff; for another data folder, one of its own]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) run_dir: Option<PathBuf>,
}

/// `skiff up`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  skiff up --demo                      a deployment to look at; Ctrl-C leaves nothing behind
  skiff up --isolated --nodes 2        two nodes, each in a box of its own
  skiff up --isolated --publish 8080:30080      in a box; node port 30080 is at 127.0.0.1:8080 of the host
  skiff up                             on the host itself: its pods are in the host's network")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    #[command(flatten)]
    pub(crate) ranges: RangeArgs,
    /// Run in network and mount namespaces of its own: nothing is added to the host's
    #[arg(long)]
    pub(crate) isolated: bool,
    /// How many nodes: this one, and others in boxes of their own that are joined to it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16), requires = "isolated", value_name = "NUMBER")]
    pub(crate) nodes: u8,
    /// Be this one of the others (given by `up --nodes` to itself)
    #[arg(long, hide = true)]
    pub(crate) member: Option<u8>,
    /// Show a deployment at work in an isolated node; Ctrl-C removes everything
    #[arg(long)]
    pub(crate) demo: bool,
    /// Where the API listens [default: 127.0.0.1:6443; port 0 takes a free one]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) api_listen: Option<SocketAddr>,
    /// Where pods reach the API: the service `kubernetes` leads there [default: the address of --api-listen, if pods reach it;
    /// else the node's side of the pod network, where the API then listens too]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_address: Option<IpAddr>,
    /// Addresses for services of the type LoadBalancer, such as 192.0.2.0/28; every node leads them to the service, the network has to
    /// lead them to a node [default: such services get no address]
    #[arg(long, value_name = "CIDR")]
    pub(crate) load_balancer_range: Option<String>,
    /// Let services take traffic for any address that whoever writes them names (spec.externalIPs): they can take that of others
    #[arg(long)]
    pub(crate) allow_external_ips: bool,
    /// Open a node port of an isolated node on the host's loopback (may be repeated)
    #[arg(long, value_name = "HOST_PORT:NODE_PORT", requires = "isolated")]
    pub(crate) publish: Vec<String>,
    /// The node's address [default: that of the default route, or else of the first interface; 172.31.255.1 for an isolated
    /// node]
    #[arg(long, value_name = "IP")]
    pub(crate) node_ip: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Open the store to etcd clients as well, e.g. http://127.0.0.1:2379 (may be repeated)
    #[arg(long, value_name = "URL", conflicts_with = "etcd_servers")]
    pub(crate) etcd_listen: Vec<String>,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    #[command(flatten)]
    pub(crate) audit: AuditArgs,
    #[command(flatten)]
    pub(crate) encryption: EncryptionArgs,
    #[command(flatten)]
    pub(crate) registry: UpRegistryArgs,
    #[command(flatten)]
    pub(crate) ingress: ServeIngressArgs,
    /// Run the scheduler and the controllers only while leading: for several nodes on one etcd
    #[arg(long)]
    pub(crate) leader_elect: bool,
    /// Append a line of JSON for each step, from API write to execve
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}

/// `skiff down`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  skiff down                           nothing runs any more; objects and images stay
  skiff down --purge                   nothing is left")]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    #[command(flatten)]
    pub(crate) ranges: RangeArgs,
    /// Remove the data folder too: objects, images, keys
    #[arg(long)]
    pub(crate) purge: bool,
    /// The cgroup given to `up`, if one was
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_root: Option<String>,
}

/// How to reach an API server.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientArgs {
    /// Kubeconfig of the API server
    #[arg(long, env = "KUBECONFIG", default_value = KUBECONFIG, value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
}

/// `skiff kubelet`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff kubelet --kubeconfig node.kubeconfig
  skiff kubelet --kubeconfig node.kubeconfig --bootstrap-kubeconfig token.kubeconfig --rotate-server-certificates
  skiff kubelet --kubeconfig node.kubeconfig --container-runtime-endpoint unix:///run/containerd/containerd.sock")]
pub(crate) struct KubeletArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    /// Kubeconfig with a token: as long as --kubeconfig holds no certificate, one is asked for with it and written there
    #[arg(long, value_name = "FILE")]
    pub(crate) bootstrap_kubeconfig: Option<PathBuf>,
    /// Ask the cluster for the certificate of the HTTPS API, too, and for another before it ends
    #[arg(
        long, default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false,
        action = clap::ArgAction::Set, conflicts_with = "tls_cert_file", value_name = "BOOL"
    )]
    pub(crate) rotate_server_certificates: bool,
    /// The CRI runtime's socket
    #[arg(long, default_value = "unix:///run/skiff/cri.sock", value_name = "URL")]
    pub(crate) container_runtime_endpoint: String,
    /// The node's name in the API [default: the host's name]
    #[arg(long, value_parser = names::node, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// The node's address [default: that of the default route]
    #[arg(long, value_name = "IP")]
    pub(crate) node_ip: Option<IpAddr>,
    /// Port of the HTTPS API
    #[arg(long, default_value_t = 10250, value_name = "PORT")]
    pub(crate) port: u16,
    /// Folder with files that describe static pods
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    /// Kernel parameters that pods may set besides the safe ones: names, or starts of names with * (may be repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) allowed_unsafe_sysctls: Vec<String>,
    #[command(flatten)]
    pub(crate) users: UserArgs,
    #[command(flatten)]
    pub(crate) names: ClusterNameArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
    #[command(flatten)]
    pub(crate) pressure: PressureArgs,
    #[command(flatten)]
    pub(crate) pulls: PullArgs,
    /// The cgroup below which pods live [default: /skiff]
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_root: Option<String>,
    /// Addresses of pods as long as the node object names none; the control plane allocates them (spec.podCIDR)
    #[arg(long, value_name = "CIDR")]
    pub(crate) pod_cidr: Option<String>,
    /// Certificate of the HTTPS API, with those above it (PEM) [default: one of an authority in the data folder]
    #[arg(long, requires = "tls_private_key_file", value_name = "FILE")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, requires = "tls_cert_file", value_name = "FILE")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// Authorities of those who may use the HTTPS API (PEM) [default: the one in the data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect<Kubelet>,
}

/// `skiff proxy`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  skiff proxy --kubeconfig proxy.kubeconfig --cluster-cidr 10.244.0.0/24")]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// The node's name in the API [default: the host's name]
    #[arg(long, value_parser = names::node, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// Addresses of pods
    #[arg(long, default_value = "10.244.0.0/24", value_name = "CIDR")]
    pub(crate) cluster_cidr: String,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect<Proxy>,
}

/// `skiff cri`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff cri
  skiff cri --listen unix:///run/skiff/other.sock --oci-runtime /usr/bin/crun")]
pub(crate) struct CriArgs {
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    #[command(flatten)]
    pub(crate) ranges: RangeArgs,
    /// Where the service listens [default: unix://RUN_DIR/cri.sock]
    #[arg(long, value_name = "URL")]
    pub(crate) listen: Option<String>,
    /// Use this OCI runtime instead of the one carried inside
    #[arg(long, value_name = "FILE")]
    pub(crate) oci_runtime: Option<PathBuf>,
    /// The cgroup below which pods live when the client names none [default: /skiff]
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_root: Option<String>,
    #[command(flatten)]
    pub(crate) devices: DeviceArgs,
}
