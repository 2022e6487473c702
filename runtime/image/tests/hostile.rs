//! Archives made to harm: each is refused or stays inside its layer, and a canary tree beside the store stays as it was.
//!
//! A naive unpacker (this file's own) runs the cases that claim to escape, to show that they would. Needs root: layers have
//! owners and devices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use support::{Tape, World, pax_record};

/// What must happen.
enum Expect {
    /// The import fails, and its message contains this.
    Refused(&'static str),
    /// The import succeeds without harm, and this path exists in the layer.
    Inside(&'static str),
}

use Expect::{Inside, Refused};

struct Case {
    name: &'static str,
    layer: Vec<u8>,
    expect: Expect,
    /// A naive unpacker changes the canary with it.
    escapes: bool,
}

fn case(name: &'static str, expect: Expect, tape: Tape) -> Case {
    Case { name, layer: tape.end(), expect, escapes: false }
}

fn escape(name: &'static str, expect: Expect, tape: Tape) -> Case {
    Case { escapes: true, ..case(name, expect, tape) }
}

/// Paths that lead out: `canary` is absolute.
fn path_cases(canary: &str) -> Vec<Case> {
    let up = format!("{}{canary}", "../".repeat(20));
    let t = Tape::new;
    vec![
        escape("dot dot", Refused("`..`"), t().long_name(&format!("{up}/new")).file("x", b"evil")),
        escape(
            "dot dot in the middle",
            Refused("`..`"),
            t().dir("a").long_name(&format!("a/{up}/new")).file("x", b"evil"),
        ),
        escape("absolute", Inside(""), t().long_name(&format!("{canary}/new")).file("x", b"evil")),
        escape("pax path", Refused("`..`"), t().pax(&[("path", &format!("{up}/new"))]).file("x", b"evil")),
        escape("folder out", Refused("`..`"), t().long_name(&format!("{up}/new")).dir("x")),
        escape(
            "absolute link, file through it",
            Refused("open the folder"),
            t().symlink("l", canary).file("l/new", b"evil"),
        ),
        escape(
            "relative link, file through it",
            Refused("open the folder"),
            t().symlink("l", &up).file("l/new", b"evil"),
        ),
        escape(
            "link to link",
            Refused("open the folder"),
            t().symlink("a", canary).symlink("b", "a").file("b/new", b"evil"),
        ),
        escape("file over link", Inside("l"), t().symlink("l", &format!("{canary}/keep")).file("l", b"evil")),
        escape("folder mode through link", Inside("l"), t().symlink("l", canary).mode(b'5', "l", 0o777, b"")),
        escape(
            "hard link out, absolute",
            Refused("hard link"),
            t().hardlink("h", &format!("{canary}/keep")).file("h", b"x"),
        ),
        escape("hard link out, relative", Refused("`..`"), t().hardlink("h", &format!("{up}/keep")).file("h", b"x")),
        case("hard link through a link", Refused("hard link"), t().symlink("l", canary).hardlink("h", "l/keep")),
        case(
            "hard link to a link, then written",
            Inside("h"),
            t().symlink("l", canary).hardlink("h", "l").file("h", b"x"),
        ),
        case("hard link to nothing", Refused("same layer"), t().hardlink("h", "nothing")),
        case("hard link to a folder", Refused("link"), t().dir("d").hardlink("h", "d")),
        case("hard link to the root", Refused("hard link to the root"), t().hardlink("h", "/")),
        case("root is a file", Refused("root is not a folder"), t().file(".", b"")),
        case("link in a circle", Refused("open the folder"), t().symlink("a", "b").symlink("b", "a").file("a/x", b"")),
        case("file used as folder", Refused("open the folder"), t().file("a", b"").file("a/x", b"")),
        case(
            "file through /proc",
            Refused("open the folder"),
            t().symlink("p", "/proc/self/root").file("p/new", b"evil"),
        ),
        case("component of 256 bytes", Refused("255 bytes"), t().long_name(&"n".repeat(256)).file("x", b"")),
        case("name of 5000 bytes", Refused("4096 bytes"), t().long_name(&"a/".repeat(2500)).file("x", b"")),
        case("deep folders", Inside(""), t().long_name(&"a/".repeat(2000)).dir("x")),
    ]
}

fn whiteout_cases(canary: &str) -> Vec<Case> {
    let t = Tape::new;
    vec![
        case("whiteout of ..", Refused("whiteout of nothing"), t().dir("a").file("a/.wh...", b"")),
        case("whiteout of .", Refused("whiteout of nothing"), t().file("a/.wh..", b"")),
        case("whiteout of nothing", Refused("whiteout of nothing"), t().file(".wh.", b"")),
        case("whiteout of a whiteout", Refused("whiteout of a whiteout"), t().file(".wh..wh.x", b"")),
        case("pseudo links that are a link", Inside("x"), t().symlink(".wh..wh.plnk", canary).file("x", b"")),
        case(
            "pseudo link through a link",
            Refused("open the folder"),
            t().symlink("l", canary).file("l/.wh..wh.plnk", b"").file("l/x", b""),
        ),
        case("pseudo link to nothing", Refused("hard link"), t().hardlink("x", ".wh..wh.plnk/1.2")),
        case("pseudo links deep inside", Refused("whiteout"), t().file("d/.wh..wh.plnk/1.2", b"")),
        case("whiteout is a folder", Refused("must be a file"), t().dir(".wh.x")),
        case("whiteout is a link", Refused("must be a file"), t().symlink(".wh.x", canary)),
        case("file inside a whiteout", Refused("named like a whiteout"), t().file(".wh.x/y", b"")),
        case("opaque through a link", Refused("open the folder"), t().symlink("l", canary).file("l/.wh..wh..opq", b"")),
        case("whiteout through a link", Refused("open the folder"), t().symlink("l", canary).file("l/.wh.keep", b"")),
        case("own file whited out stays", Inside("x"), t().file("x", b"").file(".wh.x", b"")),
        case(
            "opaque a thousand times",
            Inside("d"),
            (0..1000).fold(t().dir("d"), |tape, _| tape.file("d/.wh..wh..opq", b"")),
        ),
        case("device that would be a whiteout", Refused("Invalid argument"), t().device(b'3', "x", 0, 0)),
        case("hard link to a whiteout", Refused("same layer"), t().file(".wh.x", b"").hardlink("y", "x")),
        case("whiteout, then a file in it", Inside("d/x"), t().file(".wh.d", b"").file("d/x", b"")),
    ]
}

fn header_cases() -> Vec<Case> {
    let t = Tape::new;
    let nul = pax_record("path", b"a\0b");
    let size = |size: u64| move |header: &mut tar::Header| header.set_size(size);
    vec![
        case("wrong checksum", Refused("checksum"), t().raw(b'0', b"x", b"", b"", |header| header.set_mode(0o777))),
        case(
            "size is garbage",
            Refused("no number"),
            t().tweaked(b'0', "x", "", b"", |h| h.as_old_mut().size = *b"garbage!!!!!"),
        ),
        case("PAX size against header", Refused("PAX size"), t().pax(&[("size", "0")]).file("x", &[b'y'; 512])),
        case(
            "PAX size hides an entry",
            Refused("PAX size"),
            t().pax(&[("size", "1024")]).file("x", &[b'y'; 512]).file("z", b""),
        ),
        case("two PAX headers", Refused("two PAX"), t().pax(&[("path", "a")]).pax(&[("path", "b")]).file("x", b"")),
        case("one key twice", Refused("twice"), t().pax(&[("path", "a"), ("path", "b")]).file("x", b"")),
        case("GNU and PAX name", Refused("both"), t().long_name("a").pax(&[("path", "b")]).file("x", b"")),
        case("two long names", Refused("two long names"), t().long_name("a").long_name("b").file("x", b"")),
        case("NUL in a PAX name", Refused("NUL"), t().tweaked(b'x', "pax", "", &nul, |_| {}).file("x", b"")),
        case(
            "PAX length past the end",
            Refused("PAX record"),
            t().tweaked(b'x', "p", "", b"99 path=a\n", |_| {}).file("x", b""),
        ),
        case("PAX header of 2 MiB", Refused("1048576 bytes"), t().tweaked(b'x', "p", "", &vec![b' '; 2 << 20], |_| {})),
        case(
            "global header with a path",
            Refused("global"),
            t().tweaked(b'g', "g", "", &pax_record("path", b"a"), |_| {}),
        ),
        case("extension without entry", Refused("without an entry"), t().long_name("a")),
        case("link with data", Refused("announces"), t().tweaked(b'2', "l", "x", &[b'y'; 512], |_| {})),
        case("folder with data", Refused("announces"), t().tweaked(b'5', "d", "", b"data", |_| {})),
        case("size beyond the end", Refused("end of file"), t().tweaked(b'0', "x", "", b"", size(1 << 20))),
        case("size beyond the limit", Refused("34359738368 bytes"), t().tweaked(b'0', "x", "", b"", size(1 << 40))),
        case("entry after a zero block", Refused("zeros"), Tape([vec![0; 512], t().file("x", b"").0].concat())),
        Case { layer: b"half".to_vec(), ..case("half a block", Refused("within a block"), t()) },
        case("unknown type", Refused("no place"), t().tweaked(b'M', "v", "", b"", |_| {})),
        case("file with a slash", Refused("slash"), t().file("x/", b"")),
        case("user 4294967295", Refused("no user"), t().pax(&[("uid", "4294967295")]).file("x", b"")),
        case("user 4294967296", Refused("out of range"), t().pax(&[("uid", "4294967296")]).file("x", b"")),
        case("user -1", Refused("malformed"), t().pax(&[("uid", "-1")]).file("x", b"")),
    ]
}

fn sparse_cases() -> Vec<Case> {
    let t = Tape::new;
    vec![
        case("sparse without a GNU header", Refused("sparse"), t().tweaked(b'S', "s", "", b"", |_| {})),
        case("sparse without a size", Refused("how large"), t().pax(&[("GNU.sparse.major", "1")]).file("x", b"")),
        case("sparse of another form", Refused("not known"), sparse(&[("major", "2"), ("size", "9")]).file("x", b"")),
        case(
            "sparse, data beyond its end",
            Refused("leads out"),
            sparse(&[("size", "2"), ("map", "1,4")]).file("x", b"data"),
        ),
        case(
            "sparse, stretches over each other",
            Refused("leads out"),
            sparse(&[("size", "9"), ("map", "0,4,2,2")]).file("x", b"sixsix"),
        ),
        case(
            "sparse, data without a stretch",
            Refused("as much data"),
            sparse(&[("size", "9"), ("map", "0,2")]).file("x", b"data"),
        ),
        case(
            "sparse, a stretch without data",
            Refused("as much data"),
            sparse(&[("size", "99"), ("map", "0,20")]).file("x", b"data"),
        ),
        case(
            "sparse, half a pair",
            Refused("odd number"),
            sparse(&[("size", "9"), ("map", "0,4,5")]).file("x", b"data"),
        ),
        case(
            "sparse, a map that does not end",
            Refused("does not end"),
            sparse(&[("major", "1"), ("minor", "0"), ("realsize", "9")]).file("x", b"1\n0\n"),
        ),
        case(
            "sparse, a map of a billion",
            Refused("stretches"),
            sparse(&[("major", "1"), ("minor", "0"), ("realsize", "9")])
                .file("x", format!("{:<512}", "1000000000\n").as_bytes()),
        ),
        case("sparse folder", Refused("announces"), sparse(&[("size", "0"), ("map", "0,0")]).dir("d")),
    ]
}

fn sparse(records: &[(&str, &str)]) -> Tape {
    let records: Vec<(String, &str)> =
        records.iter().map(|(key, value)| (format!("GNU.sparse.{key}"), *value)).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    Tape::new().pax(&records)
}

fn attribute_cases() -> Vec<Case> {
    let attribute = |name: &str| Tape::new().pax(&[(&format!("SCHILY.xattr.{name}"), "y")]);
    vec![
        case("overlay redirect", Inside("d"), attribute("trusted.overlay.redirect").dir("d")),
        case("overlay opaque", Inside("d"), attribute("trusted.overlay.opaque").dir("d")),
        case("overlay metacopy", Inside("x"), attribute("trusted.overlay.metacopy").file("x", b"")),
        case("user overlay", Inside("d"), attribute("user.overlay.redirect").dir("d")),
        case("integrity signature", Inside("x"), attribute("security.ima").file("x", b"")),
        case("attribute on a link", Inside("l"), attribute("user.a").symlink("l", "x")),
        case("bad capability", Refused("Invalid argument"), attribute("security.capability").file("x", b"")),
        case("attribute without a name", Refused(""), attribute("").file("x", b"")),
    ]
}

/// Paths, modes, sizes and contents of a tree.
fn picture(root: &Path) -> Vec<(PathBuf, u32, u64, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let data = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if about.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen.push((path, about.mode(), about.nlink(), data));
    }
    seen.sort();
    seen
}

fn make_canary(at: &Path) {
    fs::create_dir_all(at.join("sub")).unwrap();
    fs::set_permissions(at, fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(at.join("keep"), "precious").unwrap();
}

/// What an unpacker does that takes names at their word.
fn naive_unpack(layer: &[u8], root: &Path) {
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let Ok(mut entry) = entry else { return };
        let name = entry.path().unwrap().into_owned();
        let at = if name.is_absolute() { name } else { root.join(name) };
        let link = entry.link_name().unwrap().map(|link| link.into_owned());
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        let _whatever = match entry.header().entry_type().as_byte() {
            b'5' => fs::create_dir_all(&at)
                .and_then(|()| fs::set_permissions(&at, fs::Permissions::from_mode(entry.header().mode().unwrap()))),
            b'2' => std::os::unix::fs::symlink(link.unwrap(), &at),
            b'1' => fs::hard_link(root.join(link.unwrap()), &at),
            _ => fs::write(&at, data),
        };
    }
}

#[test]
fn hostile_layers_stay_inside_or_out() {
    let world = World::new();
    let canary = world.dir.path().join("canary");
    make_canary(&canary);
    let before = picture(&canary);
    let path = canary.to_str().unwrap();
    let cases = [path_cases(path), whiteout_cases(path), header_cases(), sparse_cases(), attribute_cases()];
    let cases: Vec<Case> = cases.into_iter().flatten().collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    for case in &cases {
        let result = world.import("hostile", std::slice::from_ref(&case.layer));
        assert_eq!(picture(&canary), before, "{}: the canary changed", case.name);
        match (&case.expect, result) {
            (Refused(reason), Err(error)) => {
                let text = chain(&error);
                assert!(text.contains(reason), "{}: {text}", case.name);
                assert!(!world.layer(&case.layer).exists(), "{}: a refused layer counts", case.name);
            }
            (Inside(path), Ok(_)) => {
                let at = world.layer(&case.layer).join(path);
                assert!(fs::symlink_metadata(&at).is_ok(), "{}: {path} is missing", case.name);
                if attribute_cases().iter().any(|with| with.name == case.name) {
                    assert_eq!(xattr::list(&at).unwrap().count(), 0, "{}: an attribute was kept", case.name);
                }
                world.store.remove("hostile").unwrap();
            }
            (Refused(_), Ok(_)) => panic!("{}: taken in", case.name),
            (Inside(_), Err(error)) => panic!("{}: {}", case.name, chain(&error)),
        }
        assert_eq!(world.names("tmp"), Vec::<String>::new(), "{}: leftovers", case.name);
    }
    assert_eq!(world.store.list().unwrap(), vec![]);
}

#[test]
fn the_escapes_would_escape() {
    let world = World::new();
    let canary = world.dir.path().join("canary");
    for case in path_cases(canary.to_str().unwrap()).iter().filter(|case| case.escapes) {
        let _ = fs::remove_dir_all(&canary);
        make_canary(&canary);
        let before = picture(&canary);
        let root = tempfile::tempdir_in(world.dir.path()).unwrap();
        naive_unpack(&case.layer, root.path());
        assert_ne!(picture(&canary), before, "{}: has no teeth", case.name);
    }
}

#[test]
fn hostile_documents_are_refused() {
    let world = World::new();
    let layer = Tape::new().file("x", b"").end();
    let good = support::config(std::slice::from_ref(&layer));
    let manifest =
        |config: &str, layers: &str| format!(r#"[{{"Config":"{config}","RepoTags":["a"],"Layers":[{layers}]}}]"#);
    let archive = |manifest: &str, config: &str| {
        Tape::new().file("c.json", config.as_bytes()).file("l.tar", &layer).file("manifest.json", manifest.as_bytes())
    };
    let other = good.replace("amd64", "s390x").replace("arm64", "s390x");
    let traversal = good.replace(&support::sha256(&layer), "../../../../etc/passwd");
    let link = |target: &str| archive(&manifest("l.json", r#""l.tar""#), &good).symlink("l.json", target);
    for (name, archive, reason) in [
        ("nothing in it", Tape::new().file("x", b""), "neither"),
        ("manifest is no JSON", archive("[", &good), "manifest.json"),
        ("config outside", archive(&manifest("../../c.json", r#""l.tar""#), &good), "`..`"),
        ("layer outside", archive(&manifest("c.json", r#""../../l.tar""#), &good), "`..`"),
        ("layer missing", archive(&manifest("c.json", r#""m.tar""#), &good), "missing"),
        ("too few layers", archive(&manifest("c.json", ""), &good), "lists 1 layers"),
        ("diff id is a path", archive(&manifest("c.json", r#""l.tar""#), &traversal), "digest"),
        ("other platform", archive(&manifest("c.json", r#""l.tar""#), &other), "s390x"),
        ("other layer", archive(&manifest("c.json", r#""c.json""#), &good), ""),
        ("file twice", archive(&manifest("c.json", r#""l.tar""#), &good).file("l.tar", b""), "two files"),
        ("link out", link("../c.json"), "leads out"),
        ("absolute link", link("/etc/passwd"), "leads out"),
        ("link to itself", link("l.json"), "too many links"),
        ("huge document", archive(&manifest("c.json", r#""l.tar""#), &" ".repeat(5 << 20)), "4194304 bytes"),
        ("bad name", archive(&manifest("c.json", r#""l.tar""#).replace(r#""a""#, r#""A B""#), &good), "reference"),
    ] {
        let path = world.file("archive.tar", &archive.end());
        let text = chain(&world.store.import(&path, None).expect_err(name));
        assert!(text.contains(reason), "{name}: {text}");
    }
    assert_eq!(world.names("layers"), Vec::<String>::new());
}

/// The whole chain of an error.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
