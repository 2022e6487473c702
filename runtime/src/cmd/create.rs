//! `create`, `start`, `run`.

use super::{Context, foreground, path};
use crate::cli::{Opt, Takes, Words};
use crate::error::{Acts, Error, On, Result};
use crate::id::ContainerId;
use crate::init::{self, Creation};
use crate::spec::{self, Spec};
use crate::state::{Folder, Status};
use skiff_step::CORRELATION_ANNOTATION;
use std::path::PathBuf;

pub(super) const OPTIONS: &[Opt] = &[
    Opt("bundle", Some('b'), Takes::Value),
    Opt("console-socket", None, Takes::Value),
    Opt("pid-file", None, Takes::Value),
    Opt("preserve-fds", None, Takes::Value),
    Opt("no-pivot", None, Takes::Nothing),
    // The session keyring stays the caller's in either case.
    Opt("no-new-keyring", None, Takes::Nothing),
    super::HELP,
];
pub(super) const RUN_OPTIONS: &[Opt] = &[
    Opt("bundle", Some('b'), Takes::Value),
    Opt("console-socket", None, Takes::Value),
    Opt("pid-file", None, Takes::Value),
    Opt("preserve-fds", None, Takes::Value),
    Opt("no-pivot", None, Takes::Nothing),
    Opt("no-new-keyring", None, Takes::Nothing),
    Opt("detach", Some('d'), Takes::Nothing),
    Opt("keep", None, Takes::Nothing),
    Opt("no-subreaper", None, Takes::Nothing),
    super::HELP,
];

/// A container as asked for, read and checked.
struct Asked {
    id: ContainerId,
    folder: Folder,
    bundle: PathBuf,
    spec: Spec,
    acts: Acts,
}

fn asked(context: &Context, words: &Words) -> Result<Asked> {
    let (id, folder) = context.folder(words)?;
    if words.is_on("no-pivot") {
        return Err(Error::Usage("--no-pivot: not implemented, the root is always changed by pivot_root".to_owned()));
    }
    let bundle = path(words, "bundle")?.map_or_else(|| std::env::current_dir().on("find", "working directory"), Ok)?;
    let written = spec::read(&bundle.join("config.json"))?;
    let spec = Spec::check(id.as_str(), &bundle, &written)?;
    spec.process.warnings.iter().for_each(|warning| context.warn(warning));
    let acts = context.acts.correlated(spec.annotations.get(CORRELATION_ANNOTATION).map(String::as_str));
    Ok(Asked { id, folder, bundle, spec, acts })
}

fn creation<'a>(asked: &'a Asked, words: &Words, warn: &'a dyn Fn(&str)) -> Result<Creation<'a>> {
    Ok(Creation {
        acts: &asked.acts,
        id: &asked.id,
        bundle: &asked.bundle,
        spec: &asked.spec,
        folder: &asked.folder,
        console_socket: path(words, "console-socket")?,
        pid_file: path(words, "pid-file")?,
        preserve_fds: preserve_fds(words)?,
        warn,
    })
}

pub(super) fn preserve_fds(words: &Words) -> Result<u32> {
    let Some(text) = words.value("preserve-fds") else { return Ok(0) };
    text.parse().map_err(|_| Error::Usage(format!("--preserve-fds {text}: not a number")))
}

/// `create ID`.
pub(super) fn create(context: &Context, words: &Words) -> Result<u8> {
    let asked = asked(context, words)?;
    let warn = |text: &str| context.warn(text);
    init::create(&creation(&asked, words, &warn)?).map(|_| 0)
}

/// `start ID`.
pub(super) fn start(context: &Context, words: &Words) -> Result<u8> {
    let (container, acts) = context.container(words)?;
    match container.status()? {
        Status::Created => (),
        status => {
            let id = &container.record.id;
            return Err(Error::Said(format!("cannot start a container that is {}: {id}", status.word())));
        }
    }
    let hooks = container.config()?.hooks.unwrap_or_default();
    init::start(&acts, &container, &hooks).map(|()| 0)
}

/// `run ID`: in the foreground unless `--detach`.
pub(super) fn run(context: &Context, words: &Words) -> Result<u8> {
    let asked = asked(context, words)?;
    let detach = words.is_on("detach");
    let warn = |text: &str| context.warn(text);
    let mut creation = creation(&asked, words, &warn)?;
    let relay = match (&asked.spec.process.terminal, detach, &creation.console_socket) {
        (Some(_), false, None) => Some(foreground::TerminalRelay::listen()?),
        _ => None,
    };
    if let Some(relay) = &relay {
        creation.console_socket = Some(relay.path());
    }
    let signals = if detach { None } else { Some(foreground::Signals::take()?) };
    let container = init::create(&creation)?;
    let started = init::start(&asked.acts, &container, &asked.spec.hooks);
    let code = match (started, signals) {
        (Err(error), _) => Err(error),
        (Ok(()), None) => return Ok(0),
        (Ok(()), Some(signals)) => foreground::wait(container.record.process.pid, &signals, relay),
    };
    if !words.is_on("keep") || code.is_err() {
        let poststop = asked.spec.hooks.poststop.as_ref();
        super::delete::remove(context, &asked.acts, &container, poststop)?;
    }
    code
}
