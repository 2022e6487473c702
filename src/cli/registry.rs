//! `skiff registry`.

use super::{FolderArgs, Output};
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `skiff registry`.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

/// What can be done with a registry.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Serve images to podman, docker, buildah, skopeo, containerd and nodes
    Serve(ServeRegistryArgs),
    /// Show repositories, whether or not the registry runs
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  skiff registry list
  skiff registry list -o json --data-dir /srv/images"
    )]
    List {
        /// How to print them
        #[arg(short, long, value_enum, value_name = "FORM")]
        output: Option<Output>,
    },
    /// Show a repository's tags, whether or not the registry runs
    #[command(after_help = "Example:
  skiff registry tags team/app -o json")]
    Tags {
        /// The repository
        repository: String,
        /// How to print them
        #[arg(short, long, value_enum, value_name = "FORM")]
        output: Option<Output>,
    },
    /// Show which images a lifecycle policy would remove, and remove nothing
    #[command(after_help = "Examples:
  skiff registry preview team/app --policy policy.json       a policy in the form of Amazon ECR
  skiff registry preview team/app --config registry.yaml     the one that the configuration has for it")]
    Preview {
        /// The repository
        repository: String,
        /// The policy, in JSON
        #[arg(long, value_name = "FILE", required_unless_present = "config")]
        policy: Option<PathBuf>,
        /// A registry's configuration, whose policy for this repository is taken
        #[arg(long, value_name = "FILE", conflicts_with = "policy")]
        config: Option<PathBuf>,
        /// How to print them
        #[arg(short, long, value_enum, value_name = "FORM")]
        output: Option<Output>,
    },
    /// Show which packages of an image are known to be vulnerable, whether or not the registry runs
    #[command(after_help = "Examples:
  skiff registry scan team/app:1
  skiff registry scan team/app@sha256:… --config registry.yaml -o json     with the suppressions of a configuration
  skiff registry scan team/app:1 --fail-on high")]
    Scan {
        /// The image: REPOSITORY:TAG or REPOSITORY@DIGEST
        image: String,
        /// The folder of the database [default: vulnerabilities in the data folder]
        #[arg(long, value_name = "FOLDER")]
        database: Option<PathBuf>,
        /// A registry's configuration, whose database and suppressions are taken
        #[arg(long, value_name = "FILE", conflicts_with = "database")]
        config: Option<PathBuf>,
        /// Fail if something is found of this severity or a worse one
        #[arg(long, value_name = "SEVERITY", value_parser = ["critical", "high", "medium", "low", "none"])]
        fail_on: Option<String>,
        /// How to print them
        #[arg(short, long, value_enum, value_name = "FORM")]
        output: Option<Output>,
    },
    /// Take archives of vulnerabilities into a database: all.zip of ecosystems, as OSV publishes them
    #[command(after_help = "Example, for images of Debian with programs in Go:
  skiff registry import-vulnerabilities debian/all.zip go/all.zip

A registry that runs notices it, and scans again.")]
    ImportVulnerabilities {
        /// The archives
        #[arg(required = true, value_name = "ARCHIVE")]
        archives: Vec<PathBuf>,
        /// The folder of the database [default: vulnerabilities in the data folder]
        #[arg(long, value_name = "FOLDER")]
        database: Option<PathBuf>,
    },
    /// Print a line for a file of users; the password is read from standard input
    #[command(after_help = "Example:
  skiff registry htpasswd ann < password >> users")]
    Htpasswd {
        /// The user
        user: String,
    },
}

/// `skiff registry serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff registry serve                                       on 127.0.0.1:5000, for everybody on this machine
  skiff registry serve --config registry.yaml --listen 0.0.0.0:443 --tls-cert-file tls.crt --tls-private-key-file tls.key

A configuration (all of it may be left out):
  authentication: {htpasswd: /etc/skiff/users}
  policies:
  - {users: [ann], repositories: ['*'], actions: ['*']}
  repositories:
  - {name: base/*, public: true, immutableTags: [v*], quotaBytes: 10737418240}")]
pub(crate) struct ServeRegistryArgs {
    /// The configuration, in YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:5000", value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,
    /// The certificate, in PEM, with those of its authorities; without it HTTP is not encrypted
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// Where figures for Prometheus are served, without encryption
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Ask this cluster whose token a password is, so that its service accounts can log in
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// A registry beside a node.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct UpRegistryArgs {
    /// Serve images here, of which pods can be made at once: push to localhost:5000/NAME and run localhost:5000/NAME. In an isolated node
    /// it listens there on the host and within [default, if no address is given: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:5000")]
    pub(crate) registry: Option<SocketAddr>,
    /// Its configuration, in YAML, as of `skiff registry serve`; service accounts of this node can log in
    #[arg(long, value_name = "FILE", requires = "registry")]
    pub(crate) registry_config: Option<PathBuf>,
}
