//! The files that all containers of a pod see: resolv.conf, hostname, hosts, shared memory.

use crate::bundle::PodFiles;
use crate::error::{CriError, During};
use crate::users::PodUsers;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use skiff_proto::cri::v1::{DnsConfig, NamespaceMode, PodSandboxConfig};
use skiff_step::{Engine, Step};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

const SHM: Step = Step::new("sandbox.shm", "CRI v1, NamespaceOption.ipc; shm_overview(7)");

/// Where the pod's files are, in the sandbox's folder; a pod in the host's IPC namespace uses the host's shared memory.
pub(crate) fn paths(dir: &Path, config: &PodSandboxConfig) -> PodFiles {
    let host_ipc = crate::bundle::pod_namespaces(config).ipc() == NamespaceMode::Node;
    PodFiles {
        shm: if host_ipc { PathBuf::from("/dev/shm") } else { dir.join("shm") },
        resolv_conf: dir.join("resolv.conf"),
        hostname: dir.join("hostname"),
        hosts: dir.join("hosts"),
    }
}

/// Makes everything but `hosts`, which needs the pod's addresses.
pub(crate) fn make(dir: &Path, config: &PodSandboxConfig, engine: &Engine) -> Result<(), CriError> {
    let files = paths(dir, config);
    let resolv_conf = match &config.dns_config {
        Some(dns) => resolv_conf(dns),
        // Without a word on names, the pod looks them up as the node does.
        None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    let owner = owner(config)?;
    write(&files.resolv_conf, &resolv_conf, owner)?;
    write(&files.hostname, &format!("{}\n", config.hostname), owner)?;
    if files.shm.starts_with(dir) {
        make_shm(&files.shm, owner, engine)?;
    }
    Ok(())
}

/// Writes `hosts`: the kubelet mounts its own over it, other clients rely on ours.
pub(crate) fn make_hosts(dir: &Path, config: &PodSandboxConfig, ips: &[IpAddr]) -> Result<(), CriError> {
    let (files, owner) = (paths(dir, config), owner(config)?);
    if crate::bundle::pod_namespaces(config).network() == NamespaceMode::Node {
        return write(&files.hosts, &fs::read_to_string("/etc/hosts").unwrap_or_default(), owner);
    }
    write(&files.hosts, &hosts(&config.hostname, ips), owner)
}

/// Whose the files are: those of a pod with users of its own belong to its root, who may write them like any other's.
fn owner(config: &PodSandboxConfig) -> Result<(u32, u32), CriError> {
    let users = PodUsers::asked(&crate::bundle::pod_namespaces(config))?;
    Ok(users.map_or((0, 0), |users| users.root()))
}

/// Unmounts the shared memory; nothing there is fine.
pub(crate) fn unmake(dir: &Path) -> Result<(), CriError> {
    let shm = dir.join("shm");
    match umount2(&shm, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(error).during(|| format!("unmount {}", shm.display())),
    }
}

fn make_shm(at: &Path, (uid, gid): (u32, u32), engine: &Engine) -> Result<(), CriError> {
    fs::create_dir(at).during(|| format!("make folder {}", at.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    engine.run(
        &SHM,
        || at.display().to_string(),
        || {
            // 64 MiB is what every runtime gives, and what programs that fill it expect to hit.
            let options = format!("mode=1777,size=65536k,uid={uid},gid={gid}");
            let mounted = mount(Some("shm"), at, Some("tmpfs"), flags, Some(options.as_str()));
            mounted.during(|| format!("mount tmpfs at {}", at.display()))
        },
    )
}

fn write(path: &Path, text: &str, (uid, gid): (u32, u32)) -> Result<(), CriError> {
    use std::os::unix::fs::PermissionsExt;
    let operation = || format!("write {}", path.display());
    fs::write(path, text).during(operation)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).during(operation)?;
    // Containers of any user read it, whatever our umask is.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).during(operation)
}

/// resolv.conf(5).
fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

/// hosts(5).
fn hosts(hostname: &str, ips: &[IpAddr]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    if !hostname.is_empty() {
        text.extend(ips.iter().map(|ip| format!("{ip}\t{hostname}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_a_line_for_each_server() {
        let dns = DnsConfig {
            servers: vec!["10.96.0.10".to_owned(), "fd00::a".to_owned()],
            searches: vec!["default.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        let expected = "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), expected);
    }

    #[test]
    fn a_pod_knows_its_own_name() {
        let text = hosts("web-0", &["10.244.0.7".parse().unwrap()]);
        assert_eq!(text.lines().last(), Some("10.244.0.7\tweb-0"));
    }
}
