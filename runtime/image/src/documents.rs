//! Reads manifests, indexes and configurations, and says which images a source holds. No writing here.
//!
//! Sources: image-spec (image-layout.md, image-index.md, manifest.md, config.md) and `docker save`'s `manifest.json`.

use crate::source::Source;
use crate::{Digest, ImageError, Reference};
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of one JSON document; registries allow manifests of 4 MiB.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Documents that one import reads: an index of indexes may name each other over and over.
const DOCUMENTS_MAX: usize = 1000;
/// An index of indexes of manifests; nobody nests deeper.
const INDEX_DEPTH_MAX: u32 = 3;
/// Overlayfs takes at most 500 lower layers (kernel, fs/overlayfs/params.h).
pub(crate) const LAYERS_MAX: usize = 500;
/// containerd and `docker save` write the full name here; tools write a name or only a tag into the other one.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image of a source, its documents read and checked.
pub(crate) struct Found {
    /// The configuration as it is, byte for byte: its digest is the image's id.
    pub(crate) config_bytes: Vec<u8>,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
    pub(crate) names: Vec<Reference>,
    pub(crate) manifest: Option<Digest>,
}

/// A layer of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The file in the source.
    pub(crate) file: PathBuf,
    /// Digest and bytes of that file, where a manifest gives them.
    pub(crate) blob: Option<(Digest, u64)>,
    /// Digest of the uncompressed archive.
    pub(crate) diff: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: HashMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An index or a manifest: what is present tells which.
#[derive(Deserialize)]
struct Node {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The images of the source that run on this machine; it is an error if there are none.
pub(crate) fn images(source: &Source) -> Result<Vec<Found>, ImageError> {
    let mut reader = Reader { source, documents: 0, others: Vec::new() };
    let saved = reader.saved()?;
    let Some(index) = reader.layout()? else {
        let saved =
            saved.ok_or_else(|| ImageError::malformed("archive", "neither index.json nor manifest.json is in it"))?;
        return saved.into_iter().map(|image| reader.saved_image(&image)).collect();
    };
    let mut found = Vec::new();
    reader.walk(index, &[], INDEX_DEPTH_MAX, &mut found)?;
    if found.is_empty() {
        let reason = format!("no image for {} in it, only for: {}", host_platform(), reader.others.join(", "));
        return Err(ImageError::malformed("archive", reason));
    }
    // docker save writes both forms; its manifest.json has all the names.
    for image in saved.unwrap_or_default() {
        let config = reader.file(Path::new(&image.config))?;
        let same = found.iter_mut().filter(|found| found.config_bytes == config);
        let names = names(&image)?;
        same.for_each(|found| {
            found.names.extend(names.iter().filter(|name| !found.names.contains(name)).cloned().collect::<Vec<_>>())
        });
    }
    Ok(found)
}

struct Reader<'a> {
    source: &'a Source,
    documents: usize,
    /// Platforms passed over.
    others: Vec<String>,
}

impl Reader<'_> {
    /// `index.json`, if `oci-layout` says that this is a layout.
    fn layout(&mut self) -> Result<Option<Node>, ImageError> {
        if self.source.find(Path::new("oci-layout"))?.is_none() {
            return Ok(None);
        }
        let text = self.file(Path::new("index.json"))?;
        parse("index.json", &text).map(Some)
    }

    fn saved(&mut self) -> Result<Option<Vec<Saved>>, ImageError> {
        let name = Path::new("manifest.json");
        if self.source.find(name)?.is_none() {
            return Ok(None);
        }
        let text = self.file(name)?;
        parse("manifest.json", &text).map(Some)
    }

    fn walk(&mut self, node: Node, names: &[Reference], depth: u32, found: &mut Vec<Found>) -> Result<(), ImageError> {
        let depth =
            depth.checked_sub(1).ok_or_else(|| ImageError::malformed("index", "indexes are nested too deep"))?;
        for descriptor in node.manifests.unwrap_or_default() {
            if !self.is_ours(descriptor.platform.as_ref()) {
                continue;
            }
            let mut names = names.to_vec();
            names.extend(annotated_name(&descriptor)?);
            let (digest, bytes) = self.blob(&descriptor)?;
            let child: Node = parse(&digest.to_string(), &bytes)?;
            match (child.manifests.is_some(), child.config.is_some()) {
                (true, false) => self.walk(child, &names, depth, found)?,
                (false, true) => found.extend(self.image(child, digest, names)?),
                _ => return Err(ImageError::malformed(digest.to_string(), "neither an index nor a manifest")),
            }
        }
        Ok(())
    }

    fn image(&mut self, node: Node, manifest: Digest, names: Vec<Reference>) -> Result<Option<Found>, ImageError> {
        let what = || manifest.to_string();
        let config = node.config.ok_or_else(|| ImageError::malformed(what(), "it has no configuration"))?;
        let (_, config_bytes) = self.blob(&config)?;
        let config: ImageConfiguration = parse("image configuration", &config_bytes)?;
        let platform = Platform { architecture: config.architecture().to_string(), os: config.os().to_string() };
        if !self.is_ours(Some(&platform)) {
            return Ok(None);
        }
        let blobs = node.layers.unwrap_or_default();
        let diffs = diffs(&config, blobs.len())?;
        let layers = blobs.iter().zip(diffs).map(|(blob, diff)| layer(blob, diff)).collect::<Result<_, _>>()?;
        Ok(Some(Found { config_bytes, layers, names, manifest: Some(manifest) }))
    }

    fn saved_image(&mut self, image: &Saved) -> Result<Found, ImageError> {
        let config_bytes = self.file(&crate::inside::plain(image.config.as_bytes())?)?;
        let config: ImageConfiguration = parse("image configuration", &config_bytes)?;
        let platform = Platform { architecture: config.architecture().to_string(), os: config.os().to_string() };
        if !self.is_ours(Some(&platform)) {
            let reason = format!("the image is for {}, this machine is {}", self.others.join(", "), host_platform());
            return Err(ImageError::malformed("archive", reason));
        }
        let diffs = diffs(&config, image.layers.len())?;
        let layer = |(file, diff): (&String, Digest)| {
            Ok(Layer { file: crate::inside::plain(file.as_bytes())?, blob: None, diff })
        };
        let layers = image.layers.iter().zip(diffs).map(layer).collect::<Result<_, ImageError>>()?;
        Ok(Found { config_bytes, layers, names: names(image)?, manifest: None })
    }

    fn is_ours(&mut self, platform: Option<&Platform>) -> bool {
        let Some(platform) = platform else { return true };
        let text = format!("{}/{}", platform.os, platform.architecture);
        let ours = text == host_platform();
        if !ours {
            self.others.push(text);
        }
        ours
    }

    /// A blob's bytes, of the size and digest that its descriptor announces.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<(Digest, Vec<u8>), ImageError> {
        let digest: Digest = descriptor.digest.parse()?;
        let bytes = self.file(&blob_file(&digest))?;
        let actual = Digest::of(&bytes);
        if actual != digest || bytes.len() as u64 != descriptor.size {
            let expected = format!("{digest} of {} bytes", descriptor.size);
            let actual = format!("{actual} of {} bytes", bytes.len());
            return Err(ImageError::Mismatch { what: "blob".into(), expected, actual });
        }
        Ok((digest, bytes))
    }

    fn file(&mut self, name: &Path) -> Result<Vec<u8>, ImageError> {
        self.documents += 1;
        if self.documents > DOCUMENTS_MAX {
            return Err(ImageError::TooLarge { what: "archive".into(), limit: format!("{DOCUMENTS_MAX} documents") });
        }
        let mut bytes = Vec::new();
        let read = self.source.read(name)?.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes);
        crate::error::On::on(read, "read", name)?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            let what = name.to_string_lossy().into_owned();
            return Err(ImageError::TooLarge { what, limit: format!("{DOCUMENT_BYTES_MAX} bytes") });
        }
        Ok(bytes)
    }
}

fn blob_file(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

fn layer(blob: &Descriptor, diff: Digest) -> Result<Layer, ImageError> {
    // Encrypted and other unknown layers would fail as garbage; better to say what they are.
    let known = blob.media_type.contains(".tar") || blob.media_type.is_empty();
    if !known || blob.media_type.ends_with("+encrypted") {
        return Err(ImageError::Unimplemented(format!("layers of type {} are not implemented", blob.media_type)));
    }
    let digest: Digest = blob.digest.parse()?;
    Ok(Layer { file: blob_file(&digest), blob: Some((digest, blob.size)), diff })
}

fn diffs(config: &ImageConfiguration, layers: usize) -> Result<Vec<Digest>, ImageError> {
    let diffs = config.rootfs().diff_ids();
    if diffs.len() != layers {
        let reason = format!("it lists {} layers, the manifest {layers}", diffs.len());
        return Err(ImageError::malformed("image configuration", reason));
    }
    if layers > LAYERS_MAX {
        return Err(ImageError::TooLarge { what: "image".into(), limit: format!("{LAYERS_MAX} layers") });
    }
    diffs.iter().map(|diff| diff.parse()).collect()
}

fn names(image: &Saved) -> Result<Vec<Reference>, ImageError> {
    image.repo_tags.iter().flatten().map(|tag| tag.parse()).collect()
}

fn annotated_name(descriptor: &Descriptor) -> Result<Option<Reference>, ImageError> {
    let full = descriptor.annotations.get(CONTAINERD_NAME);
    // A bare word is a tag of a name that only the importer knows.
    let named = || descriptor.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':']));
    full.or_else(named).map(|name| name.parse()).transpose()
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::malformed(what, error.to_string()))
}

/// `linux/amd64` and the like, in Go's words.
pub(crate) fn host_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}
