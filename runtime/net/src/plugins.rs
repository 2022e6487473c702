//! Executes CNI plugins, and remembers what they answered: DEL is told the result of ADD, by the same configuration,
//! even when the configuration has changed since.

use crate::cni::{Network, addresses, arguments};
use crate::{Attached, CniConfig, NetError, PodNetwork, PortMapping};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skiff_step::{Engine, Step};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const ADD: Step = Step::new("cni.add", "CNI 1.1.0: ADD");
const DEL: Step = Step::new("cni.del", "CNI 1.1.0: DEL");
const CHECK: Step = Step::new("cni.check", "CNI 1.1.0: CHECK");
/// Kubelet gives a sandbox four minutes; a plugin that takes a quarter of it hangs.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);
const INTERFACE: &str = "eth0";

/// An attachment that was made by plugins.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Attachment {
    namespace: String,
    name: String,
    uid: String,
    netns: PathBuf,
    ports: Vec<PortMapping>,
    network: Network,
    /// Of the last plugin of ADD; absent while ADD runs.
    result: Option<Value>,
}

/// The plugins of this node.
#[derive(Debug)]
pub(crate) struct Plugins {
    config: CniConfig,
    folder: PathBuf,
    engine: Engine,
}

impl Plugins {
    pub(crate) fn new(config: CniConfig, folder: PathBuf, engine: Engine) -> Result<Self, NetError> {
        crate::config::make_folder(&folder)?;
        Ok(Self { config, folder, engine })
    }

    /// The configuration in force, if there is one.
    pub(crate) fn network(&self) -> Result<Option<Network>, NetError> {
        Network::find(&self.config)
    }

    /// Whether this sandbox was attached by plugins.
    pub(crate) fn knows(&self, sandbox_id: &str) -> bool {
        self.path(sandbox_id).exists()
    }

    /// All sandboxes that were attached by plugins.
    pub(crate) fn sandboxes(&self) -> Result<Vec<String>, NetError> {
        let entries = fs::read_dir(&self.folder).map_err(NetError::file("read folder", &self.folder))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect())
    }

    pub(crate) async fn attach(&self, pod: &PodNetwork, network: Network) -> Result<Attached, NetError> {
        if self.knows(&pod.sandbox_id) {
            if let Some(attached) = self.keep(pod).await? {
                return Ok(attached);
            }
            self.detach(&pod.sandbox_id).await?;
        }
        let mut attachment = Attachment {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            netns: pod.netns.clone(),
            ports: pod.port_mappings.clone(),
            network,
            result: None,
        };
        // Written before the first plugin runs: after a crash, DEL is owed.
        self.write(&pod.sandbox_id, &attachment)?;
        match self.add(pod, &attachment.network).await {
            Ok(result) => {
                let ips = addresses(&result);
                attachment.result = Some(result);
                self.write(&pod.sandbox_id, &attachment)?;
                Ok(Attached { ips })
            }
            Err(error) => {
                if let Err(second) = self.detach(&pod.sandbox_id).await {
                    tracing::warn!(sandbox = pod.sandbox_id, error = %second, "cannot take back a failed attachment");
                }
                Err(error)
            }
        }
    }

    /// The addresses of an attachment that plugins say is still good.
    async fn keep(&self, pod: &PodNetwork) -> Result<Option<Attached>, NetError> {
        let attachment = self.read(&pod.sandbox_id)?;
        let Some(result) = &attachment.result else { return Ok(None) };
        if attachment.network.has_check() {
            for index in 0..attachment.network.plugins.len() {
                let call = Call { network: &attachment.network, index, pod, previous: Some(result), command: "CHECK" };
                if self.execute(&CHECK, call).await.is_err() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(Attached { ips: addresses(result) }))
    }

    async fn add(&self, pod: &PodNetwork, network: &Network) -> Result<Value, NetError> {
        let mut previous = None;
        for index in 0..network.plugins.len() {
            let call = Call { network, index, pod, previous: previous.as_ref(), command: "ADD" };
            let output = self.execute(&ADD, call).await?;
            previous = Some(
                serde_json::from_slice(&output)
                    .map_err(|error| failure(network, index, "ADD", format!("its result is not JSON: {error}")))?,
            );
        }
        Ok(previous.unwrap_or_default())
    }

    /// All plugins in reverse order; fine if the sandbox is not known.
    pub(crate) async fn detach(&self, sandbox_id: &str) -> Result<(), NetError> {
        if !self.knows(sandbox_id) {
            return Ok(());
        }
        let attachment = self.read(sandbox_id)?;
        let pod = PodNetwork {
            sandbox_id: sandbox_id.to_owned(),
            namespace: attachment.namespace,
            name: attachment.name,
            uid: attachment.uid,
            // DEL without a namespace frees what is left; a path of a process that is gone must not be entered.
            netns: if attachment.netns.exists() { attachment.netns } else { PathBuf::new() },
            port_mappings: attachment.ports,
        };
        for index in (0..attachment.network.plugins.len()).rev() {
            let previous = attachment.result.as_ref();
            let call = Call { network: &attachment.network, index, pod: &pod, previous, command: "DEL" };
            self.execute(&DEL, call).await?;
        }
        let path = self.path(sandbox_id);
        fs::remove_file(&path).map_err(NetError::file("remove CNI result", &path))
    }

    async fn execute(&self, step: &Step, call: Call<'_>) -> Result<Vec<u8>, NetError> {
        let operand = || format!("{} {}", call.network.kind(call.index), call.pod.sandbox_id);
        self.engine.correlated(Some(&call.pod.uid)).run_async(step, operand, self.run(&call)).await
    }

    async fn run(&self, call: &Call<'_>) -> Result<Vec<u8>, NetError> {
        let failed = |reason| failure(call.network, call.index, call.command, reason);
        let program = self.find(call.network.kind(call.index)).map_err(failed)?;
        let input = call.network.input(call.index, call.pod, call.previous).to_string();
        let mut command = Command::new(program);
        skiff_sys::files::with_limit_as_found(command.as_std_mut());
        let mut child = command
            .env("CNI_COMMAND", call.command)
            .env("CNI_CONTAINERID", &call.pod.sandbox_id)
            .env("CNI_NETNS", &call.pod.netns)
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_ARGS", arguments(call.pod))
            .env("CNI_PATH", self.search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let mut stdin = child.stdin.take().expect("it was asked to be a pipe");
        let talk = async {
            // A plugin may decide without reading all of its input.
            let _may_not_read_all = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        };
        let seconds = PLUGIN_TIMEOUT.as_secs();
        let output = tokio::time::timeout(PLUGIN_TIMEOUT, talk).await;
        let output = output.map_err(|_| failed(format!("it has not ended after {seconds} seconds")))?;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failed(complaint(&output)))
    }

    fn find(&self, kind: &str) -> Result<PathBuf, String> {
        if kind.is_empty() || kind.contains('/') {
            return Err("a plugin's type is a file name".to_owned());
        }
        let candidates = self.config.bin_dirs.iter().map(|folder| folder.join(kind));
        candidates
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| format!("there is no such file in {}", self.search_path().to_string_lossy()))
    }

    fn search_path(&self) -> OsString {
        let folders: Vec<_> = self.config.bin_dirs.iter().map(|folder| folder.as_os_str()).collect();
        folders.join(std::ffi::OsStr::new(":"))
    }

    fn path(&self, sandbox_id: &str) -> PathBuf {
        self.folder.join(format!("{sandbox_id}.json"))
    }

    fn read(&self, sandbox_id: &str) -> Result<Attachment, NetError> {
        let path = self.path(sandbox_id);
        let bytes = fs::read(&path).map_err(NetError::file("read CNI result", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| NetError::file("read CNI result", &path)(error.into()))
    }

    fn write(&self, sandbox_id: &str, attachment: &Attachment) -> Result<(), NetError> {
        let (path, unfinished) = (self.path(sandbox_id), self.folder.join(format!("{sandbox_id}.new")));
        let bytes = serde_json::to_vec(attachment).expect("it was made of JSON and strings");
        fs::write(&unfinished, bytes).map_err(NetError::file("write CNI result", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(NetError::file("write CNI result", Path::new(&path)))
    }
}

/// One execution of one plugin.
struct Call<'a> {
    network: &'a Network,
    index: usize,
    pod: &'a PodNetwork,
    previous: Option<&'a Value>,
    command: &'static str,
}

/// What a plugin said: its error object, or its exit and the end of its standard error.
fn complaint(output: &std::process::Output) -> String {
    let error: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let details = error["details"].as_str().filter(|text| !text.is_empty()).map(|text| format!(": {text}"));
    match error["msg"].as_str() {
        Some(message) => format!("{message}{} (code {})", details.unwrap_or_default(), error["code"]),
        None => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
    }
}

fn failure(network: &Network, index: usize, command: &'static str, reason: String) -> NetError {
    NetError::Plugin { network: network.name.clone(), plugin: network.kind(index).to_owned(), command, reason }
}
