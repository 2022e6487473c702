//! The commands, one file each, and what they share: the global options, the container they name.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod help;
mod kill;
mod list;
mod notify;
mod overlay;
mod pause;
mod pidfd_socket;
mod ps;
mod spec;
mod subgroup;
mod update;

use crate::cgroup::Unit;
use crate::cli::{End, GLOBAL, Opt, Words};
use crate::error::{Acts, Error, On, Result};
use crate::id::ContainerId;
use crate::inherited;
use crate::report::show;
use crate::seal;
use crate::spec::config::Config;
use crate::state::{Container, Folder, Record};
use skiff_step::{CORRELATION_ANNOTATION, Engine};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where containers are remembered unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/skiff-oci";

/// What every command gets.
pub(crate) struct Context {
    /// Folder of the containers' state.
    pub(crate) root: PathBuf,
    pub(crate) acts: Acts,
    /// Says where the log is.
    pub(crate) global: Words,
}

impl Context {
    /// Logs what does not stop a command.
    fn warn(&self, text: &str) {
        crate::report::warning(&self.global, text);
    }

    /// Logs what only `--debug` asks for.
    fn debug(&self, text: &str) {
        if self.global.is_on("debug") {
            crate::report::debug(&self.global, text);
        }
    }

    /// The folder of the container that `words` name first.
    fn folder(&self, words: &Words) -> Result<(ContainerId, Folder)> {
        let id = words.positionals.first().ok_or_else(|| Error::Usage("a container id is needed".to_owned()))?;
        let id = ContainerId::check(id)?;
        let folder = Folder::new(&self.root, &id);
        Ok((id, folder))
    }

    /// The unit of systemd that `--systemd-cgroup` asks for around the container `id`.
    fn unit(&self, id: &ContainerId, written: &Config) -> Result<Option<Unit>> {
        let path = written.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
        let annotations = written.annotations.clone().unwrap_or_default();
        self.global.is_on("systemd-cgroup").then(|| Unit::of(id.as_str(), path, &annotations)).transpose()
    }

    /// The container that `words` name first, and steps that carry its correlation id.
    fn container(&self, words: &Words) -> Result<(Container, Acts)> {
        let container = self.folder(words)?.1.load()?;
        let acts = self.acts_for(&container.record);
        Ok((container, acts))
    }

    /// Steps that carry a container's correlation id.
    fn acts_for(&self, record: &Record) -> Acts {
        self.acts.correlated(record.annotations.get(CORRELATION_ANNOTATION).map(String::as_str))
    }
}

/// The global options, and the command with its own words.
pub(crate) struct Invocation {
    pub(crate) global: Words,
    pub(crate) command: Option<String>,
    pub(crate) words: Vec<String>,
}

/// What runc's `exec` exits with when there was no program whose code it could pass on.
const EXEC_FAILED: u8 = 255;

impl Invocation {
    /// The exit code of the command's failure.
    pub(crate) fn failure_code(&self) -> ExitCode {
        if self.command.as_deref() == Some("exec") { ExitCode::from(EXEC_FAILED) } else { ExitCode::FAILURE }
    }
}

/// Splits the command line.
///
/// # Errors
/// An unknown global option.
pub(crate) fn read(words: &[String]) -> Result<Invocation> {
    let mut global = Words::sort(words, GLOBAL, End::AfterPositionals(1))?;
    let words = if global.positionals.is_empty() { Vec::new() } else { global.positionals.split_off(1) };
    Ok(Invocation { command: global.positionals.pop(), global, words })
}

/// Runs the command; its value is the program's exit code.
///
/// # Errors
/// What it could not do.
pub(crate) fn run(invocation: &Invocation) -> Result<u8> {
    let global = &invocation.global;
    if global.is_on("version") {
        show!("skiff-oci version {}\nspec: {}", env!("CARGO_PKG_VERSION"), crate::spec::VERSION)?;
        return Ok(0);
    }
    if global.is_on("help") || matches!(invocation.command.as_deref(), None | Some("help")) {
        return help::print(None);
    }
    if let Some(format) = global.value("log-format").filter(|format| !["text", "json"].contains(format)) {
        return Err(Error::Usage(format!("invalid log-format: {format}")));
    }
    let root = global.value("root").map_or_else(default_root, PathBuf::from);
    let root = std::path::absolute(&root).on("find", root.display())?;
    let engine = Engine::from_env("oci").on("open trace for", "skiff-oci")?;
    let context = Context { root, acts: Acts::new(engine), global: global.clone() };
    dispatch(&context, invocation.command.as_deref().unwrap_or_default(), &invocation.words)
}

/// An ordinary user has a folder of their own (XDG Base Directory, XDG_RUNTIME_DIR).
fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty() && crate::plan::is_below_host());
    own.map_or_else(|| PathBuf::from(DEFAULT_ROOT), |folder| Path::new(&folder).join("skiff-oci"))
}

/// Reads a command line as a command would, without running it: for tests with very many of them.
#[cfg(test)]
pub(crate) fn on_paper(words: &[String]) {
    let Ok(invocation) = read(words) else { return };
    let id = |text: &str| ContainerId::check(text).is_ok();
    for command in COMMANDS {
        let Ok(words) = Words::sort(&invocation.words, command.1, command.2) else { continue };
        let _either_way = (words.positionals.first().map(|text| id(text)), create::preserve_fds(&words));
        let process = r#"{"user": {"uid": 0, "gid": 0}, "args": ["a"], "cwd": "/"}"#;
        let process: crate::spec::config::Process = serde_json::from_str(process).expect("a process");
        if let Ok(process) = overlay::overlay(process, &words) {
            let _either_way = crate::spec::Process::check("process", &process, None);
        }
        words.positionals.iter().for_each(|text| drop(kill::number(text)));
    }
}

type Run = fn(&Context, &Words) -> Result<u8>;

/// A command: name, options, where they end, and who runs it.
pub(crate) struct Command(&'static str, &'static [Opt], End, Run);

/// All of them, in the order of a container's life.
pub(crate) const COMMANDS: &[Command] = &[
    Command("create", create::OPTIONS, End::Never, create::create),
    Command("start", NONE, End::Never, create::start),
    Command("run", create::RUN_OPTIONS, End::Never, create::run),
    Command("exec", exec::OPTIONS, End::AfterPositionals(2), exec::exec),
    Command("state", NONE, End::Never, list::state),
    Command("kill", kill::OPTIONS, End::Never, kill::kill),
    Command("pause", NONE, End::Never, pause::pause),
    Command("resume", NONE, End::Never, pause::resume),
    Command("update", update::OPTIONS, End::Never, update::update),
    Command("events", events::OPTIONS, End::Never, events::events),
    Command("ps", ps::OPTIONS, End::AfterPositionals(1), ps::ps),
    Command("list", list::OPTIONS, End::Never, list::list),
    Command("delete", delete::OPTIONS, End::Never, delete::delete),
    Command("features", NONE, End::Never, features::features),
    Command("spec", spec::OPTIONS, End::Never, spec::spec),
];

/// Commands of runc that this runtime refuses, with `--help` too: podman asks by it whether there is such a command.
const LEFT_OUT: &[&str] = &["checkpoint", "restore"];

const HELP: Opt = Opt("help", Some('h'), crate::cli::Takes::Nothing);
const NONE: &[Opt] = &[HELP];

fn dispatch(context: &Context, name: &str, words: &[String]) -> Result<u8> {
    let command = COMMANDS.iter().find(|command| command.0 == name);
    if LEFT_OUT.contains(&name) {
        return Err(Error::Usage(format!("{name}: left out on purpose, a restored process would bypass every check")));
    }
    let command = command.ok_or_else(|| Error::Usage(format!("no such command: {name} (see skiff-oci --help)")))?;
    let words = Words::sort(words, command.1, command.2)?;
    if words.is_on("help") {
        return help::print(Some(command));
    }
    if ["create", "run", "exec"].contains(&command.0) {
        seal::run_sealed(&context.acts)?;
    }
    inherited::forget()?;
    command.3(context, &words)
}

/// A path given as an option, absolute.
fn path(words: &Words, name: &str) -> Result<Option<PathBuf>> {
    words.value(name).map(|path| std::path::absolute(Path::new(path)).on("find", path)).transpose()
}
