//! `skiff image`: works on the image store, whether or not a node runs.

mod about; // what is known of images
mod build; // images by Dockerfiles
mod transfer; // pulls and pushes, and how far they are

use super::get::render;
use crate::cli::{BuildArgs, BuildNetwork, FromHostArgs, ImageArgs, ImageCommand, LayerForm, Output};
use crate::client::{plain_table, text};
use crate::embedded::Programs;
use crate::folders::Folders;
use crate::node::engine;
use crate::out::{self, show};
use anyhow::Context;
use serde_json::{Value, json};
use skiff_image::{AuthFile, Builtin, Image, ImageStore, Recipe, Registries};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: ImageArgs) -> anyhow::Result<()> {
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    let form = args.output;
    let images = match args.command {
        ImageCommand::Build(args) => build::build(&folders, &args)?,
        ImageCommand::FromHost(args) => {
            let recipe = recipe(args)?;
            on_each(&folders, |store| {
                Ok(vec![store.build(&recipe).with_context(|| format!("build {}", recipe.name))?])
            })?
        }
        ImageCommand::Import { path, name } => {
            let import = |store: &ImageStore| store.import(&path, name.as_deref());
            on_each(&folders, |store| import(store).with_context(|| format!("import {}", path.display())))?
        }
        // Who only looks makes no folders, installs nothing and cleans nothing up.
        ImageCommand::List => ImageStore::list_at_rest(&folders.images()).context("list images")?,
        ImageCommand::Pull { images, user } => {
            on_each(&folders, |store| transfer::pull(store, &images, user.as_deref()))?
        }
        ImageCommand::Push { image, to, user } => {
            return transfer::push(&open(&folders)?, &image, to.as_deref(), user.as_deref());
        }
        ImageCommand::Tag { image, name } => on_each(&folders, |store| {
            Ok(vec![store.tag(&image, &name).with_context(|| format!("tag {image} as {name}"))?])
        })?,
        ImageCommand::Save { file, images } => {
            return open(&folders)?.save(&images, &file).with_context(|| format!("save {}", file.display()));
        }
        ImageCommand::Inspect { images } => return about::inspect(&open(&folders)?, &images, form),
        ImageCommand::History { image } => return about::history(&open(&folders)?, &image, form),
        ImageCommand::Du => return about::room(&open(&folders)?, form),
        ImageCommand::Prune { all } => on_each(&folders, |store| store.prune(all).context("prune images"))?,
        ImageCommand::Pin { images, undo } => on_each(&folders, |store| pin(store, &images, !undo))?,
        ImageCommand::Verify { mend } => return about::verify(&open(&folders)?, mend, form),
        ImageCommand::Remove { images } => {
            remove(&open(&folders)?, &images)?;
            for member in folders.members() {
                let store = open(&member)?;
                let is_there = |image: &String| matches!(store.resolve(image), Ok(Some(_)));
                remove(&store, &images.iter().filter(|image| is_there(image)).cloned().collect::<Vec<_>>())?;
            }
            return Ok(());
        }
    };
    print(&images, form)
}

/// Builds a folder's Dockerfile, as `skiff image build` does, for an application; answers the image's name, which its content decides.
pub(crate) fn build_folder(folders: &Folders, folder: &Path, application: &str) -> anyhow::Result<String> {
    let args = BuildArgs {
        context: folder.to_owned(),
        tags: vec![format!("skiff.local/{application}:build")],
        file: None,
        args: Vec::new(),
        target: None,
        no_cache: false,
        pull: false,
        network: BuildNetwork::Host,
        compression: LayerForm::None,
        source_date_epoch: None,
    };
    let built = build::build(folders, &args)?;
    let id = built.first().map(|image| image.id.trim_start_matches("sha256:").to_owned());
    let id = id.with_context(|| format!("build {}: nothing was built", folder.display()))?;
    let name = format!("skiff.local/{application}:{}", id.get(..12).unwrap_or(&id));
    on_each(folders, |store| Ok(vec![store.tag(&args.tags[0], &name).with_context(|| format!("tag {name}"))?]))?;
    Ok(name)
}

/// Does the same to the stores of all nodes of `up --nodes`, each of which has one; answers what the first one's said.
fn on_each(folders: &Folders, work: impl Fn(&ImageStore) -> anyhow::Result<Vec<Image>>) -> anyhow::Result<Vec<Image>> {
    let images = work(&open(folders)?)?;
    for member in folders.members() {
        work(&open(&member)?).with_context(|| format!("for the node in {}", member.data.display()))?;
    }
    Ok(images)
}

/// Makes the store, if there is none yet.
fn open(folders: &Folders) -> anyhow::Result<ImageStore> {
    folders.create()?;
    let programs = Programs::install(&folders.bin())?;
    let builtin = Builtin { web: Some(programs.web) };
    let store = ImageStore::open(&folders.images(), builtin, engine("image")?).context("open the image store")?;
    Ok(store.with_registries(Registries::new(Some(folders.registries()), AuthFile::of_user())))
}

fn pin(store: &ImageStore, images: &[String], pinned: bool) -> anyhow::Result<Vec<Image>> {
    images.iter().map(|image| store.pin(image, pinned).with_context(|| format!("pin {image}"))).collect()
}

fn remove(store: &ImageStore, images: &[String]) -> anyhow::Result<()> {
    for image in images {
        anyhow::ensure!(store.resolve(image)?.is_some(), "remove {image}: no such image");
        store.remove(image).with_context(|| format!("remove {image}"))?;
    }
    Ok(())
}

fn recipe(args: FromHostArgs) -> anyhow::Result<Recipe> {
    let add: Vec<(PathBuf, PathBuf)> = args.add.iter().map(|text| place(text)).collect::<anyhow::Result<_>>()?;
    let FromHostArgs { name, env, workdir, user, mut command, .. } = args;
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    if let Some((from, to)) = add.first().filter(|_| command.is_empty())
        && is_program(from)
    {
        command.push(to.display().to_string());
    }
    Ok(Recipe { name, add, env, workdir, user, command })
}

/// `HOST:IMAGE`, or one path for both.
fn place(text: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    if let Some((from, to)) = text.rsplit_once(':').filter(|(from, to)| !from.is_empty() && to.starts_with('/')) {
        return Ok((from.into(), to.into()));
    }
    let path = std::path::absolute(text).with_context(|| format!("--add {text}"))?;
    Ok((path.clone(), path))
}

fn print(images: &[Image], form: Option<Output>) -> anyhow::Result<()> {
    match form {
        None => show!("{}", table(images)),
        Some(Output::Wide) => show!("{}", wide_table(images)),
        Some(Output::Name) => images.iter().flat_map(names).try_for_each(|name| show!("{name}")),
        Some(form) => {
            let list: Vec<Value> = images.iter().map(value).collect();
            out::print_bytes(render(&json!({ "images": list }), form)?.as_bytes())
        }
    }
}

/// For scripts, in the words of CRI's Image.
fn value(image: &Image) -> Value {
    json!({
        "id": image.id,
        "repoTags": image.repo_tags,
        "repoDigests": image.repo_digests,
        "sizeBytes": image.size_bytes,
        "pinned": image.pinned,
        "config": image.config,
    })
}

/// The names, or the id of an image without any.
fn names(image: &Image) -> Vec<String> {
    let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
    if names.is_empty() { vec![image.id.clone()] } else { names.clone() }
}

/// The names that a person reads.
fn shown_names(image: &Image) -> Vec<String> {
    let is_named = !image.repo_tags.is_empty() || !image.repo_digests.is_empty();
    if is_named { names(image) } else { vec!["<none>".to_owned()] }
}

fn table(images: &[Image]) -> String {
    let mut table = plain_table(["IMAGE", "ID", "SIZE"]);
    for image in images {
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        for name in shown_names(image) {
            table.add_row([&name, id.get(..12).unwrap_or(id), &size(image.size_bytes)]);
        }
    }
    text(&table)
}

fn wide_table(images: &[Image]) -> String {
    let mut table = plain_table(["IMAGE", "ID", "SIZE", "ARCHITECTURE", "COMMAND"]);
    for image in images {
        let config = image.config.config().as_ref();
        let entrypoint = config.and_then(|config| config.entrypoint().clone()).unwrap_or_default();
        let arguments = config.and_then(|config| config.cmd().clone()).unwrap_or_default();
        let command = [entrypoint, arguments].concat().join(" ");
        for name in shown_names(image) {
            let architecture = image.config.architecture().to_string();
            table.add_row([&name, &image.id, &size(image.size_bytes), &architecture, &command]);
        }
    }
    text(&table)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_have_another_place_in_the_image() {
        let both =
            |text: &str| place(text).map(|(from, to)| (from.display().to_string(), to.display().to_string())).unwrap();
        assert_eq!(both("a.sh:/b.sh"), ("a.sh".into(), "/b.sh".into()));
        assert_eq!(both("/bin/sh"), ("/bin/sh".into(), "/bin/sh".into()));
        assert_eq!(both("/a:b"), ("/a:b".into(), "/a:b".into()));
        assert_eq!(both("root:/"), ("root".into(), "/".into()));
    }
}
