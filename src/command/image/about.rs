//! `skiff image inspect`, `history`, `du` and `verify`.

use super::{names, shown_names, size, value};
use crate::cli::Output;
use crate::client::{plain_table, text};
use crate::command::get::render;
use crate::out::{self, show};
use anyhow::Context;
use serde_json::{Value, json};
use skiff_image::ImageStore;

fn print(value: &Value, form: Output) -> anyhow::Result<()> {
    out::print_bytes(render(value, form)?.as_bytes())
}

/// Everything, in JSON unless another form is asked for.
pub(super) fn inspect(store: &ImageStore, images: &[String], form: Option<Output>) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for name in images {
        let image = store.resolve(name)?.with_context(|| format!("inspect {name}: no such image"))?;
        let detail = store.detail(&image.id).with_context(|| format!("inspect {name}"))?;
        let layer = |layer: &skiff_image::LayerDetail| json!({ "diffID": layer.diff_id, "digest": layer.digest, "packedBytes": layer.packed_bytes, "diskBytes": layer.disk_bytes });
        let mut shown = value(&image);
        shown["manifest"] = json!(detail.manifest);
        shown["mediaType"] = json!(detail.media_type);
        shown["layers"] = detail.layers.iter().map(layer).collect();
        shown["history"] = json!(detail.history);
        all.push(shown);
    }
    let form = form.filter(|form| matches!(form, Output::Yaml)).unwrap_or(Output::Json);
    print(&json!({ "images": all }), form)
}

/// The steps that made the image, the last first.
pub(super) fn history(store: &ImageStore, image: &str, form: Option<Output>) -> anyhow::Result<()> {
    let detail = store.detail(image).with_context(|| format!("history {image}"))?;
    if let Some(form @ (Output::Json | Output::Yaml)) = form {
        return print(&json!({ "history": detail.history }), form);
    }
    let mut layers = detail.layers.iter();
    let mut rows = Vec::new();
    for step in &detail.history {
        let is_empty = step["empty_layer"].as_bool().unwrap_or(false);
        let bytes = if is_empty { 0 } else { layers.next().map_or(0, |layer| layer.disk_bytes) };
        let word = |name: &str| step[name].as_str().unwrap_or_default().escape_debug().to_string();
        rows.push([word("created"), size(bytes), word("created_by"), word("comment")]);
    }
    let mut table = plain_table(["CREATED", "SIZE", "CREATED BY", "COMMENT"]);
    for row in rows.into_iter().rev() {
        table.add_row(row);
    }
    show!("{}", text(&table))
}

/// The room that images take.
pub(super) fn room(store: &ImageStore, form: Option<Output>) -> anyhow::Result<()> {
    let (rooms, usage) = (store.room().context("measure images")?, store.usage().context("measure images")?);
    if let Some(form @ (Output::Json | Output::Yaml)) = form {
        let one = |room: &skiff_image::Room| {
            json!({ "id": room.image.id, "names": names(&room.image), "ownBytes": room.own_bytes, "sharedBytes": room.shared_bytes,
                "containers": room.containers, "pinned": room.image.pinned })
        };
        let all: Vec<Value> = rooms.iter().map(one).collect();
        return print(&json!({ "images": all, "bytes": usage.bytes_used, "inodes": usage.inodes_used }), form);
    }
    let mut table = plain_table(["IMAGE", "OWN", "SHARED", "CONTAINERS"]);
    for room in &rooms {
        let name = shown_names(&room.image).join(", ");
        table.add_row([name, size(room.own_bytes), size(room.shared_bytes), room.containers.to_string()]);
    }
    table.add_row(["all".to_owned(), size(usage.bytes_used), String::new(), String::new()]);
    show!("{}", text(&table))
}

/// Whether all is as it was; it is an error if not.
pub(super) fn verify(store: &ImageStore, mend: bool, form: Option<Output>) -> anyhow::Result<()> {
    let verified = store.verify(mend).context("verify images")?;
    if let Some(form @ (Output::Json | Output::Yaml)) = form {
        print(&json!({ "read": verified.read, "wrong": verified.wrong, "mended": verified.mended }), form)?;
    } else {
        verified.wrong.iter().chain(&verified.mended).try_for_each(|sentence| show!("{sentence}"))?;
        show!("{} blobs and layers were read, {} are wrong", verified.read, verified.wrong.len())?;
    }
    let mut left = verified.wrong.len();
    if mend && left > 0 {
        left = store.verify(false).context("verify images")?.wrong.len();
    }
    anyhow::ensure!(left == 0, "{left} blobs or layers are not what they were (`skiff image verify --mend` mends)");
    Ok(())
}
