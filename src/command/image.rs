//! `skiff image`: works on the image store, whether or not a node runs.

use crate::cli::{ImageArgs, ImageCommand};
use crate::client::{plain_table, text};
use crate::embedded::Programs;
use crate::folders::Folders;
use crate::node::engine;
use crate::out::show;
use anyhow::Context;
use skiff_image::{Builtin, Image, ImageStore};

pub(crate) fn run(args: ImageArgs) -> anyhow::Result<()> {
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    folders.create()?;
    let programs = Programs::install(&folders.bin())?;
    let builtin = Builtin { web: Some(programs.web) };
    let store = ImageStore::open(&folders.images(), builtin, engine("image")?).context("open the image store")?;
    match args.command {
        ImageCommand::Import { path, name } => {
            let images = store.import(&path, name.as_deref());
            print(&images.with_context(|| format!("import {}", path.display()))?)?;
        }
        ImageCommand::List => print(&store.list().context("list images")?)?,
        ImageCommand::Pull { reference } => {
            print(&[store.pull(&reference).with_context(|| format!("pull {reference}"))?])?;
        }
        ImageCommand::Remove { images } => {
            for image in images {
                anyhow::ensure!(store.resolve(&image)?.is_some(), "remove {image}: no such image");
                store.remove(&image).with_context(|| format!("remove {image}"))?;
            }
        }
    }
    Ok(())
}

fn print(images: &[Image]) -> anyhow::Result<()> {
    let mut table = plain_table(["IMAGE", "ID", "SIZE"]);
    for image in images {
        let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        let names = if names.is_empty() { vec!["<none>"] } else { names.iter().map(String::as_str).collect() };
        for name in names {
            table.add_row([name, id.get(..12).unwrap_or(id), &size(image.size_bytes)]);
        }
    }
    show!("{}", text(&table))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
