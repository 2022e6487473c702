//! What a subPath may lead to, and every way out that we know.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

/// A volume and a folder beside it that nothing may reach.
struct Place {
    _parent: tempfile::TempDir,
    volume: PathBuf,
    outside: PathBuf,
}

fn place() -> Place {
    let parent = tempfile::tempdir().unwrap();
    let (volume, outside) = (parent.path().join("volume"), parent.path().join("outside"));
    fs::create_dir(&volume).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    Place { _parent: parent, volume, outside }
}

fn inode(found: &OwnedFd) -> u64 {
    fstat(found).unwrap().st_ino
}

/// Fault N1: keys of a config map are links to `..data/key`, and `..data` is one to the set.
#[test]
fn links_that_stay_inside_are_followed() {
    let place = place();
    fs::create_dir_all(place.volume.join("..set/d")).unwrap();
    fs::write(place.volume.join("..set/a.txt"), "a").unwrap();
    fs::write(place.volume.join("..set/d/b"), "b").unwrap();
    symlink("..set", place.volume.join("..data")).unwrap();
    symlink("..data/a.txt", place.volume.join("a.txt")).unwrap();
    symlink("..data/d", place.volume.join("d")).unwrap();
    symlink("../a.txt", place.volume.join("..set/d/up")).unwrap();
    let file = fs::metadata(place.volume.join("..set/a.txt")).unwrap().ino();
    for path in ["a.txt", "./a.txt", "d/up"] {
        assert_eq!(inode(&open(&place.volume, Path::new(path)).unwrap()), file, "{path}");
    }
    let inner = fs::metadata(place.volume.join("..set/d/b")).unwrap().ino();
    assert_eq!(inode(&open(&place.volume, Path::new("d/b")).unwrap()), inner);
}

#[test]
fn what_leads_out_is_refused_in_words_and_makes_nothing_there() {
    let place = place();
    let out = place.outside.to_str().unwrap();
    fs::create_dir(place.volume.join("d")).unwrap();
    for (name, to) in [
        ("absolute", out),
        ("root", "/"),
        ("up", "../outside"),
        ("d/far", "../../outside"),
        ("through", "d/../../outside"),
        ("file", "../outside/secret"),
        ("chain", "up"),
        ("itself", place.volume.to_str().unwrap()),
        ("process", "/proc/self/root"),
    ] {
        symlink(to, place.volume.join(name)).unwrap();
    }
    for name in ["absolute", "root", "up", "d/far", "through", "file", "chain", "itself", "process"] {
        for path in [name.to_owned(), format!("{name}/secret"), format!("{name}/new/folder")] {
            let refused = open(&place.volume, Path::new(&path)).unwrap_err();
            assert_eq!(refused, format!("{path} leads out of the volume"));
        }
    }
    assert_eq!(fs::read_dir(&place.outside).unwrap().count(), 1);
}

#[test]
fn other_bad_paths_are_told_apart() {
    let place = place();
    symlink("b", place.volume.join("a")).unwrap();
    symlink("a", place.volume.join("b")).unwrap();
    symlink("nowhere", place.volume.join("dangling")).unwrap();
    fs::write(place.volume.join("file"), "").unwrap();
    for (path, expected) in [
        ("/etc", "/etc must not be an absolute path"),
        ("../etc", "../etc must not contain '..'"),
        ("x/../y", "x/../y must not contain '..'"),
        ("a", "a leads through links without end, or links of procfs"),
        ("dangling", "dangling leads to something that is not there"),
        ("dangling/x", "dangling/x leads to something that is not there"),
        ("file/x", "file/x: Not a directory"),
    ] {
        assert_eq!(open(&place.volume, Path::new(path)).unwrap_err(), expected);
    }
}

#[test]
fn missing_folders_are_made_and_the_last_is_as_open_as_the_volume() {
    let place = place();
    fs::set_permissions(&place.volume, fs::Permissions::from_mode(0o2777)).unwrap();
    symlink("real", place.volume.join("link")).unwrap();
    fs::create_dir(place.volume.join("real")).unwrap();
    open(&place.volume, Path::new("a/b")).unwrap();
    open(&place.volume, Path::new("link/c")).unwrap();
    for made in ["a/b", "real/c"] {
        let mode = fs::metadata(place.volume.join(made)).unwrap().mode() & 0o7777;
        // A folder without a group of its own in the volume's group (setgid) stays so.
        assert_eq!(mode, 0o2777 & mode | 0o777, "{made}: {mode:o}");
    }
    fs::set_permissions(place.volume.join("a/b"), fs::Permissions::from_mode(0o700)).unwrap();
    open(&place.volume, Path::new("a/b")).unwrap();
    assert_eq!(fs::metadata(place.volume.join("a/b")).unwrap().mode() & 0o777, 0o700, "what is there is left alone");
}

/// CVE-2021-25741: a name that is a folder when it is looked at and a link out when it is used.
#[test]
fn a_race_of_renames_never_wins() {
    let place = place();
    let (volume, done) = (place.volume.clone(), AtomicBool::new(false));
    fs::create_dir(volume.join("good")).unwrap();
    fs::write(volume.join("good/secret"), "").unwrap();
    symlink("../outside", volume.join("evil")).unwrap();
    let secret = fs::metadata(place.outside.join("secret")).unwrap().ino();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            while !done.load(Ordering::Relaxed) {
                let (good, evil) = (volume.join("good"), volume.join("evil"));
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &good, nix::fcntl::AT_FDCWD, &evil, exchange).unwrap();
            }
        });
        for _ in 0..2_000 {
            for path in ["good/secret", "good/new/folder", "good"] {
                if let Ok(found) = open(&volume, Path::new(path)) {
                    assert_ne!(inode(&found), secret, "{path}");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&place.outside).unwrap().count(), 1, "nothing was made outside");
}

#[test]
fn a_target_of_the_other_kind_is_replaced_and_what_it_shows_is_left_alone() {
    let place = place();
    let target = place.outside.join("subpaths/c/0");
    make_target(&target, false).unwrap();
    assert!(target.is_file());
    make_target(&target, true).unwrap();
    assert!(target.is_dir());
    make_target(&target, false).unwrap();
    fs::write(&target, "kept").unwrap();
    make_target(&target, false).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    release(&target).unwrap();
}
