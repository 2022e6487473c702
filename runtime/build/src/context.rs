//! Which files a COPY means, and where they go: from a folder of the host (the context, or another image's mounted root) to items for the image.

use crate::ignore::Ignore;
use crate::pattern::{Pattern, is_pattern};
use sha2::{Digest, Sha256};
use skiff_image::{Content, Item};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How deep folders are copied; a path of PATH_MAX cannot name more.
const DEPTH_MAX: u32 = 2048;
/// A file that has what capabilities a program gets (capabilities(7)); the one attribute that is copied.
const CAPABILITY: &str = "security.capability";

/// Where sources are looked for.
pub(crate) struct Tree<'a> {
    /// With all links resolved.
    root: PathBuf,
    ignore: &'a Ignore,
    /// For sentences: `the context`, or which stage or image.
    name: String,
}

/// How copies differ from what they are copies of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change {
    /// Whose they are, if not whose the original is.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: Option<u32>,
    pub(crate) time_max: Option<i64>,
}

/// A source that a word of a COPY means.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Below the root.
    path: PathBuf,
    /// The real file; what the word names is followed if it is a link.
    real: PathBuf,
    about: Metadata,
}

impl Source {
    pub(crate) fn is_folder(&self) -> bool {
        self.about.is_dir()
    }

    /// Its file, to be unpacked.
    pub(crate) fn real(&self) -> &Path {
        &self.real
    }

    /// Its last name.
    pub(crate) fn name(&self) -> &Path {
        Path::new(self.path.file_name().unwrap_or_default())
    }
}

impl<'a> Tree<'a> {
    /// The folder at `root`.
    pub(crate) fn at(root: &Path, ignore: &'a Ignore, name: String) -> Result<Self, String> {
        let root = fs::canonicalize(root).map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Self { root, ignore, name })
    }

    /// All sources that the words mean, each word's by name.
    pub(crate) fn find(&self, words: &[String]) -> Result<Vec<Source>, String> {
        let mut all = Vec::new();
        for word in words {
            let path = crate::stage::absolute("/", word);
            let path = path.trim_start_matches('/');
            let found = if is_pattern(path) { self.matching(path)? } else { vec![path.to_owned()] };
            if found.is_empty() {
                return Err(format!("{}: nothing in {} matches it", word.escape_debug(), self.name));
            }
            for path in found {
                let source = self.source(&path)?;
                all.push(
                    source.ok_or_else(|| format!("{}: there is no such file in {}", word.escape_debug(), self.name))?,
                );
            }
        }
        Ok(all)
    }

    fn source(&self, path: &str) -> Result<Option<Source>, String> {
        if !path.is_empty() && self.ignore.keeps_out(path) && !self.ignore.may_bring_back() {
            return Ok(None);
        }
        let Some(real) = self.inside(Path::new(path), 0)? else { return Ok(None) };
        let about = fs::symlink_metadata(&real).map_err(|error| format!("{path}: {error}"))?;
        if !about.is_dir() && self.ignore.keeps_out(path) {
            return Ok(None);
        }
        Ok(Some(Source { path: path.into(), real, about }))
    }

    /// Where the path leads when the tree's root is `/`, links followed.
    fn inside(&self, path: &Path, hops: u32) -> Result<Option<PathBuf>, String> {
        if hops > 40 {
            return Err(format!("{}: too many links", path.display()));
        }
        let mut parts: Vec<std::ffi::OsString> = Vec::new();
        let names: Vec<_> = path.iter().collect();
        for (place, name) in names.iter().enumerate() {
            parts.push((*name).to_owned());
            let real = self.root.join(parts.iter().collect::<PathBuf>());
            let about = match fs::symlink_metadata(&real) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Ok(None);
                }
                about => about.map_err(|error| format!("{}: {error}", real.display()))?,
            };
            if about.is_symlink() {
                let target = fs::read_link(&real).map_err(|error| format!("{}: {error}", real.display()))?;
                parts.pop();
                let above: PathBuf = parts.iter().collect();
                let whole = Path::new("/").join(above).join(target);
                let whole = crate::stage::absolute("/", &whole.to_string_lossy());
                let rest: PathBuf = names[place + 1..].iter().collect();
                return self.inside(&Path::new(whole.trim_start_matches('/')).join(rest), hops + 1);
            }
        }
        Ok(Some(self.root.join(parts.iter().collect::<PathBuf>())))
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, String> {
        let mut found = vec![String::new()];
        // A star never means a slash, so a pattern is matched name by name.
        for part in pattern.split('/') {
            let compiled = Pattern::read(part, false)?;
            let mut next = Vec::new();
            for above in &found {
                for name in self.names(above)? {
                    if compiled.matches(&name) {
                        next.push(if above.is_empty() { name } else { format!("{above}/{name}") });
                    }
                }
            }
            next.sort_unstable();
            found = next;
        }
        found.retain(|path| !self.ignore.keeps_out(path));
        Ok(found)
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        let Some(real) = self.inside(Path::new(folder), 0)? else { return Ok(Vec::new()) };
        if !real.is_dir() {
            return Ok(Vec::new());
        }
        names(&real).map_err(|error| format!("{folder}: {error}"))
    }

    /// The source, as items at `to` in the image: a folder's content, or one file.
    pub(crate) fn items(&self, source: &Source, to: &Path, change: Change) -> Result<Vec<Item>, String> {
        let mut items = Vec::new();
        let mut walk = Walk { tree: self, change, items: &mut items };
        if source.is_folder() {
            walk.folder(&source.real, &source.path, to, DEPTH_MAX)?;
        } else {
            walk.put(&source.real, &source.about, to)?;
        }
        Ok(items)
    }
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let text = |error: io::Error| error.to_string();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(text)? {
        let name = entry.map_err(text)?.file_name();
        names.push(name.into_string().map_err(|name| format!("{}: the name is not UTF-8", name.to_string_lossy()))?);
    }
    names.sort_unstable();
    Ok(names)
}

struct Walk<'a> {
    tree: &'a Tree<'a>,
    change: Change,
    items: &'a mut Vec<Item>,
}

impl Walk<'_> {
    fn folder(&mut self, real: &Path, path: &Path, to: &Path, depth: u32) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or_else(|| format!("{}: folders are nested too deep", path.display()))?;
        for name in names(real).map_err(|error| format!("{}: {error}", path.display()))? {
            let (real, path, to) = (real.join(&name), path.join(&name), to.join(&name));
            let about = fs::symlink_metadata(&real).map_err(|error| format!("{}: {error}", path.display()))?;
            let out = self.tree.ignore.keeps_out(&path.to_string_lossy());
            if about.is_dir() {
                let before = self.items.len();
                if !out {
                    self.put(&real, &about, &to)?;
                }
                if !out || self.tree.ignore.may_bring_back() {
                    self.folder(&real, &path, &to, depth)?;
                }
                // A folder that is kept out is there only for what is brought back in it.
                if out && self.items.len() > before {
                    self.put(&real, &about, &to)?;
                    let folder = self.items.pop();
                    self.items.splice(before..before, folder);
                }
            } else if !out {
                self.put(&real, &about, &to)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, real: &Path, about: &Metadata, to: &Path) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", real.display());
        let name = to.file_name().unwrap_or_default();
        if name.as_bytes().starts_with(b".wh.") {
            return Err(format!(
                "{}: in layers a name that begins with .wh. means that something is removed",
                to.display()
            ));
        }
        let content = if about.is_dir() {
            Content::Folder
        } else if about.is_symlink() {
            Content::Link(fs::read_link(real).map_err(failed)?)
        } else if about.is_file() {
            Content::File(real.to_owned())
        } else {
            // Sockets, pipes and devices belong to the machine.
            return Ok(());
        };
        let mode = match (&content, self.change.mode) {
            (Content::Link(_), _) => 0o777,
            (_, Some(mode)) => mode,
            (_, None) => about.mode() & 0o7777,
        };
        let capability = match &content {
            Content::File(_) => skiff_image::attribute(real, CAPABILITY),
            _ => None,
        };
        let mtime = self.change.time_max.map_or(about.mtime(), |most| about.mtime().min(most));
        self.items.push(Item {
            path: to.to_owned(),
            content,
            owner: self.change.owner.unwrap_or((about.uid(), about.gid())),
            mode,
            mtime,
            xattrs: capability.map(|value| (CAPABILITY.to_owned(), value)).into_iter().collect(),
        });
        Ok(())
    }
}

/// A digest of what the items are, so that a layer can be found again: all but times.
pub(crate) fn digest(items: &[Item]) -> Result<String, String> {
    let mut hash = Sha256::new();
    for item in items {
        let part = |hash: &mut Sha256, bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(&mut hash, item.path.as_os_str().as_bytes());
        part(&mut hash, format!("{:?} {:o}", item.owner, item.mode).as_bytes());
        for (name, value) in &item.xattrs {
            part(&mut hash, name.as_bytes());
            part(&mut hash, value);
        }
        match &item.content {
            Content::Folder => hash.update(b"d"),
            Content::Link(to) => {
                hash.update(b"l");
                part(&mut hash, to.as_os_str().as_bytes());
            }
            Content::File(from) => {
                hash.update(b"f");
                part(&mut hash, &of_file(from).map_err(|error| format!("{}: {error}", from.display()))?);
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}

fn of_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().to_vec()),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [("a.txt", "a"), ("b.txt", "b"), ("d/x", "x"), ("d/e/y.log", "y"), ("d/e/z", "z")] {
            let at = dir.path().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        symlink("/d/e", dir.path().join("l")).unwrap();
        symlink("../../../../etc/passwd", dir.path().join("out")).unwrap();
        dir
    }

    fn placed(words: &[&str], ignore: &str) -> Result<Vec<String>, String> {
        let dir = tree();
        let ignore = Ignore::read(ignore)?;
        let tree = Tree::at(dir.path(), &ignore, "the context".to_owned())?;
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut all = Vec::new();
        for source in tree.find(&words)? {
            let items = tree.items(&source, Path::new("/to"), Change::default())?;
            all.extend(items.into_iter().map(|item| item.path.display().to_string()));
        }
        Ok(all)
    }

    #[test]
    fn folders_give_their_content_and_links_lead_inside() {
        assert_eq!(placed(&["d"], "").unwrap(), ["/to/e", "/to/e/y.log", "/to/e/z", "/to/x"]);
        assert_eq!(placed(&["l"], "").unwrap(), ["/to/y.log", "/to/z"]);
        assert_eq!(placed(&["*.txt"], "").unwrap(), ["/to", "/to"]);
        assert_eq!(placed(&["../../d/e/*"], "").unwrap().len(), 2);
        assert!(placed(&["out"], "").unwrap_err().contains("no such file in the context"));
        assert!(placed(&["*.md"], "").unwrap_err().contains("nothing in the context matches"));
    }

    #[test]
    fn what_is_ignored_is_not_there() {
        assert_eq!(placed(&["d"], "**/*.log").unwrap(), ["/to/e", "/to/e/z", "/to/x"]);
        assert_eq!(placed(&["."], "*\n!d/e/z").unwrap(), ["/to/d", "/to/d/e", "/to/d/e/z"]);
        assert!(placed(&["a.txt"], "a.*").unwrap_err().contains("no such file"));
    }

    #[test]
    fn a_digest_is_of_content_and_not_of_times() {
        let of = |text: &str| {
            let dir = tree();
            fs::write(dir.path().join("a.txt"), text).unwrap();
            let ignore = Ignore::default();
            let tree = Tree::at(dir.path(), &ignore, String::new()).unwrap();
            let source = tree.find(&["a.txt".to_owned()]).unwrap();
            digest(&tree.items(&source[0], Path::new("/a"), Change::default()).unwrap()).unwrap()
        };
        assert_eq!(of("1"), of("1"));
        assert_ne!(of("1"), of("2"));
    }
}
