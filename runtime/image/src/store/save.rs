//! Writes images into an archive that is an OCI layout and Docker's at once, as `docker save` of these years has it.

use super::ImageStore;
use crate::blobs::LAYOUT;
use crate::error::On;
use crate::index::{Content, Record, layout_of};
use crate::{Digest, ImageError};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use tar::{Builder, EntryType, Header};

impl ImageStore {
    /// Writes the images with their names into the new file `archive`, which appears when it is whole.
    ///
    /// # Errors
    /// There is no such image, what was delivered of it was not kept, or the file cannot be written.
    pub fn save(&self, images: &[String], archive: &Path) -> Result<(), ImageError> {
        let chosen = images.iter().map(|image| self.delivered_whole(image)).collect::<Result<Vec<_>, _>>()?;
        let mut name = archive.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = archive.with_file_name(name);
        let written = self.write_archive(&chosen, &part);
        let written = written.and_then(|()| std::fs::rename(&part, archive).on("rename", &part));
        if written.is_err() {
            // What went wrong is told; what is left of it says nothing.
            let _gone_or_told = std::fs::remove_file(&part);
        }
        written
    }

    /// An image whose blobs are all there.
    pub(crate) fn delivered_whole(&self, image: &str) -> Result<(String, Record, Content), ImageError> {
        let (id, record) = self.listed(image)?;
        let not_kept =
            || ImageError::malformed(image, "what was delivered of it was not kept: pull or import it again");
        let content = record.content.clone().ok_or_else(not_kept)?;
        Ok((id, record, content))
    }

    fn write_archive(&self, images: &[(String, Record, Content)], to: &Path) -> Result<(), ImageError> {
        let mut tape = Builder::new(io::BufWriter::new(File::create(to).on("create", to)?));
        let mut seen = BTreeSet::new();
        for hex in images.iter().flat_map(|(id, _, content)| content.manifest_and_layers(id)) {
            let digest = Digest::from_hex(hex)?;
            if seen.insert(digest) {
                self.blobs.verify(&digest)?;
                let mut file = self.blobs.open(&digest)?;
                let bytes = file.metadata().on("stat", self.blobs.path(&digest))?.len();
                let name = format!("blobs/sha256/{hex}");
                tape.append_data(&mut header(bytes), name, &mut file).on("write", to)?;
            }
        }
        let index = layout_of(images.iter().map(|(_, record, _)| record)).to_string();
        for (name, text) in
            [("oci-layout", LAYOUT.to_owned()), ("index.json", index), ("manifest.json", docker(images))]
        {
            tape.append_data(&mut header(text.len() as u64), name, text.as_bytes()).on("write", to)?;
        }
        let mut buffer = tape.into_inner().on("write", to)?;
        buffer.flush().on("write", to)?;
        buffer.get_ref().sync_all().on("sync", to)
    }
}

fn header(bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header
}

fn docker(images: &[(String, Record, Content)]) -> String {
    let blob = |hex: &String| format!("blobs/sha256/{hex}");
    let one = |(id, record, content): &(String, Record, Content)| {
        let layers: Vec<String> = content.layers.iter().map(blob).collect();
        json!({ "Config": blob(id), "RepoTags": record.tags, "Layers": layers })
    };
    Value::Array(images.iter().map(one).collect()).to_string()
}
