//! Images that other tools make and other runtimes take: taken in too, or refused with what is the matter. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Tape, World, config, docker_archive, pax_record, sha256};

/// A file capability as Linux stores it (`struct vfs_cap_data`, version 2): CAP_NET_RAW, permitted and effective.
const NET_RAW: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn with_attribute(tape: Tape, name: &str, value: &[u8]) -> Tape {
    tape.tweaked(b'x', "pax", "", &pax_record(&format!("SCHILY.xattr.{name}"), value), |_| {})
}

/// Takes the layer in, and gives the folder that it became.
fn taken(world: &World, layer: &[u8]) -> PathBuf {
    world.import("odd", &[layer.to_vec()]).unwrap();
    world.layer(layer)
}

/// Fault C2: buildah repeats the attributes of a file at each of its names.
#[test]
fn a_hard_link_may_repeat_what_its_file_has() {
    let world = World::new();
    let tape = with_attribute(Tape::new(), "security.capability", NET_RAW).file("ping", b"program");
    let layer = with_attribute(tape, "security.capability", NET_RAW).hardlink("ping6", "ping").end();
    let at = taken(&world, &layer);
    assert_eq!(fs::metadata(at.join("ping")).unwrap().ino(), fs::metadata(at.join("ping6")).unwrap().ino());
    assert_eq!(xattr::get(at.join("ping6"), "security.capability").unwrap().as_deref(), Some(NET_RAW));
}

/// Fault C3: what only the host may say, or nobody here understands, is left out; what an image may have is kept.
#[test]
fn foreign_attributes_are_left_out() {
    let world = World::new();
    let mut tape = Tape::new();
    for name in
        ["user.overlay.opaque", "trusted.overlay.opaque", "trusted.x", "com.apple.quarantine", "security.selinux"]
    {
        tape = with_attribute(tape, name, b"y").file(name, b"");
    }
    let layer = with_attribute(with_attribute(tape, "user.mine", b"m").file("kept", b""), "security.selinux", b"y");
    let at = taken(&world, &layer.symlink("link", "kept").end());
    assert_eq!(xattr::get(at.join("kept"), "user.mine").unwrap().as_deref(), Some(&b"m"[..]));
    for file in fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("kept")) {
        assert_eq!(xattr::list(&file).unwrap().count(), 0, "{}", file.display());
    }
}

/// Fault C4: files with holes, as GNU tar writes them in each of its forms.
#[test]
fn files_with_holes_keep_them() {
    if Command::new("tar").arg("--version").output().is_err() {
        return skiff_harness::skip("there is no tar");
    }
    let source = tempfile::tempdir().unwrap();
    let file = fs::File::create(source.path().join("holes")).unwrap();
    // Many stretches, so that the old form needs further blocks for its map; a terabyte, as in /var/log/lastlog.
    for n in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[b'x'; 4096], n << 20).unwrap();
    }
    file.set_len(1 << 40).unwrap();
    for form in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let world = World::new();
        let made =
            Command::new("tar").args(form).args(["--sparse", "-cf", "-", "holes"]).current_dir(source.path()).output();
        let layer = made.unwrap().stdout;
        assert!(layer.len() < 1 << 20, "{form:?}: the archive has the holes in it");
        let at = taken(&world, &layer).join("holes");
        let about = fs::metadata(&at).unwrap();
        assert_eq!(about.len(), 1 << 40, "{form:?}");
        assert!(about.blocks() * 512 < 1 << 20, "{form:?}: the holes are filled");
        let mut page = [0; 4097];
        for n in 0..40_u64 {
            std::os::unix::fs::FileExt::read_exact_at(&fs::File::open(&at).unwrap(), &mut page, n << 20).unwrap();
            assert!(page[..4096].iter().all(|&byte| byte == b'x') && page[4096] == 0, "{form:?}: stretch {n}");
        }
    }
}

/// Fault C4: old docker's bookkeeping of hard links.
#[test]
fn pseudo_links_become_hard_links_and_go() {
    let world = World::new();
    let layer = Tape::new()
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/7.1", b"shared")
        .dir(".wh..wh.orph")
        .file(".wh..wh.aufs", b"");
    let layer = layer.hardlink("a", ".wh..wh.plnk/7.1").hardlink("b", "./.wh..wh.plnk/7.1").end();
    let at = taken(&world, &layer);
    let mut names: Vec<_> = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((fs::read(at.join("a")).unwrap(), fs::metadata(at.join("b")).unwrap().nlink()), (b"shared".to_vec(), 2));
}

/// Fault C4: a path that goes back and stays inside.
#[test]
fn dot_dot_takes_back_a_component() {
    let world = World::new();
    let at =
        taken(&world, &Tape::new().dir("d").file("d/../inside", b"x").hardlink("d/e/../../h", "d/../inside").end());
    assert_eq!(fs::metadata(at.join("inside")).unwrap().ino(), fs::metadata(at.join("h")).unwrap().ino());
    assert!(!at.join("d/e").exists());
}

/// Fault C5: `tar --label`.
#[test]
fn a_label_of_the_tape_is_no_file() {
    let world = World::new();
    let at = taken(&world, &Tape::new().tweaked(b'V', "backup of monday", "", b"", |_| {}).file("x", b"").end());
    assert_eq!(fs::read_dir(at).unwrap().count(), 1);
}

/// Fault C5: what we do not read is called by its name.
#[test]
fn foreign_packings_are_named() {
    let world = World::new();
    for (start, name, undo) in [
        (&b"\xfd7zXZ\0more"[..], "xz", "`xz -d`"),
        (b"BZh91AY&SY", "bzip2", "`bzip2 -d`"),
        (b"PK\x03\x04more", "zip", "`unzip`"),
    ] {
        let of_archive = world.store.import(&world.file("archive", start), None).unwrap_err().to_string();
        let of_layer = world.import("odd", &[start.to_vec()]).unwrap_err().to_string();
        for text in [of_archive, of_layer] {
            assert!(text.contains(&format!("packed with {name};")) && text.contains(undo), "{text}");
        }
    }
    let text = world.store.import(&world.file("archive", &[b'#'; 1024]), None).unwrap_err().to_string();
    assert!(text.contains("its beginning is not that of a tar archive"), "{text}");
}

/// A layout of documents and blobs.
struct Layout(PathBuf);

impl Layout {
    fn new(at: PathBuf) -> Self {
        fs::create_dir_all(at.join("blobs/sha256")).unwrap();
        fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(at)
    }

    fn blob(&self, bytes: &[u8], media: &str) -> Value {
        let digest = sha256(bytes);
        fs::write(self.0.join("blobs/sha256").join(&digest), bytes).unwrap();
        json!({ "mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
        self.blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json")
    }

    fn index(&self, manifests: &[Value]) -> &Path {
        fs::write(self.0.join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string())
            .unwrap();
        &self.0
    }
}

/// Fault C4: cosign's old and new signatures, BuildKit's provenance and an unknown thing lie beside the image.
#[test]
fn what_lies_beside_an_image_is_passed_over() {
    let world = World::new();
    let layout = Layout::new(world.dir.path().join("layout"));
    let (image_config, layer) = ("application/vnd.oci.image.config.v1+json", Tape::new().file("x", b"").end());
    let tar = layout.blob(&layer, "application/vnd.oci.image.layer.v1.tar");
    let image = layout.manifest(&layout.blob(config(std::slice::from_ref(&layer)).as_bytes(), image_config), &[tar]);
    let payload = layout.blob(b"{}", "application/vnd.dev.cosign.simplesigning.v1+json");
    let bare = json!({ "architecture": "", "os": "", "rootfs": { "type": "layers", "diff_ids": [payload["digest"]] } });
    let signature =
        layout.manifest(&layout.blob(bare.to_string().as_bytes(), image_config), std::slice::from_ref(&payload));
    let artifact = layout.manifest(&layout.blob(b"{}", "application/vnd.oci.empty.v1+json"), &[payload]);
    let mut provenance = layout.manifest(&layout.blob(b"{}", image_config), &[]);
    provenance["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    let thing = layout.blob(b"no JSON at all", "application/x-thing");
    let path = layout.index(&[signature.clone(), artifact, image, provenance, thing]);
    let images = world.store.import(path, Some("odd")).unwrap();
    assert_eq!(images.len(), 1);
    let alone = world.store.import(layout.index(&[signature]), None).unwrap_err().to_string();
    assert!(alone.contains("simplesigning") && alone.contains("no image"), "{alone}");
}

/// Faults C4 and C7: an image without architecture, and one without files, whose size is not nothing.
#[test]
fn a_bare_image_is_one() {
    let world = World::new();
    let bare = r#"{"config": {"Cmd": ["/x"]}, "rootfs": {"type": "layers"}}"#;
    let manifest = br#"[{"Config":"c","RepoTags":["bare"],"Layers":null}]"#;
    for manifest in [&manifest[..], br#"[{"Config":"c","RepoTags":["bare"]}]"#] {
        let archive = Tape::new().file("c", bare.as_bytes()).file("manifest.json", manifest).end();
        let image = world.store.import(&world.file("bare.tar", &archive), None).unwrap().remove(0);
        assert_eq!(image.size_bytes, bare.len() as u64);
        assert_eq!(world.store.resolve("bare").unwrap(), Some(image));
    }
}

/// Fault C5: skopeo's `dir:`, with one image and with an index.
#[test]
fn a_folder_of_skopeo_is_taken_in() {
    let world = World::new();
    let at = world.dir.path().join("dir");
    fs::create_dir(&at).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(at.join(name), bytes).unwrap();
    let layer = Tape::new().file("x", b"").end();
    let config = config(std::slice::from_ref(&layer));
    let of = |bytes: &[u8], media: &str| {
        put(&sha256(bytes), bytes);
        json!({ "mediaType": media, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() })
    };
    let config = of(config.as_bytes(), "application/vnd.docker.container.image.v1+json");
    let blob = of(&layer, "application/vnd.docker.image.rootfs.diff.tar.gzip");
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [blob] }).to_string();
    put("version", b"Directory Transport Version: 1.1\n");
    put("signature-1", b"signature");
    put("manifest.json", manifest.as_bytes());
    let single = world.store.import(&at, Some("odd")).unwrap().remove(0);
    assert!(single.repo_digests[0].ends_with(&sha256(manifest.as_bytes())), "{:?}", single.repo_digests);
    put(&format!("{}.manifest.json", sha256(manifest.as_bytes())), manifest.as_bytes());
    let media = "application/vnd.docker.distribution.manifest.v2+json";
    let descriptor = json!({ "mediaType": media, "digest": format!("sha256:{}", sha256(manifest.as_bytes())), "size": manifest.len() });
    put("manifest.json", json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string().as_bytes());
    assert_eq!(world.store.import(&at, Some("odd")).unwrap()[0].id, single.id);
}

/// Whatever bytes stand where an archive should: refused, never a panic, nothing left.
#[test]
fn cut_archives_are_refused() {
    let world = World::new();
    let whole = docker_archive("odd", &[Tape::new().file("x", b"data").end()]);
    for length in (0..whole.len() - 1024).step_by(509) {
        world.store.import(&world.file("cut", &whole[..length]), None).expect_err("cut short");
    }
    assert_eq!(world.names("tmp"), Vec::<String>::new());
}
