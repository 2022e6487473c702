//! An etcd of three members on ports of its own, whose members can be killed, stopped and started again.

// Helpers of tests may unwrap as tests do.
#![allow(dead_code, clippy::unwrap_used)]

use crate::keys::{Authority, authority};
use skiff_store::Backend;
use skiff_store::etcd::{ClientTls, Remote, RemoteOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How soon a member without news of its leader asks for an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elections {
    /// As etcd has it, after a second: where members die.
    Usual,
    /// Only after ten: where nobody dies, however slow the machine is.
    Rare,
}

/// A port that nobody listens on, and that no outgoing connection is given while its member is dead
/// (`ip_local_port_range` begins at 32768).
fn lasting_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Programs of several tests begin at different places.
        let number = std::process::id().wrapping_mul(37).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// One member.
pub(crate) struct Member {
    pub(crate) url: String,
    command: Vec<String>,
    child: Option<Child>,
}

/// See the module. Killed when dropped.
pub(crate) struct Three {
    pub(crate) members: Vec<Member>,
    keys: Option<Authority>,
    program: PathBuf,
    _folder: TempDir,
}

impl Drop for Three {
    fn drop(&mut self) {
        (0..3).for_each(|member| self.kill(member));
    }
}

impl Three {
    /// In plain.
    pub(crate) async fn start(program: &Path, elections: Elections) -> Self {
        Self::start_with(program, elections, None).await
    }

    /// With client certificates.
    pub(crate) async fn start_with_keys(program: &Path, elections: Elections) -> Self {
        Self::start_with(program, elections, Some(authority())).await
    }

    async fn start_with(program: &Path, elections: Elections, keys: Option<Authority>) -> Self {
        // In memory where there is such a folder: what is tested here is not the disk, and busy disks cost leaders their office.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let peers: Vec<_> = (0..3).map(|_| format!("http://127.0.0.1:{}", lasting_port())).collect();
        let cluster: Vec<_> = peers.iter().enumerate().map(|(number, peer)| format!("m{number}={peer}")).collect();
        let mut flags = tls_flags(folder.path(), keys.as_ref());
        if elections == Elections::Rare {
            flags.extend(["--heartbeat-interval", "1000", "--election-timeout", "10000"].map(str::to_owned));
        }
        let scheme = if keys.is_some() { "https" } else { "http" };
        let member = |(number, peer): (usize, &String)| {
            let url = format!("{scheme}://127.0.0.1:{}", lasting_port());
            let data = folder.path().join(format!("m{number}")).display().to_string();
            let command = [
                ["--name", &format!("m{number}")],
                ["--data-dir", &data],
                ["--listen-client-urls", &url],
                ["--advertise-client-urls", &url],
                ["--listen-peer-urls", peer],
                ["--initial-advertise-peer-urls", peer],
                ["--initial-cluster", &cluster.join(",")],
            ];
            let command = command.into_iter().flatten().map(str::to_owned).chain(flags.clone()).collect();
            Member { url, command, child: None }
        };
        let members = peers.iter().enumerate().map(member).collect();
        let mut three = Three { members, keys, program: program.to_owned(), _folder: folder };
        (0..3).for_each(|member| three.revive(member));
        for member in 0..3 {
            three.until_healthy(member).await;
        }
        three
    }

    /// All members, beginning with one of them.
    pub(crate) fn options(&self) -> RemoteOptions {
        let urls: Vec<_> = self.members.iter().map(|member| member.url.clone()).collect();
        RemoteOptions::new(&urls, self.client_tls())
    }

    pub(crate) fn client_tls(&self) -> Option<ClientTls> {
        self.keys.as_ref().map(Authority::client)
    }

    /// Starts a member that does not run.
    pub(crate) fn revive(&mut self, member: usize) {
        let mut command = Command::new(&self.program);
        command.args(&self.members[member].command).stdout(Stdio::null()).stderr(Stdio::null());
        self.members[member].child = Some(command.spawn().unwrap());
    }

    /// Kills a member with SIGKILL.
    pub(crate) fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal (`STOP`, `CONT`) to a member.
    pub(crate) fn signal(&self, member: usize, signal: &str) {
        let pid = self.members[member].child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    /// Waits until this very member answers reads that the others agree on.
    pub(crate) async fn until_healthy(&self, member: usize) {
        let options = RemoteOptions::new(std::slice::from_ref(&self.members[member].url), self.client_tls());
        for _ in 0..600 {
            if let Ok(remote) = Remote::open(&options).await
                && remote.health().await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("member {member} is not healthy after a minute");
    }
}

fn tls_flags(folder: &Path, keys: Option<&Authority>) -> Vec<String> {
    let Some(keys) = keys else { return Vec::new() };
    let (certificate, key) = keys.issued();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let flags = [
        ["--trusted-ca-file".to_owned(), write("ca.pem", keys.pem.as_bytes())],
        ["--cert-file".to_owned(), write("cert.pem", &certificate)],
        ["--key-file".to_owned(), write("key.pem", &key)],
    ];
    flags.into_iter().flatten().chain(["--client-cert-auth".to_owned()]).collect()
}
