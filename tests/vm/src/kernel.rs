//! The guest's kernel: its image, and the modules that a suite needs, in an order in which they load.
//!
//! Debian makes `modules.dep` when a kernel is installed. Ours is only unpacked, so what a module needs is read where
//! depmod(8) reads it, too: in the module's own section `.modinfo`.

use crate::elf;
use crate::error::{Error, On, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel to boot.
#[derive(Debug, Clone)]
pub struct Kernel {
    image: PathBuf,
    modules: Option<PathBuf>,
}

impl Kernel {
    /// The image `file`, without modules: for kernels that have everything built in.
    #[must_use]
    pub fn image(file: impl Into<PathBuf>) -> Self {
        Self { image: file.into(), modules: None }
    }

    /// The kernel of an unpacked package: `boot/vmlinuz-VERSION` and `lib/modules/VERSION` below `folder`.
    ///
    /// # Errors
    /// There is no kernel in it, or more than one.
    pub fn package(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let boot = folder.join("boot");
        let mut found = Vec::new();
        for entry in fs::read_dir(&boot).on("read", boot.display())? {
            let entry = entry.on("read", boot.display())?;
            if let Some(version) = entry.file_name().to_string_lossy().strip_prefix("vmlinuz-") {
                found.push((entry.path(), version.to_owned()));
            }
        }
        let [(image, version)] = &found[..] else {
            return Err(Error::Refused(format!("{}: {} kernels, not one", boot.display(), found.len())));
        };
        let trees = [folder.join("lib/modules").join(version), folder.join("usr/lib/modules").join(version)];
        Ok(Self { image: image.clone(), modules: trees.into_iter().find(|tree| tree.is_dir()) })
    }

    /// Debian's kernel of the series `series` (`6.1`) among the peers, the folder that `SKIFF_PEERS` names.
    ///
    /// # Errors
    /// [`Error::Missing`] when it is not there.
    pub fn peer(series: &str) -> Result<Self> {
        let missing = || Error::Missing {
            what: format!("Debian's kernel {series}"),
            remedy: "`tests/peers FOLDER` fetches it into the folder that SKIFF_PEERS names".to_owned(),
        };
        let folder = std::env::var_os("SKIFF_PEERS").map(PathBuf::from).ok_or_else(missing)?;
        let folder = folder.join(format!("linux-{series}"));
        if folder.is_dir() { Self::package(folder) } else { Err(missing()) }
    }

    /// The image's file.
    pub(crate) fn file(&self) -> &Path {
        &self.image
    }

    /// The files of `wanted` modules and of all that they need, each after those it needs. What is built in is left out.
    pub(crate) fn modules(&self, wanted: &[String]) -> Result<Vec<PathBuf>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let Some(tree) = &self.modules else {
            return Err(Error::Refused(format!(
                "{}: a kernel without modules has no {wanted:?}",
                self.image.display()
            )));
        };
        let catalog = Catalog::of(tree)?;
        order(wanted, |name| catalog.find(name))
    }
}

/// What a module is to its kernel.
enum Found {
    BuiltIn,
    File { path: PathBuf, needs: Vec<String> },
}

struct Catalog {
    tree: PathBuf,
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl Catalog {
    fn of(tree: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(&tree.join("kernel"), &mut files)?;
        let list = tree.join("modules.builtin");
        let text = fs::read_to_string(&list).on("read", list.display())?;
        let built_in = text.lines().filter_map(|line| module_name(Path::new(line))).collect();
        Ok(Self { tree: tree.to_owned(), files, built_in })
    }

    fn find(&self, name: &str) -> Result<Found> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) {
            return Ok(Found::BuiltIn);
        }
        let path = self.files.get(&name);
        let path = path.ok_or_else(|| Error::Refused(format!("{}: no module {name}", self.tree.display())))?;
        let module = content(path)?;
        let info = elf::section(&module, ".modinfo").unwrap_or_default();
        // A soft need may name a module that this kernel does not have, or one of several ways to have it.
        let soft = soft_needs(info).filter(|name| self.files.contains_key(&name.replace('-', "_")));
        Ok(Found::File { path: path.clone(), needs: soft.chain(needs(info)).collect() })
    }
}

fn collect(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).on("read", folder.display())? {
        let path = entry.on("read", folder.display())?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if let Some(name) = module_name(&path) {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// `ip_tables` of `…/ip-tables.ko.xz`: the kernel takes both dashes for the same.
fn module_name(path: &Path) -> Option<String> {
    let (name, _packing) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// Names in `depends=`: whose symbols a module uses.
fn needs(info: &[u8]) -> impl Iterator<Item = String> {
    let names = lines(info).filter_map(|line| line.strip_prefix("depends=")).flat_map(|names| names.split(','));
    names.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Names in `softdep=pre:`: what a module uses without a symbol that would tell.
fn soft_needs(info: &[u8]) -> impl Iterator<Item = String> {
    let rest = lines(info).filter_map(|line| line.strip_prefix("softdep=pre:"));
    rest.flat_map(|rest| rest.split_whitespace().take_while(|word| *word != "post:")).map(str::to_owned)
}

/// The `key=value` lines of a section `.modinfo`.
fn lines(info: &[u8]) -> impl Iterator<Item = &str> {
    info.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok())
}

/// Depth first: what a module needs goes before it.
fn order(wanted: &[String], find: impl Fn(&str) -> Result<Found>) -> Result<Vec<PathBuf>> {
    fn visit(
        name: &str,
        find: &impl Fn(&str) -> Result<Found>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<PathBuf>,
    ) -> Result<()> {
        if !seen.insert(name.replace('-', "_")) {
            return Ok(());
        }
        if let Found::File { path, needs } = find(name)? {
            for other in needs {
                visit(&other, find, seen, order)?;
            }
            order.push(path);
        }
        Ok(())
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in wanted {
        visit(name, &find, &mut seen, &mut order)?;
    }
    Ok(order)
}

/// The module's bytes. Kernels unpack modules only when they are built to, so the host does.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).on("read", path.display()),
    };
    let output = Command::new(program).arg("-dc").arg(path).output().on("run", program)?;
    if !output.status.success() {
        return Err(Error::Refused(format!("{program} -dc {}: {}", path.display(), output.status)));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_goes_before_it_once() {
        let needs = BTreeMap::from([("a", vec!["b-x", "c"]), ("b_x", vec!["c"]), ("c", vec!["inside"])]);
        let find = |name: &str| {
            let name = name.replace('-', "_");
            Ok(needs.get(name.as_str()).map_or(Found::BuiltIn, |needs| Found::File {
                path: PathBuf::from(&name),
                needs: needs.iter().map(|&other| other.to_owned()).collect(),
            }))
        };
        let order = order(&["a".to_owned(), "b_x".to_owned()], find).unwrap();
        assert_eq!(order, [Path::new("c"), Path::new("b_x"), Path::new("a")]);
    }

    #[test]
    fn a_modules_own_words_say_what_it_needs() {
        let info = b"license=GPL\0depends=jbd2,mbcache\0softdep=pre: crc32c post: later\0depends=\0";
        assert_eq!(needs(info).collect::<Vec<_>>(), ["jbd2", "mbcache"]);
        assert_eq!(soft_needs(info).collect::<Vec<_>>(), ["crc32c"]);
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(module_name(Path::new("/x/virtio-rng.ko")).as_deref(), Some("virtio_rng"));
        assert_eq!(module_name(Path::new("overlay.ko.xz")).as_deref(), Some("overlay"));
        assert_eq!(module_name(Path::new("modules.order")), None);
    }
}
