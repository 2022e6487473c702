//! A registry over a folder, for tests that kill it: `serve FOLDER ADDRESS`. Says where it listens on standard output.

use skiff_registry::{Registry, Store, Terms, serve};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let (folder, address) = (words.next().expect("a folder"), words.next().expect("an address"));
    let engine = skiff_step::Engine::from_env("registry").expect("the environment");
    let store = Store::open(Path::new(&folder), engine).expect("the folder");
    let listener = TcpListener::bind(&address).await.expect("the address");
    let said = writeln!(std::io::stdout(), "{}", listener.local_addr().expect("an address"));
    said.expect("standard output");
    let registry = Arc::new(Registry::new(store, Terms::default()));
    serve(listener, None, registry, CancellationToken::new()).await.expect("serving");
}
