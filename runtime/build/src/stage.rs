//! What each step of a stage does to the configuration, and which work it leaves to do on files. Pure.
//!
//! Sources: Dockerfile reference; image-spec, config.md; Docker's image specification for `Shell` and `Healthcheck`.

use crate::dockerfile::Dockerfile;
use crate::instruction::{Command, Copied, Instruction, Step};
use crate::{BuildError, expand};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What runs shell forms unless SHELL says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Where programs are looked for in an image that does not say.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// ARGs that need no declaration, and are no part of what a layer is made of (Dockerfile reference, "Predefined ARGs").
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
/// Ports of one EXPOSE.
const PORTS_MAX: usize = 4096;

/// What there is to do on files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Nothing,
    /// Make the folder, if it is not there, for this user.
    Folder(String, String),
    Copy(Copied),
    Run(Run),
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) workdir: String,
    pub(crate) user: String,
}

/// What a step comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    /// For the history: the instruction with its values.
    pub(crate) said: String,
    pub(crate) work: Work,
}

/// A stage being made.
pub(crate) struct Building<'a> {
    escape: char,
    globals: &'a BTreeMap<String, String>,
    given: &'a BTreeMap<String, String>,
    /// The whole configuration document.
    pub(crate) document: Value,
    args: BTreeMap<String, String>,
    has_cmd: bool,
}

/// The configuration document of nothing.
pub(crate) fn scratch(os: &str, architecture: &str) -> Value {
    json!({"architecture": architecture, "os": os, "config": {"Env": [PATH]}, "rootfs": {"type": "layers", "diff_ids": []}, "history": []})
}

impl<'a> Building<'a> {
    /// Begins over the base's configuration document.
    pub(crate) fn over(
        file: &Dockerfile,
        mut document: Value,
        globals: &'a BTreeMap<String, String>,
        given: &'a BTreeMap<String, String>,
    ) -> Result<Self, String> {
        if !document["config"].is_object() {
            document["config"] = json!({});
        }
        let triggers = document["config"]["OnBuild"].as_array().is_some_and(|all| !all.is_empty());
        if triggers {
            return Err(
                "the image has instructions for who builds on it (ONBUILD), which is not implemented".to_owned()
            );
        }
        Ok(Self { escape: file.escape, globals, given, document, args: BTreeMap::new(), has_cmd: false })
    }

    /// Takes one step.
    pub(crate) fn step(&mut self, step: &Step) -> Result<Effect, BuildError> {
        let keyword = step.text.split_whitespace().next().unwrap_or_default();
        self.take(&step.instruction).map_err(|why| BuildError::at(step.line, format!("{keyword}: {why}")))
    }

    fn take(&mut self, instruction: &Instruction) -> Result<Effect, String> {
        let said = match instruction {
            Instruction::From { .. } => return Err("it begins a stage".to_owned()),
            Instruction::Copy(copied) => return self.copy(copied),
            Instruction::Run(command) => return Ok(self.run(command)),
            Instruction::Workdir(to) => return self.workdir(to),
            Instruction::Arg(args) => self.declare(args)?,
            Instruction::Env(pairs) => self.env(pairs)?,
            Instruction::Label(pairs) => self.label(pairs)?,
            Instruction::Cmd(command) => {
                self.has_cmd = true;
                self.program("Cmd", command)
            }
            Instruction::Entrypoint(command) => {
                // Arguments of the base's program are none of another one's.
                if !self.has_cmd {
                    self.set("Cmd", Value::Null);
                }
                self.program("Entrypoint", command)
            }
            Instruction::Shell(words) => {
                self.set("Shell", json!(words));
                format!("SHELL {}", json!(words))
            }
            Instruction::User(user) => {
                let user = self.word(user)?;
                self.set("User", json!(user));
                format!("USER {user}")
            }
            Instruction::Expose(ports) => self.expose(ports)?,
            Instruction::Volume(paths) => self.volume(paths)?,
            Instruction::Stopsignal(signal) => self.stopsignal(signal)?,
            Instruction::Healthcheck(check) => {
                self.set("Healthcheck", check.clone());
                format!("HEALTHCHECK {check}")
            }
            Instruction::Maintainer(name) => {
                self.document["author"] = json!(name);
                format!("MAINTAINER {name}")
            }
        };
        Ok(Effect { said, work: Work::Nothing })
    }

    fn set(&mut self, field: &str, value: Value) {
        let Some(config) = self.document["config"].as_object_mut() else { return };
        match value {
            Value::Null => drop(config.remove(field)),
            value => drop(config.insert(field.to_owned(), value)),
        }
    }

    fn map(&mut self, field: &str) -> Option<&mut Map<String, Value>> {
        let config = self.document["config"].as_object_mut()?;
        let map = config.entry(field).or_insert_with(|| json!({}));
        if !map.is_object() {
            *map = json!({});
        }
        map.as_object_mut()
    }

    fn text(&self, field: &str) -> String {
        self.document["config"][field].as_str().unwrap_or_default().to_owned()
    }

    fn texts(&self, field: &str) -> Vec<String> {
        let all = self.document["config"][field].as_array();
        all.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The image's own variables come before ARGs of the same name.
    fn word(&self, text: &str) -> Result<String, String> {
        let env = self.texts("Env");
        let value = |name: &str| {
            let of_env = env.iter().find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
            of_env.map(|(_, value)| value.to_owned()).or_else(|| self.args.get(name).cloned())
        };
        expand::word(text, self.escape, &value)
    }

    fn words(&self, all: &[String]) -> Result<Vec<String>, String> {
        all.iter().map(|word| self.word(word)).collect()
    }

    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        pairs.iter().map(|(name, value)| Ok((self.word(name)?, self.word(value)?))).collect()
    }

    fn declare(&mut self, args: &[(String, Option<String>)]) -> Result<String, String> {
        let mut said = Vec::new();
        for (name, default) in args {
            let default = default.as_ref().map(|default| self.word(default)).transpose()?;
            let value = self.given.get(name).cloned().or(default).or_else(|| self.globals.get(name).cloned());
            said.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            if let Some(value) = value {
                self.args.insert(name.clone(), value);
            }
        }
        Ok(format!("ARG {}", said.join(" ")))
    }

    fn env(&mut self, pairs: &[(String, String)]) -> Result<String, String> {
        // All values are those before the line.
        let pairs = self.pairs(pairs)?;
        let mut env = self.texts("Env");
        for (name, value) in &pairs {
            let pair = format!("{name}={value}");
            match env.iter_mut().find(|pair| pair.split('=').next() == Some(name)) {
                Some(present) => *present = pair,
                None => env.push(pair),
            }
        }
        self.set("Env", json!(env));
        Ok(said("ENV", &pairs))
    }

    fn label(&mut self, pairs: &[(String, String)]) -> Result<String, String> {
        let pairs = self.pairs(pairs)?;
        if let Some(labels) = self.map("Labels") {
            labels.extend(pairs.iter().map(|(name, value)| (name.clone(), json!(value))));
        }
        Ok(said("LABEL", &pairs))
    }

    fn shell(&self) -> Vec<String> {
        let own = self.texts("Shell");
        if own.is_empty() { SHELL.map(str::to_owned).to_vec() } else { own }
    }

    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) if text.is_empty() => Vec::new(),
            Command::Shell(text) => [self.shell(), vec![text.clone()]].concat(),
        }
    }

    fn program(&mut self, field: &str, command: &Command) -> String {
        let words = self.command(command);
        let said = format!("{} {}", field.to_ascii_uppercase(), json!(words));
        self.set(field, if words.is_empty() { Value::Null } else { json!(words) });
        said
    }

    fn expose(&mut self, ports: &[String]) -> Result<String, String> {
        let ports = self.words(ports)?;
        for port in ports.iter().flat_map(|port| port.split_whitespace()) {
            let all = numbers(port)?;
            if let Some(exposed) = self.map("ExposedPorts") {
                exposed.extend(all.into_iter().map(|port| (port, json!({}))));
            }
        }
        Ok(format!("EXPOSE {}", ports.join(" ")))
    }

    fn volume(&mut self, paths: &[String]) -> Result<String, String> {
        let paths = self.words(paths)?;
        if paths.iter().any(|path| path.trim().is_empty()) {
            return Err("a path is empty".to_owned());
        }
        if let Some(volumes) = self.map("Volumes") {
            volumes.extend(paths.iter().map(|path| (path.clone(), json!({}))));
        }
        Ok(format!("VOLUME {}", json!(paths)))
    }

    fn stopsignal(&mut self, signal: &str) -> Result<String, String> {
        let signal = self.word(signal)?;
        let name = signal.strip_prefix("SIG").unwrap_or(&signal);
        let is_number = signal.parse().is_ok_and(|number: u8| (1..=64).contains(&number));
        let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.chars().all(|one| one.is_ascii_uppercase() || one.is_ascii_digit() || "+-".contains(one));
        if !is_number && !is_name {
            return Err(format!("{} is no signal", signal.escape_debug()));
        }
        self.set("StopSignal", json!(signal));
        Ok(format!("STOPSIGNAL {signal}"))
    }

    fn workdir(&mut self, to: &str) -> Result<Effect, String> {
        let to = self.word(to)?;
        let path = absolute(&self.text("WorkingDir"), &to);
        self.set("WorkingDir", json!(path));
        Ok(Effect { said: format!("WORKDIR {path}"), work: Work::Folder(path, self.text("User")) })
    }

    fn copy(&self, copied: &Copied) -> Result<Effect, String> {
        let optional = |text: &Option<String>| text.as_ref().map(|text| self.word(text)).transpose();
        let sources = self.words(&copied.sources)?;
        let to = self.word(&copied.to)?;
        let is_folder = to.ends_with('/') || to == "." || to.ends_with("/.");
        let mut path = absolute(&self.text("WorkingDir"), &to);
        if is_folder && path != "/" {
            path.push('/');
        }
        let placed = Copied {
            add: copied.add,
            from: copied.from.clone(),
            owner: optional(&copied.owner)?,
            mode: optional(&copied.mode)?,
            sources,
            to: path,
        };
        let mut said = if copied.add { "ADD".to_owned() } else { "COPY".to_owned() };
        for (name, value) in [("from", &placed.from), ("chown", &placed.owner), ("chmod", &placed.mode)] {
            if let Some(value) = value {
                said.push_str(&format!(" --{name}={value}"));
            }
        }
        said.push_str(&format!(" {} {}", placed.sources.join(" "), placed.to));
        Ok(Effect { said, work: Work::Copy(placed) })
    }

    fn run(&self, command: &Command) -> Effect {
        let mut env = self.texts("Env");
        let has = |env: &[String], name: &str| env.iter().any(|pair| pair.split('=').next() == Some(name));
        let used: Vec<String> = self
            .args
            .iter()
            .filter(|(name, _)| !has(&env, name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        env.extend(used.iter().cloned());
        let proxies = self.given.iter().filter(|(name, _)| is_proxy(name));
        for (name, value) in proxies {
            if !has(&env, name) {
                env.push(format!("{name}={value}"));
            }
        }
        if !has(&env, "PATH") {
            env.push(PATH.to_owned());
        }
        let args = self.command(command);
        let counted = if used.is_empty() { String::new() } else { format!("|{} {} ", used.len(), used.join(" ")) };
        let said = format!("RUN {counted}{}", args.join(" "));
        let workdir = Some(self.text("WorkingDir")).filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
        Effect { said, work: Work::Run(Run { args, env, workdir, user: self.text("User") }) }
    }
}

/// Whether an argument needs no declaration.
pub(crate) fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name.to_ascii_uppercase().as_str())
}

fn said(keyword: &str, pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{keyword} {}", pairs.join(" "))
}

/// The path seen from `from`, without `.` and `..`.
pub(crate) fn absolute(from: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{from}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `80`, `53/udp` or `8000-8010`, as the configuration has them.
fn numbers(port: &str) -> Result<Vec<String>, String> {
    let bad = |why: &str| format!("{}: {why}", port.escape_debug());
    let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(bad("the protocol is none of tcp, udp and sctp"));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| bad("it is no port"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last || usize::from(last - first) >= PORTS_MAX {
        return Err(bad("the range ends before it begins, or is too long"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests;
