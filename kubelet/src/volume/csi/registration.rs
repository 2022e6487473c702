//! Finds drivers of volumes and of devices: each puts a socket into the kubelet's folder of plugins, and is asked there who it is.

use super::driver::{Driver, call};
use super::node_object;
use crate::agent::Agent;
use crate::devices::Plugin;
use skiff_csi::call::{channel, said};
use skiff_csi::registration::v1 as words;
use skiff_csi::registration::v1::registration_client::RegistrationClient;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the folder is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a driver that could not be registered is left alone.
const AGAIN: Duration = Duration::from_secs(5);
const KIND: &str = "CSIPlugin";
const KIND_OF_DEVICES: &str = "DRAPlugin";
const KIND_THAT_COUNTS: &str = "DevicePlugin";

/// Registers drivers as they come and go; runs until it is dropped.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let folder = agent.plugins.registry.clone();
    if let Err(error) = std::fs::create_dir_all(&folder) {
        let error = skiff_client::sentence(&error);
        return tracing::warn!(folder = %folder.display(), error, "no drivers of volumes can be registered");
    }
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tried: BTreeMap<PathBuf, Instant> = BTreeMap::new();
    let mut counted: BTreeMap<PathBuf, String> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let sockets = sockets(&folder).unwrap_or_default();
        let known = agent.plugins.known().clone();
        for driver in known.values().filter(|driver| !sockets.contains(&driver.socket)) {
            agent.plugins.known().remove(&driver.name);
            tracing::info!(driver = driver.name, "a driver of volumes is gone");
            if let Err(error) = node_object::remove(&agent, &driver.name).await {
                tracing::warn!(driver = driver.name, error, "a driver that is gone is still announced");
            }
        }
        let of_devices = agent.drivers.known().clone();
        for driver in of_devices.values().filter(|driver| !sockets.contains(&driver.socket)) {
            agent.drivers.known().remove(&driver.name);
            tracing::info!(driver = driver.name, "a driver of devices is gone");
        }
        tried.retain(|socket, at| sockets.contains(socket) && at.elapsed() < AGAIN);
        for socket in sockets {
            let is_known = known.values().any(|driver| driver.socket == socket)
                || of_devices.values().any(|driver| driver.socket == socket)
                || counted.get(&socket).is_some_and(|resource| agent.counted.is_there(resource));
            if tried.contains_key(&socket) || is_known {
                continue;
            }
            match register(&agent, &socket).await {
                Ok(resource) => counted.extend(resource.map(|resource| (socket.clone(), resource))),
                Err(error) => tracing::warn!(socket = %socket.display(), error, "a plugin was not registered"),
            }
            tried.insert(socket, Instant::now());
        }
    }
}

fn sockets(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.file_type()?.is_socket() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Asks whoever listens at `socket` who it is, and tells it whether that was understood. Gives the resource of one that counts devices.
async fn register(agent: &Agent, socket: &Path) -> Result<Option<String>, String> {
    let mut plugin = RegistrationClient::new(channel(socket));
    let about = |operation: &'static str| move |status: tonic::Status| format!("{operation}: {}", said(&status));
    let info = plugin.get_info(call(words::InfoRequest {})).await.map_err(about("GetInfo"))?.into_inner();
    if info.r#type == KIND_OF_DEVICES {
        return register_devices(agent, socket, &mut plugin, &info).await.map(|()| None);
    }
    if info.r#type == KIND_THAT_COUNTS {
        let met = agent.counted.connect(&info.name, endpoint(socket, &info)).await;
        let told = tell(&mut plugin, met.as_ref().map(drop).map_err(String::as_str)).await;
        return met.and(told).map(|()| Some(info.name));
    }
    let met = meet(agent, socket, &info).await;
    let told = tell(&mut plugin, met.as_ref().map(drop).map_err(String::as_str)).await;
    let driver = met?;
    told?;
    tracing::info!(driver = driver.name, node = driver.info.node_id, "a driver of volumes is registered");
    agent.plugins.known().insert(driver.name.clone(), driver);
    Ok(None)
}

/// Where a plugin that is known by `socket` serves.
fn endpoint<'a>(socket: &'a Path, info: &'a words::PluginInfo) -> &'a Path {
    if info.endpoint.is_empty() { socket } else { Path::new(&info.endpoint) }
}

/// Tells a plugin what became of its registration.
async fn tell(plugin: &mut RegistrationClient<tonic::transport::Channel>, met: Result<(), &str>) -> Result<(), String> {
    let error = met.err().unwrap_or_default().to_owned();
    let status = words::RegistrationStatus { plugin_registered: met.is_ok(), error };
    let told = plugin.notify_registration_status(call(status)).await;
    told.map(drop).map_err(|status| format!("NotifyRegistrationStatus: {}", said(&status)))
}

/// The same for a driver of devices, whom nobody has to ask anything.
async fn register_devices(
    agent: &Agent,
    socket: &Path,
    plugin: &mut RegistrationClient<tonic::transport::Channel>,
    info: &words::PluginInfo,
) -> Result<(), String> {
    let endpoint = endpoint(socket, info);
    let met = match info.name.as_str() {
        "" => Err("a driver has no name".to_owned()),
        name => Plugin::new(name, socket, endpoint, &info.supported_versions),
    };
    let told = tell(plugin, met.as_ref().map(drop).map_err(String::as_str)).await;
    let driver = met?;
    told?;
    tracing::info!(driver = driver.name, "a driver of devices is registered");
    agent.drivers.known().insert(driver.name.clone(), driver);
    Ok(())
}

async fn meet(agent: &Agent, socket: &Path, info: &words::PluginInfo) -> Result<Driver, String> {
    check(info)?;
    let driver = Driver::meet(&info.name, socket, endpoint(socket, info)).await?;
    node_object::add(agent, &driver).await?;
    Ok(driver)
}

/// Whether we can work with a plugin that says this about itself.
fn check(info: &words::PluginInfo) -> Result<(), String> {
    if info.r#type != KIND {
        return Err(format!("plugin {}: type {} is not implemented by this kubelet", info.name, info.r#type));
    }
    if info.name.is_empty() {
        return Err("a driver has no name".to_owned());
    }
    let major = |version: &String| version.trim_start_matches('v').split('.').next().map(str::to_owned);
    if !info.supported_versions.iter().any(|version| major(version).as_deref() == Some("1")) {
        let versions = info.supported_versions.join(", ");
        return Err(format!("driver {} has versions {versions} of CSI, and this kubelet 1", info.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_register() {
        let info = |kind: &str, name: &str, version: &str| words::PluginInfo {
            r#type: kind.to_owned(),
            name: name.to_owned(),
            endpoint: String::new(),
            supported_versions: vec![version.to_owned()],
        };
        assert_eq!(check(&info(KIND, "d", "1.0.0")), Ok(()));
        for (wrong, part) in [
            (info("NetworkPlugin", "d", "1"), "NetworkPlugin"),
            (info(KIND, "", "1"), "no name"),
            (info(KIND, "d", "0.3.0"), "0.3.0"),
        ] {
            assert!(check(&wrong).unwrap_err().contains(part));
        }
    }
}
