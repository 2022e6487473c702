//! The other nodes of `skiff up --nodes`: each is a process of its own in a box of its own, joined to the first as another machine would
//! be, by a token and requests for certificates.
//!
//! The processes begin before the first box is entered, so that theirs are made beside it and not inside; then they wait for a word on
//! their standard input. Its end ends them, however we end.

use super::joining::{Known, end_token, make_token};
use super::watching::await_node;
use crate::folders::Folders;
use anyhow::{Context, bail};
use kube::Client;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// What a process waits for.
pub(crate) const GO: &str = "go\n";
/// How long a token holds with which nodes of this host join.
const TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a node may take to be ready.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long a process may take to end, and how often it is looked at.
const END_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The name of another node, where the first is called `first`.
pub(crate) fn member_name(first: &str, number: u8) -> String {
    format!("{first}-{number}")
}

/// The address of another box; the first one's is `first`.
pub(crate) fn member_address(first: Ipv4Addr, number: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first) + u32::from(number) - 1)
}

/// Their processes, by number.
pub(crate) struct Members(Vec<(u8, Child)>);

impl Members {
    /// Starts those of nodes 2 to `count`, with our own command line.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(crate) fn spawn(count: u8, first: &Folders) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program's file")?;
        let mut children = Vec::new();
        for number in 2..=count {
            // Images may be brought there as soon as the first node is ready.
            first.member(number).create()?;
            let mut command = Command::new(&program);
            command.args(std::env::args_os().skip(1)).arg("--member").arg(number.to_string());
            let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
            children.push((number, child.with_context(|| format!("start node {number}"))?));
        }
        Ok(Self(children))
    }

    /// Lets them join, and waits until they are ready; answers their names.
    ///
    /// # Errors
    /// The API server refuses a token, or one is not ready in time.
    pub(crate) async fn join(
        &mut self,
        client: &Client,
        (first, folders): (&str, &Folders),
        (api, authority): (SocketAddr, &str),
    ) -> anyhow::Result<Vec<String>> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let cluster = Known { server: &format!("https://{api}"), authority };
        let token = make_token(client, TOKEN_LIFE, &cluster).await?;
        let kubeconfig = token.kubeconfig(&cluster);
        for (number, child) in &mut self.0 {
            let path = folders.member(*number).bootstrap_kubeconfig();
            let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
            let written = file.and_then(|mut file| file.write_all(kubeconfig.as_bytes()));
            written.with_context(|| format!("write {}", path.display()))?;
            let word = child.stdin.as_mut().map(|stdin| stdin.write_all(GO.as_bytes()).and_then(|()| stdin.flush()));
            word.transpose().with_context(|| format!("start node {number}"))?;
        }
        let mut names = Vec::new();
        for number in self.0.iter().map(|(number, _)| *number).collect::<Vec<_>>() {
            let name = member_name(first, number);
            tokio::select! {
                ready = timeout(READY_MAX, await_node(client, &name)) => {
                    ready.with_context(|| format!("node {name} is not ready after {} s", READY_MAX.as_secs()))??;
                }
                error = self.ended() => return Err(error),
            }
            names.push(name);
        }
        end_token(client, &token).await?;
        Ok(names)
    }

    /// Waits until one of them ends by itself, which none should.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let mut of_children = match signal(SignalKind::child()) {
            Ok(signals) => signals,
            Err(error) => return anyhow::Error::new(error).context("handle SIGCHLD"),
        };
        loop {
            for (number, child) in &mut self.0 {
                match child.try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) => return anyhow::anyhow!("node {number} ended: {status}; see above"),
                    Err(error) => return anyhow::Error::new(error).context(format!("look at node {number}")),
                }
            }
            of_children.recv().await;
        }
    }

    /// Ends the processes; their pods go on.
    ///
    /// # Errors
    /// One does not end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for (_, child) in &mut self.0 {
            drop(child.stdin.take());
        }
        for _ in 0..END_MAX.as_millis() / PAUSE.as_millis() {
            if self.0.iter_mut().all(|(_, child)| !matches!(child.try_wait(), Ok(None))) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the processes of other nodes did not end within {} s", END_MAX.as_secs())
    }
}
