//! What this node knows that no other interface of a kubelet tells: where its filesystems are mounted, who listens, how many files and
//! watches the kernel has given out, how packets leave, which sandbox each pod has. `skiff why` reads it at `/skiff/known`; other kubelets
//! answer 404 there. What cannot be read is left out.

mod kernel; // texts of the kernel and of resolv.conf; no I/O
mod processes; // who holds sockets and inotify instances

use crate::agent::Agent;
use kernel::Listener;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the host's resolvers may take.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// So many of those who have the most inotify instances are named.
const HOLDERS_MAX: usize = 3;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Everything, and what the host's resolvers answer for `resolve`.
pub(super) async fn known(agent: Arc<Agent>, resolve: Option<String>) -> Value {
    let pods: Map<String, Value> = agent
        .board
        .all()
        .into_iter()
        .filter_map(|posted| {
            let uid = posted.pod.metadata.uid.clone()?;
            let attempt = posted.seen.newest_sandbox().map(|sandbox| sandbox.attempt);
            Some((uid, json!({"sandboxAttempt": attempt})))
        })
        .collect();
    let of = Arc::clone(&agent);
    let figures = tokio::task::spawn_blocking(move || figures(&of)).await;
    let mut all = figures.unwrap_or_else(|_| json!({}));
    all["pods"] = Value::Object(pods);
    if let Some(name) = resolve {
        all["resolve"] = resolved(&name).await;
    }
    all
}

async fn resolved(name: &str) -> Value {
    match tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => json!({"addresses": found.map(|address| address.ip().to_string()).collect::<Vec<_>>()}),
        Ok(Err(error)) => json!({"error": error.to_string()}),
        Err(_) => json!({"error": format!("no answer within {} s", RESOLVE_MAX.as_secs())}),
    }
}

fn figures(agent: &Agent) -> Value {
    let (mounts, resolver) = (read("/proc/self/mountinfo"), read("/etc/resolv.conf"));
    let filesystem = |(name, path): (&str, &Path)| {
        let (point, device) = kernel::mount_of(&mounts, path)?;
        Some(json!({"name": name, "path": path, "mountPoint": point, "device": device}))
    };
    let roots = agent.gauge.roots();
    let all = processes::look();
    let name = |pid: u32| read(&format!("/proc/{pid}/comm")).trim().to_owned();
    let listener = |one: Listener| {
        let pid = all.sockets.get(&one.inode).copied();
        json!({"protocol": one.protocol, "port": one.port, "pid": pid, "process": pid.map(name)})
    };
    let most: Vec<_> = all
        .watchers()
        .into_iter()
        .take(HOLDERS_MAX)
        .map(|(pid, instances)| json!({"pid": pid, "process": name(pid), "instances": instances}))
        .collect();
    let (instances, watches) = all.of_hungriest_user();
    let limit = |path: &str| read(path).trim().parse::<u64>().ok();
    let open = read("/proc/sys/fs/file-nr");
    let open: Vec<u64> = open.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    json!({
        "filesystems": roots.iter().filter_map(|(name, path)| filesystem((name, path))).collect::<Vec<_>>(),
        "inotify": {
            "instances": instances, "instancesMax": limit("/proc/sys/fs/inotify/max_user_instances"),
            "watches": watches, "watchesMax": limit("/proc/sys/fs/inotify/max_user_watches"), "most": most,
        },
        "files": {"open": open.first(), "max": open.get(2)},
        "listeners": listeners().into_iter().map(listener).collect::<Vec<_>>(),
        "network": {"forwarding": limit("/proc/sys/net/ipv4/ip_forward").map(|on| on != 0), "defaultRoute": kernel::default_route(&read("/proc/net/route"))},
        "nameservers": kernel::of_resolver(&resolver, "nameserver"), "search": kernel::of_resolver(&resolver, "search"),
    })
}

fn listeners() -> Vec<Listener> {
    let of = |file: &str, protocol| kernel::listeners(&read(&format!("/proc/net/{file}")), protocol);
    [of("tcp", "TCP"), of("tcp6", "TCP"), of("udp", "UDP"), of("udp6", "UDP")].concat()
}
