//! `skiff store`: the etcd stand-in alone, and what an operator does with any store.
//!
//! Every command but `serve` speaks gRPC: to a server, or to a data folder at rest that this process opens and is then the
//! only client of (`which`). So there is one way to do each thing, and most of them work on an etcd as well.

mod pages; // of many keys
mod which; // a server, or a folder at rest

mod print; // for a person, or for a script
mod progress; // of long work, on a terminal

mod copy;
mod defrag;
mod fsck;
mod serve;
mod snapshot;
mod top;

use crate::cli::StoreCommand;

pub(crate) async fn run(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Serve(args) => serve::run(*args).await,
        StoreCommand::Snapshot(command) => snapshot::run(command).await,
        StoreCommand::Defrag(args) => defrag::run(&args).await,
        StoreCommand::Fsck(args) => fsck::run(&args).await,
        StoreCommand::Copy(args) => copy::run(&args).await,
        StoreCommand::Top(args) => top::run(&args).await,
    }
}
