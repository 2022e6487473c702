//! The small client: flags of kubectl, as far as they go.

use super::Form;
use clap::Args;
use std::path::PathBuf;

/// The administrator's kubeconfig of a node in the usual folder.
pub(super) const KUBECONFIG: &str = "/var/lib/skiff/admin.kubeconfig";

/// Which API server, and which namespace.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Kubeconfig of the API server
    #[arg(long, env = "KUBECONFIG", default_value = KUBECONFIG, value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// Namespace [default: that of the kubeconfig, or default]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// The same before the command, as in `skiff -n kube-system get pods`.
#[derive(Debug, Clone, Args)]
pub(crate) struct EarlyArgs {
    #[arg(id = "early_kubeconfig", long = "kubeconfig", hide = true, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    #[arg(id = "early_namespace", short = 'n', long = "namespace", hide = true, value_name = "NAME")]
    pub(super) namespace: Option<String>,
}

/// How objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A table with all columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// kind/name, a line each
    Name,
}

/// How an object is told that was just changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Told {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// kind/name, a line each
    Name,
}

/// `skiff apply`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff apply -f pod.yaml
  skiff apply -f manifests/ -n shop      every .yaml, .yml and .json of the folder
  kubectl create deploy web --image=skiff.local/demo --dry-run=client -o yaml | skiff apply -f -")]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// A file of YAML or JSON, a folder of them, or - for standard input (may be repeated)
    #[arg(short, long, required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Let the server check everything and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the objects as the server has them now, instead of what was done
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Told>,
}

/// `skiff get`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff get pods -A -o wide              of all namespaces, with all columns
  skiff get all                          pods, services and what owns them
  skiff get deploy/hello svc/hello -o yaml
  skiff get events --watch
  skiff get pods -l app=web --field-selector status.phase=Running -o name")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// A resource and names (pods web db), several resources (pods,svc), resource/name pairs (deploy/hello svc/hello), or all
    #[arg(required = true, value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only objects with these labels: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Only objects with these fields: spec.nodeName=a
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Output>,
    /// Go on showing changes
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// `skiff describe`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff describe pod web                 the object, and the events about it
  skiff describe node
  skiff describe deploy/hello -o json    for a script: .object and .events")]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// A resource and names, or resource/name pairs
    #[arg(required = true, value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    /// Only objects with these labels: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Print objects and events for a script
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Form>,
}

/// How an explanation is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Telling {
    /// Sentences
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// `skiff why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff why pod/web -n shop              why it does not run, is not ready, or does not go
  skiff why svc/web                      why nobody answers
  skiff why pod/web --to db.shop:5432    why the pod does not come there: names, policies, routes
  skiff why node/a
  skiff why deployment/web -o json       down to its pods; also of rs, sts, ds, job, cronjob and pvc
Exit codes: 0 nothing is wrong; 1 a cause was found; 2 it could not tell.
It asks any API server what kubectl could ask; nodes of skiff say more of themselves than others do.")]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// A resource and a name (pod web), a pair of them (svc/web), or the name of a pod
    #[arg(required = true, num_args = 1..=2, value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    /// A name or address, with a port or not, that the pod is to reach
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) to: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Telling,
}

/// `skiff delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff delete pod web
  skiff delete deploy/hello svc/hello
  skiff delete -f pod.yaml --grace-period 0")]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// A resource and names, or resource/name pairs
    #[arg(required_unless_present = "filename", value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    /// The objects of these manifests
    #[arg(short, long, value_name = "FILE", conflicts_with = "what")]
    pub(crate) filename: Vec<PathBuf>,
    /// Seconds that a pod gets to end
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<i64>,
    /// What happens to owned objects: Background, Foreground or Orphan
    #[arg(long, default_value = "Background", value_name = "POLICY")]
    pub(crate) cascade: String,
    /// Do not complain about objects that are not there
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Wait until the objects are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) wait: bool,
    /// Print only kind/name
    #[arg(short, long, value_name = "FORM", value_parser = ["name"])]
    pub(crate) output: Option<String>,
}

/// `skiff logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff logs web
  skiff logs deploy/hello -f             of one of its pods, as it is written
  skiff logs web -c init --previous --tail 20")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// A pod, or deploy/, rs/, job/ or svc/ with a name
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// Which container, if the pod has several
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on showing what is written
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of the container's previous run
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// With the time of each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<i64>,
}

/// `skiff exec`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff exec web -- cat /etc/hostname
  skiff exec -it deploy/hello -- sh      a shell in one of its pods
The exit code is that of the command.")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Pass standard input to the command
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Which container, if the pod has several
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// A pod, or deploy/, rs/, job/ or svc/ with a name
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// The command, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
