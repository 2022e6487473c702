//! `skiff image build`.

use super::{on_each, transfer};
use crate::cli::{BuildArgs, BuildNetwork, LayerForm};
use crate::embedded::Programs;
use crate::folders::Folders;
use crate::out::complain;
use anyhow::{Context, bail};
use skiff_build::{Bases, Dockerfile, Network, Options, make};
use skiff_image::{Compression, Image, ImageStore, Packing};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a context's Dockerfile may be called, and its list of what is kept out.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];
const IGNORES: [&str; 2] = [".dockerignore", ".containerignore"];

pub(super) fn build(folders: &Folders, args: &BuildArgs) -> anyhow::Result<Vec<Image>> {
    anyhow::ensure!(args.context.is_dir(), "build: {} is no folder", args.context.display());
    let (path, text) = dockerfile(args)?;
    let shown = path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let file = Dockerfile::read(&text).with_context(|| shown.clone())?;
    let given = arguments(&args.args)?;
    for name in file.unknown(&given) {
        complain!("--build-arg {name}: the Dockerfile has no such ARG");
    }
    folders.create()?;
    let runtime = Programs::install(&folders.bin())?.oci;
    let work = Work::make(folders)?;
    on_each(folders, |store| {
        let options = Options {
            context: args.context.clone(),
            ignore: ignore(&args.context, path.as_deref())?,
            name: args.tags.first().cloned(),
            args: given.clone(),
            target: args.target.clone(),
            packing: packing(args)?,
            cached: !args.no_cache,
            network: match args.network {
                BuildNetwork::Host => Network::Host,
                BuildNetwork::None => Network::None,
            },
            runtime: runtime.clone(),
            work: work.0.clone(),
        };
        let mut image =
            make(store, &file, &options, &Here { store, pull: args.pull }).with_context(|| shown.clone())?;
        for tag in args.tags.iter().skip(1) {
            image = store.tag(&image.id, tag).with_context(|| format!("tag {tag}"))?;
        }
        Ok(vec![image])
    })
}

/// A folder for mount points that goes when the build ends.
struct Work(PathBuf);

impl Work {
    fn make(folders: &Folders) -> anyhow::Result<Self> {
        let path = folders.run.join(format!("build-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("make folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _left_is_empty_folders = fs::remove_dir_all(&self.0);
    }
}

/// Base images: those that are here, and those of registries.
struct Here<'a> {
    store: &'a ImageStore,
    pull: bool,
}

impl Bases for Here<'_> {
    fn image(&self, name: &str) -> Result<Image, String> {
        let told = |error: anyhow::Error| format!("{error:#}");
        if let Some(image) = self.store.resolve(name).map_err(|error| error.chain())?.filter(|_| !self.pull) {
            return Ok(image);
        }
        let pulled = transfer::pull(self.store, &[name.to_owned()], None).map_err(told)?;
        pulled.into_iter().next().ok_or_else(|| format!("{name}: nothing was pulled"))
    }

    fn step(&self, text: &str, done_before: bool) {
        complain!("{text}{}", if done_before { "  (done before)" } else { "" });
    }
}

fn dockerfile(args: &BuildArgs) -> anyhow::Result<(Option<PathBuf>, String)> {
    let path = match &args.file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read the Dockerfile from standard input")?;
            return Ok((None, text));
        }
        Some(path) => path.clone(),
        None => {
            let found = NAMES.iter().map(|name| args.context.join(name)).find(|path| path.is_file());
            found.with_context(|| format!("{} has neither Dockerfile nor Containerfile", args.context.display()))?
        }
    };
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok((Some(path), text))
}

/// Of one Dockerfile (`NAME.dockerignore` beside it), or of the context.
fn ignore(context: &Path, dockerfile: Option<&Path>) -> anyhow::Result<String> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let all = own.into_iter().chain(IGNORES.iter().map(|name| context.join(name)));
    match all.into_iter().find(|path| path.is_file()) {
        Some(path) => fs::read_to_string(&path).with_context(|| format!("read {}", path.display())),
        None => Ok(String::new()),
    }
}

fn arguments(words: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for word in words {
        match word.split_once('=') {
            Some(("", _)) => bail!("--build-arg {word}: the name is empty"),
            Some((name, value)) => drop(all.insert(name.to_owned(), value.to_owned())),
            None => all.extend(std::env::var(word).ok().map(|value| (word.clone(), value))),
        }
    }
    Ok(all)
}

fn packing(args: &BuildArgs) -> anyhow::Result<Packing> {
    let of_environment = || match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => {
            text.parse().map(Some).with_context(|| format!("SOURCE_DATE_EPOCH={text}: it is no number of seconds"))
        }
        _ => Ok(None),
    };
    let time_max = match args.source_date_epoch {
        Some(seconds) => Some(seconds),
        None => of_environment()?,
    };
    let compression = match args.compression {
        LayerForm::Gzip => Compression::Gzip,
        LayerForm::Zstd => Compression::Zstd,
        LayerForm::None => Compression::None,
    };
    Ok(Packing { compression, time_max })
}
