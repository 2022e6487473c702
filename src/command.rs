//! One file per command.

mod apiserver;
mod apply;
mod audit;
mod control; // scheduler, controllers, proxy, ingress: each needs a kubeconfig and nothing else
mod cri;
mod delete;
mod demo;
mod describe;
mod down;
mod exec;
mod figures; // what a component that runs alone counts
mod get;
mod image;
mod join;
mod kubelet;
mod logs;
mod registry;
mod run;
mod stop; // when to stop
mod store;
mod table; // what is made of the command line's table
mod token;
mod top;
mod up;
mod why;

use crate::cli::{Cli, Command, TokenCommand};
use crate::repeats::OnceAMinute;
use anyhow::Context;
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Runs what was typed.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<()> {
    log_to_stderr(cli.verbose);
    match cli.command {
        Command::Up(args) => up::run(*args, cli.verbose),
        Command::Down(args) => down::run(&args),
        Command::Join(args) => join::run(*args),
        Command::Token(TokenCommand::Create(args)) => on_runtime(token::create(args)),
        Command::Store(command) => serving(store::run(command)),
        Command::Audit(command) => audit::run(command),
        Command::Apiserver(args) => serving(apiserver::run(*args)),
        Command::Scheduler(args) => serving(control::scheduler(args)),
        Command::Controllers(args) => serving(control::controllers(args)),
        Command::Kubelet(args) => serving(kubelet::run(*args)),
        Command::Proxy(args) => serving(control::proxy(args)),
        Command::Ingress(args) => serving(control::ingress(args)),
        Command::Cri(args) => serving(cri::run(args)),
        Command::Image(args) => image::run(args),
        Command::Registry(args) => registry::run(args),
        Command::Run(args) => on_runtime(run::run(args)),
        Command::Apply(args) => on_runtime(apply::run(args)),
        Command::Get(args) => on_runtime(get::run(args)),
        Command::Describe(args) => on_runtime(describe::run(args)),
        Command::Top(args) => on_runtime(top::run(args)),
        Command::Why(args) => on_runtime(why::run(args)),
        Command::Delete(args) => on_runtime(delete::run(args)),
        Command::Logs(args) => on_runtime(logs::run(args)),
        Command::Exec(args) => on_runtime(exec::run(args)),
        Command::Completion { shell } => table::completion(shell),
        Command::Man { folder } => table::man(&folder),
        Command::Hold { run_dir } => crate::isolate::hold(&run_dir),
    }
}

/// Runs `work` on a new async runtime. Made late, because entering a box needs a process with one thread.
pub(crate) fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the async runtime")?.block_on(work)
}

/// The same for a server: it may have as many files open as the system lets it.
pub(crate) fn serving<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    if let Err(error) = skiff_sys::files::raise_limit() {
        tracing::warn!(error = skiff_client::sentence(&error), "the limit of open files stays as it is");
    }
    on_runtime(work)
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug,h2=info,hyper=info,tower=info,rustls=info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A line that cannot be written is lost: the subscriber would print why, and panic because that fails too.
    let log = log.with_ansi(wants_colours()).log_internal_errors(false).with_filter(OnceAMinute::default());
    tracing_subscriber::registry().with(filter).with(log).init();
}

/// Colours are for people: a terminal, and nobody has asked for none (no-color.org).
fn wants_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
