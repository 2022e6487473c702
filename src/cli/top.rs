//! `skiff top`.

use super::client::ServerArgs;
use clap::Args;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TopWhat {
    /// What nodes use, and how much that is of what they have for pods
    #[value(aliases = ["nodes", "no"])]
    Node,
    /// What pods use
    #[value(aliases = ["pods", "po"])]
    Pod,
}

/// By what rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SortBy {
    /// Who uses most of the processors first
    Cpu,
    /// Who uses most memory first
    Memory,
}

/// `skiff top`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff top node
  skiff top pod -A --sort-by memory
  skiff top pod -l app=web --containers")]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Nodes or pods
    #[arg(value_enum, value_name = "WHAT")]
    pub(crate) what: TopWhat,
    /// Only this one
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only objects with these labels: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "name")]
    pub(crate) selector: Option<String>,
    /// Show each container of a pod
    #[arg(long)]
    pub(crate) containers: bool,
    /// Sort by what is used, most first [default: by name]
    #[arg(long, value_enum, value_name = "FIGURE")]
    pub(crate) sort_by: Option<SortBy>,
}
