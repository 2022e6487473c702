//! `skiff run`.

use super::{FolderArgs, ServerArgs};
use crate::duration;
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

/// From an image to a web application that answers.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  skiff run docker.io/library/nginx:1.27 --port 80
  skiff run registry.example/shop:7 --port 8080 --name shop --host shop.example --replicas 3
  skiff run ./shop --port 8080 --watch
  skiff run ls
  skiff run logs shop -f
  skiff run rm shop
A word that begins with . or / is a folder with a Dockerfile: it is built into the image store of the node on this machine.
The same name again deploys anew: with another image, or with what its tag means now.
Exit codes: 3 the image cannot be had, 4 the container does not start or ends, 5 nothing listens at the port.")]
pub(crate) struct RunArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RunCommand>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    /// The image, or a folder with a Dockerfile
    #[arg(required = true, value_name = "IMAGE|FOLDER")]
    pub(crate) image: Option<String>,
    /// Where the application listens in its container
    #[arg(long, required = true, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// What it is called [default: the last part of the image's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The host under which it is served [default: NAME.localhost]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// How many run
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) replicas: u32,
    /// A variable of its environment (may be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Whether registries are asked for an image that is here
    #[arg(long, value_enum, default_value = "always", value_name = "WHEN")]
    pub(crate) pull: Pull,
    /// How long a container may run without listening at its port
    #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) listen_within: Duration,
    /// Stay, and deploy anew whenever the folder, or what the image's tag means to its registry, changes
    #[arg(long)]
    pub(crate) watch: bool,
    /// How often the registry is asked with --watch
    #[arg(long, default_value = "30s", value_parser = duration::parse, requires = "watch", value_name = "TIME")]
    pub(crate) watch_interval: Duration,
}

/// When registries are asked for images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Each time, because a tag may have moved
    Always,
    /// When the image is not here
    Missing,
}

/// How applications are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListForm {
    /// A table
    Table,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl RunArgs {
    /// Which API server is asked.
    pub(super) fn server(&mut self) -> &mut ServerArgs {
        match &mut self.command {
            Some(RunCommand::Ls(args)) => &mut args.server,
            Some(RunCommand::Logs(args)) => &mut args.server,
            Some(RunCommand::Rm(args)) => &mut args.server,
            None => &mut self.server,
        }
    }
}

/// What can be done with applications that run.
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Show them
    #[command(after_help = "Examples:\n  skiff run ls -n shop\n  skiff run ls -o json")]
    Ls(RunLsArgs),
    /// Show what one wrote
    #[command(after_help = "Example:\n  skiff run logs shop -f")]
    Logs(RunLogsArgs),
    /// Remove one, with its service, its host and its certificate
    #[command(after_help = "Example:\n  skiff run rm shop")]
    Rm(RunRmArgs),
}

/// `skiff run ls`.
#[derive(Debug, Args)]
pub(crate) struct RunLsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How they are shown
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORM")]
    pub(crate) output: ListForm,
}

/// `skiff run logs`.
#[derive(Debug, Args)]
pub(crate) struct RunLogsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Go on showing what is written
    #[arg(short, long)]
    pub(crate) follow: bool,
}

/// `skiff run rm`.
#[derive(Debug, Args)]
pub(crate) struct RunRmArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}
