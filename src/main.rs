//! A table of contents: the command line, the node, the single components, the small client.

mod cli; // what may be typed
mod duration; // times, as they are typed
mod embedded; // the programs that skiff carries inside itself
mod exit; // how an error is shown, and what the exit code means
mod folders; // where a node keeps things, and whose they are
mod out; // words for the user
mod repeats; // warnings that come again

mod isolate; // a node in a box: network and mount namespaces of its own
mod node; // all components, assembled

mod client; // the small client: what its commands share
mod command; // one file per command

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    exit::report(command::dispatch(cli))
}
