//! What is executed and as whom: image defaults and the container's own wishes, merged.

use super::caps;
use super::{Host, Request};
use crate::error::CriError;
use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};
use skiff_proto::cri::v1::ContainerConfig;
use skiff_proto::cri::v1::security_profile::ProfileType;

/// Where programs are when neither image nor container says so.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whom a process runs as, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) home: String,
}

pub(super) fn process(request: &Request<'_>, notes: &mut Vec<String>) -> Result<Value, CriError> {
    let (config, security) = (request.config, request.security());
    let asked = security.capabilities.clone().unwrap_or_default();
    let bounding = caps::of(request)?;
    let ambient = caps::ambient(&asked, &bounding)?;
    let mut process = json!({
        "terminal": config.tty,
        "args": args(config, request.image)?,
        "env": env(request),
        "cwd": cwd(config, request.image),
        "user": {
            "uid": request.user.uid, "gid": request.user.gid, "additionalGids": request.user.additional_gids,
        },
        "noNewPrivileges": security.no_new_privs,
        // Nothing inheritable: a program with file capabilities must not gain what its caller did not have
        // (CVE-2022-24769).
        "capabilities": {
            "bounding": bounding, "effective": bounding, "permitted": bounding, "inheritable": ambient, "ambient": ambient,
        },
    });
    let apparmor = security.apparmor.as_ref().filter(|profile| profile.profile_type() == ProfileType::Localhost);
    if let Some(profile) = apparmor {
        let name = &profile.localhost_ref;
        process["apparmorProfile"] = json!(name.strip_prefix("localhost/").unwrap_or(name));
    }
    if let Some(resources) = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        process["oomScoreAdj"] = json!(oom_score_adj(resources.oom_score_adj, request.host, notes));
    }
    Ok(process)
}

/// The process of an exec: the container's own with other arguments (CRI v1, ExecSync).
pub(crate) fn exec_process(container: &Value, command: &[String], terminal: bool) -> Result<Value, CriError> {
    if command.is_empty() {
        return Err(CriError::Invalid("exec: cmd is empty".to_owned()));
    }
    let mut process = container.clone();
    process["args"] = json!(command);
    process["terminal"] = json!(terminal);
    let has_term =
        |env: &Vec<Value>| env.iter().any(|pair| pair.as_str().is_some_and(|pair| pair.starts_with("TERM=")));
    if let Some(env) = process["env"].as_array_mut().filter(|env| terminal && !has_term(env)) {
        env.push(json!("TERM=xterm"));
    }
    Ok(process)
}

/// `command` replaces the image's entrypoint and with it its cmd; `args` replaces the cmd.
fn args(config: &ContainerConfig, image: &ImageConfiguration) -> Result<Vec<String>, CriError> {
    let of_image = image.config().as_ref();
    let entrypoint = of_image.and_then(|config| config.entrypoint().clone()).unwrap_or_default();
    let cmd = of_image.and_then(|config| config.cmd().clone()).unwrap_or_default();
    let args = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => [config.command.clone(), config.args.clone()].concat(),
        (true, false) => [entrypoint, config.args.clone()].concat(),
        (true, true) => [entrypoint, cmd].concat(),
    };
    if args.is_empty() {
        return Err(CriError::Invalid("command: neither the container nor its image has one".to_owned()));
    }
    Ok(args)
}

fn env(request: &Request<'_>) -> Vec<String> {
    let of_image = request.image.config().as_ref().and_then(|config| config.env().clone()).unwrap_or_default();
    let own = request.config.envs.iter().map(|pair| format!("{}={}", pair.key, String::from_utf8_lossy(&pair.value)));
    let mut all = vec![DEFAULT_PATH.to_owned(), format!("HOME={}", request.user.home)];
    if !request.sandbox.hostname.is_empty() {
        all.push(format!("HOSTNAME={}", request.sandbox.hostname));
    }
    if request.config.tty {
        all.push("TERM=xterm".to_owned());
    }
    for variable in of_image.into_iter().chain(own) {
        let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
        match all.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
            Some(known) => *known = variable,
            None => all.push(variable),
        }
    }
    all
}

fn cwd(config: &ContainerConfig, image: &ImageConfiguration) -> String {
    let of_image = image.config().as_ref().and_then(|config| config.working_dir().clone());
    let chosen = Some(config.working_dir.clone()).filter(|dir| !dir.is_empty()).or(of_image).unwrap_or_default();
    if chosen.starts_with('/') { chosen } else { format!("/{chosen}") }
}

/// Without CAP_SYS_RESOURCE the kernel refuses less than our own (proc(5), oom_score_adj), so that is the least.
fn oom_score_adj(asked: i64, host: &Host, notes: &mut Vec<String>) -> i64 {
    if asked >= host.oom_score_adj || host.capabilities & caps::SYS_RESOURCE != 0 {
        return asked;
    }
    notes.push(format!(
        "oom_score_adj is {} instead of {asked}: the node lacks CAP_SYS_RESOURCE and cannot go below its own",
        host.oom_score_adj
    ));
    host.oom_score_adj
}
