//! `skiff run`.

use super::ServerArgs;
use clap::{Args, Subcommand};

/// From an image to a web application that answers.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  skiff run docker.io/library/nginx:1.27 --port 80
  skiff run registry.example/shop:7 --port 8080 --name shop --host shop.example --replicas 3
  skiff run ls
  skiff run logs shop -f
  skiff run rm shop
The same name again deploys anew: with another image, or with what its tag means now.")]
pub(crate) struct RunArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RunCommand>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// The image
    #[arg(required = true, value_name = "IMAGE")]
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
    #[command(after_help = "Example:\n  skiff run ls -n shop")]
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
