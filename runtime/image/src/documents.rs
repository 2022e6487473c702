//! Reads manifests, indexes and configurations, and says which images a source holds. No writing here.
//!
//! Sources: image-spec (image-layout.md, image-index.md, manifest.md, config.md), `docker save`'s `manifest.json`, and the folders
//! that skopeo calls `dir:` (containers-transports(5)).

use crate::blobs::DOCUMENT_BYTES_MAX;
use crate::configuration;
use crate::source::Source;
use crate::{Digest, ImageError, Reference};
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Documents that one import reads: an index of indexes may name each other over and over.
const DOCUMENTS_MAX: usize = 1000;
/// An index of indexes of manifests; nobody nests deeper.
const INDEX_DEPTH_MAX: u32 = 3;
/// Overlayfs takes at most 500 lower layers (kernel, fs/overlayfs/params.h).
pub(crate) const LAYERS_MAX: usize = 500;
/// containerd and `docker save` write the full name here; tools write a name or only a tag into the other one.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What manifests and indexes are called; a descriptor of another type leads to something else.
const NODE_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    MANIFEST_TYPE,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// What the configurations of images are called; signatures and other artifacts have others.
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// How the file `version` of a `dir:` begins.
const DIRECTORY_VERSION: &[u8] = b"Directory Transport Version:";

/// What a source holds.
pub(crate) struct Contents {
    /// The images that run on this machine; at least one.
    pub(crate) images: Vec<Found>,
    /// Sentences about what was passed over although it might be missed.
    pub(crate) notes: Vec<String>,
}

/// An image of a source, its documents read and checked.
pub(crate) struct Found {
    /// The configuration as it is, byte for byte: its digest is the image's id.
    pub(crate) config_bytes: Vec<u8>,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
    pub(crate) names: Vec<Reference>,
    /// Whoever saves as Docker does writes none.
    pub(crate) manifest: Option<Manifest>,
    /// See [`crate::Image::size_bytes`].
    pub(crate) size_bytes: u64,
}

/// A manifest as it is, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
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

/// What leads to a blob (image-spec, descriptor.md).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    annotations: HashMap<String, String>,
    pub(crate) platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

/// An index or a manifest: what is present tells which.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexOrManifest {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Option<Vec<Descriptor>>,
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    /// Null for an image without files: Go writes it so.
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of the source that run on this machine; it is an error if there are none.
pub(crate) fn contents(source: &Source) -> Result<Contents, ImageError> {
    let mut reader = Reader { source, documents: 0, others: Vec::new(), notes: Vec::new(), blobs: Blobs::Layout };
    let images = reader.images()?;
    Ok(Contents { images, notes: reader.notes })
}

struct Reader<'a> {
    source: &'a Source,
    documents: usize,
    /// Platforms passed over.
    others: Vec<String>,
    notes: Vec<String>,
    blobs: Blobs,
}

/// Where blobs lie.
#[derive(Clone, Copy)]
enum Blobs {
    /// `blobs/sha256/<hex>`, as image-layout.md has it.
    Layout,
    /// `<hex>`, and manifests of an index `<hex>.manifest.json`: a `dir:`.
    Beside,
}

impl Reader<'_> {
    fn images(&mut self) -> Result<Vec<Found>, ImageError> {
        let mut found = Vec::new();
        if self.is_directory()? {
            self.blobs = Blobs::Beside;
            let bytes = self.file(Path::new("manifest.json"))?;
            self.descend(Digest::of(&bytes), &bytes, Vec::new(), INDEX_DEPTH_MAX, &mut found)?;
            return self.not_none(found);
        }
        let saved = self.saved()?;
        let Some(index) = self.layout()? else {
            let saved = saved.ok_or_else(|| self.nothing())?;
            return saved.into_iter().map(|image| self.saved_image(&image)).collect();
        };
        self.walk(index, &[], INDEX_DEPTH_MAX, &mut found)?;
        let mut found = self.not_none(found)?;
        // docker save writes both forms; its manifest.json has all the names.
        for image in saved.unwrap_or_default() {
            let config = self.file(Path::new(&image.config))?;
            let same = found.iter_mut().filter(|found| found.config_bytes == config);
            let names = names(&image)?;
            same.for_each(|found| {
                found.names.extend(names.iter().filter(|name| !found.names.contains(name)).cloned().collect::<Vec<_>>())
            });
        }
        Ok(found)
    }

    fn not_none(&self, found: Vec<Found>) -> Result<Vec<Found>, ImageError> {
        if !found.is_empty() {
            return Ok(found);
        }
        let others = if self.others.is_empty() { self.notes.join("; ") } else { self.others.join(", ") };
        let reason = format!("no image for {} in it, only for: {others}", host_platform());
        Err(ImageError::malformed("archive", reason))
    }

    fn nothing(&self) -> ImageError {
        let old = matches!(self.source.size(Path::new("repositories")), Ok(Some(_)));
        let reason = "neither index.json nor manifest.json is in it";
        let hint = if old { " (docker before 1.10 saved it: load it into a newer one and save it again)" } else { "" };
        ImageError::malformed("archive", format!("{reason}{hint}"))
    }

    /// Whether skopeo's `dir:` wrote it.
    fn is_directory(&mut self) -> Result<bool, ImageError> {
        let Some(mut file) = self.source.find(Path::new("version"))? else { return Ok(false) };
        let mut start = vec![0; DIRECTORY_VERSION.len()];
        Ok(file.read_exact(&mut start).is_ok() && start == DIRECTORY_VERSION)
    }

    /// `index.json`, if `oci-layout` says that this is a layout.
    fn layout(&mut self) -> Result<Option<IndexOrManifest>, ImageError> {
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

    fn walk(
        &mut self,
        node: IndexOrManifest,
        names: &[Reference],
        depth: u32,
        found: &mut Vec<Found>,
    ) -> Result<(), ImageError> {
        let depth =
            depth.checked_sub(1).ok_or_else(|| ImageError::malformed("index", "indexes are nested too deep"))?;
        for descriptor in node.manifests.unwrap_or_default() {
            if !self.is_ours(descriptor.platform.as_ref()) {
                continue;
            }
            let mut names = names.to_vec();
            names.extend(annotated_name(&descriptor)?);
            if !is_node(&descriptor) {
                self.pass_over(&descriptor.digest, &descriptor.media_type);
                continue;
            }
            let (digest, bytes) = self.blob(&descriptor)?;
            self.descend(digest, &bytes, names, depth, found)?;
        }
        Ok(())
    }

    /// An index or a manifest, by its bytes.
    fn descend(
        &mut self,
        digest: Digest,
        bytes: &[u8],
        names: Vec<Reference>,
        depth: u32,
        found: &mut Vec<Found>,
    ) -> Result<(), ImageError> {
        let node: IndexOrManifest = parse(&digest.to_string(), bytes)?;
        match (node.manifests.is_some(), &node.config) {
            (true, None) => self.walk(node, &names, depth, found),
            (false, Some(config)) => {
                match not_an_image(config, node.layers.as_deref().unwrap_or_default()) {
                    Some(kind) => self.pass_over(&digest.to_string(), &kind),
                    None => found.extend(self.image(node, digest, bytes, names)?),
                }
                Ok(())
            }
            _ => Err(ImageError::malformed(digest.to_string(), "neither an index nor a manifest")),
        }
    }

    /// Signatures, provenance and the like lie beside images.
    fn pass_over(&mut self, digest: &str, kind: &str) {
        self.notes.push(format!("{} ({}) is no image and was passed over", digest.escape_debug(), kind.escape_debug()));
    }

    fn image(
        &mut self,
        node: IndexOrManifest,
        digest: Digest,
        bytes: &[u8],
        names: Vec<Reference>,
    ) -> Result<Option<Found>, ImageError> {
        let config = node.config.as_ref();
        let config = config.ok_or_else(|| ImageError::malformed(digest.to_string(), "it has no configuration"))?;
        let (_, config_bytes) = self.blob(config)?;
        let config = configuration::read(&config_bytes)?;
        let platform = Platform { architecture: config.architecture().to_string(), os: config.os().to_string() };
        if !self.is_ours(Some(&platform)) {
            return Ok(None);
        }
        let mut found = image_of(node, digest, bytes, config_bytes)?;
        found.names = names;
        for layer in &mut found.layers {
            if let Some((digest, _)) = &layer.blob {
                layer.file = self.blobs.file(digest);
            }
        }
        Ok(Some(found))
    }

    fn saved_image(&mut self, image: &Saved) -> Result<Found, ImageError> {
        let config_bytes = self.file(&crate::inside::plain(image.config.as_bytes())?)?;
        let config = configuration::read(&config_bytes)?;
        let platform = Platform { architecture: config.architecture().to_string(), os: config.os().to_string() };
        if !self.is_ours(Some(&platform)) {
            let reason = format!("the image is for {}, this machine is {}", self.others.join(", "), host_platform());
            return Err(ImageError::malformed("archive", reason));
        }
        let files = image.layers.as_deref().unwrap_or_default();
        let diffs = diffs(&config, files.len())?;
        let layer = |(file, diff): (&String, Digest)| {
            Ok(Layer { file: crate::inside::plain(file.as_bytes())?, blob: None, diff })
        };
        let layers = files.iter().zip(diffs).map(layer).collect::<Result<Vec<_>, ImageError>>()?;
        let mut size_bytes = config_bytes.len() as u64;
        for layer in &layers {
            // One that is missing may be in the store already; if not, unpacking says so.
            size_bytes = size_bytes.saturating_add(self.source.size(&layer.file)?.unwrap_or(0));
        }
        Ok(Found { config_bytes, layers, names: names(image)?, manifest: None, size_bytes })
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
        let bytes = self.file(&self.document_file(&digest)?)?;
        let actual = Digest::of(&bytes);
        if actual != digest || bytes.len() as u64 != descriptor.size {
            let expected = format!("{digest} of {} bytes", descriptor.size);
            let actual = format!("{actual} of {} bytes", bytes.len());
            return Err(ImageError::Mismatch { what: "blob".into(), expected, actual });
        }
        Ok((digest, bytes))
    }

    fn document_file(&self, digest: &Digest) -> Result<PathBuf, ImageError> {
        let file = self.blobs.file(digest);
        if matches!(self.blobs, Blobs::Beside) && self.source.size(&file)?.is_none() {
            return Ok(PathBuf::from(format!("{}.manifest.json", digest.hex())));
        }
        Ok(file)
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

/// The image of a manifest and its configuration, both checked against their digests; without names.
pub(crate) fn image_of(
    node: IndexOrManifest,
    digest: Digest,
    bytes: &[u8],
    config_bytes: Vec<u8>,
) -> Result<Found, ImageError> {
    let config = configuration::read(&config_bytes)?;
    let blobs = node.layers.unwrap_or_default();
    let diffs = diffs(&config, blobs.len())?;
    let layers = blobs.iter().zip(diffs).map(|(blob, diff)| layer(blob, diff)).collect::<Result<_, _>>()?;
    let of_layers = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
    let size_bytes = of_layers.saturating_add(bytes.len() as u64).saturating_add(config_bytes.len() as u64);
    let media_type = match node.media_type.as_str() {
        "" if node.config.is_some_and(|config| config.media_type == CONFIG_TYPES[1]) => NODE_TYPES[3],
        "" => MANIFEST_TYPE,
        other => other,
    };
    let manifest = Manifest { digest, media_type: media_type.to_owned(), bytes: bytes.to_owned() };
    Ok(Found { config_bytes, layers, names: Vec::new(), manifest: Some(manifest), size_bytes })
}

fn layer(blob: &Descriptor, diff: Digest) -> Result<Layer, ImageError> {
    // Encrypted and other unknown layers would fail as garbage; better to say what they are.
    if !is_layer(blob) || blob.media_type.ends_with("+encrypted") {
        return Err(ImageError::Unimplemented(format!("layers of type {} are not implemented", blob.media_type)));
    }
    let digest: Digest = blob.digest.parse()?;
    Ok(Layer { file: PathBuf::new(), blob: Some((digest, blob.size)), diff })
}

/// The manifest of an image that came without one.
pub(crate) fn manifest_for(config_bytes: &[u8], layers: &[(Digest, u64, &'static str)]) -> Manifest {
    let descriptor = |media_type: &str, digest: &Digest, size: u64| json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size });
    let config = descriptor(CONFIG_TYPES[0], &Digest::of(config_bytes), config_bytes.len() as u64);
    let layers: Vec<_> = layers.iter().map(|(digest, size, packed)| descriptor(packed, digest, *size)).collect();
    let document = json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers });
    let bytes = document.to_string().into_bytes();
    Manifest { digest: Digest::of(&bytes), media_type: MANIFEST_TYPE.to_owned(), bytes }
}

impl Blobs {
    fn file(self, digest: &Digest) -> PathBuf {
        match self {
            Self::Layout => Path::new("blobs/sha256").join(digest.hex()),
            Self::Beside => PathBuf::from(digest.hex()),
        }
    }
}

/// The type that shows that a manifest is something else: its configuration's, or that of its layers if none is a layer.
pub(crate) fn not_an_image(config: &Descriptor, layers: &[Descriptor]) -> Option<String> {
    if !config.media_type.is_empty() && !CONFIG_TYPES.contains(&config.media_type.as_str()) {
        return Some(config.media_type.clone());
    }
    let first = layers.first()?;
    (!layers.iter().any(is_layer)).then(|| first.media_type.clone())
}

fn is_layer(blob: &Descriptor) -> bool {
    blob.media_type.contains(".tar") || blob.media_type.is_empty()
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

/// Whether it may lead to an image: one that says nothing of its type may.
pub(crate) fn is_node(descriptor: &Descriptor) -> bool {
    descriptor.media_type.is_empty() || NODE_TYPES.contains(&descriptor.media_type.as_str())
}

fn annotated_name(descriptor: &Descriptor) -> Result<Option<Reference>, ImageError> {
    let full = descriptor.annotations.get(CONTAINERD_NAME);
    // A bare word is a tag of a name that only the importer knows.
    let named = || descriptor.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':']));
    full.or_else(named).map(|name| name.parse()).transpose()
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::malformed(what, error.to_string()))
}

/// `linux/amd64` and the like, in Go's words.
pub(crate) fn host_platform() -> String {
    format!("linux/{}", host_architecture())
}

/// `amd64` and the like.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
