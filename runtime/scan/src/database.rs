//! A database of vulnerabilities: a folder with one file for each ecosystem, made of OSV's archives.
//!
//! A line of a file is `name TAB advisory`, sorted by name, so that a scan reads JSON only of packages that an image has. Files are replaced
//! whole and atomically; `revision` is replaced last, and whoever sees it change looks again.

use crate::inventory::{Inventory, Package};
use crate::osv::{Advisory, advisories};
use crate::zip::Archive;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Bytes of a record; the largest of OSV's have some megabytes, of versions that they list.
const RECORD_BYTES_MAX: u64 = 64 << 20;
const REVISION: &str = "revision";

/// What went wrong with a database.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}")]
pub struct DatabaseError {
    operation: &'static str,
    path: String,
    source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> DatabaseError {
    move |source| DatabaseError { operation, path: path.display().to_string(), source }
}

/// A folder of vulnerabilities.
#[derive(Debug, Clone)]
pub struct Database(PathBuf);

/// What an import brought: records that were read, and packages of each ecosystem that are known now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Records that were read.
    pub records: usize,
    /// Files of the archive that are no records, with the reason.
    pub unread: Vec<String>,
    /// Advisories by ecosystem.
    pub ecosystems: BTreeMap<String, usize>,
}

/// Advisories by ecosystem, each with its package's name.
type ByEcosystem = BTreeMap<String, Vec<(String, Advisory)>>;

/// Packages with what is said of them, and ecosystems of which nothing is known, in words.
pub type Known = (Vec<(Package, Advisory)>, Vec<String>);

impl Database {
    /// The database in a folder, whether or not there is one yet.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Takes in an archive of OSV's records (`all.zip`). What was known of its ecosystems is replaced: `all.zip` of Debian has all of Debian.
    ///
    /// # Errors
    /// The archive is none, or the folder cannot be written.
    pub fn import(&self, archive: &Path) -> Result<Imported, DatabaseError> {
        let file = File::open(archive).map_err(failed("open", archive))?;
        let mut zip = Archive::open(BufReader::new(file)).map_err(failed("read", archive))?;
        let (mut all, mut imported) = (ByEcosystem::new(), Imported::default());
        for entry in zip.entries().to_vec().iter().filter(|entry| entry.name.ends_with(".json")) {
            let bytes = zip.read(entry, RECORD_BYTES_MAX).map_err(failed("read", archive))?;
            match serde_json::from_slice(&bytes) {
                Ok(record) => {
                    imported.records += 1;
                    for (ecosystem, name, advisory) in advisories(&record) {
                        all.entry(ecosystem).or_default().push((name, advisory));
                    }
                }
                Err(error) => imported.unread.push(format!("{}: {error}", entry.name)),
            }
        }
        fs::create_dir_all(&self.0).map_err(failed("make", &self.0))?;
        let families: BTreeSet<&str> = all.keys().map(|ecosystem| family(ecosystem)).collect();
        self.drop_stale(&families, &all)?;
        for (ecosystem, known) in &mut all {
            known.sort_by(|one, other| (&one.0, &one.1.id).cmp(&(&other.0, &other.1.id)));
            self.write(ecosystem, known)?;
            imported.ecosystems.insert(ecosystem.clone(), known.len());
        }
        self.renew()?;
        Ok(imported)
    }

    fn file(&self, ecosystem: &str) -> PathBuf {
        // Names of ecosystems are strangers' words, and this is a file's name.
        let safe = |letter: char| if letter.is_ascii_alphanumeric() || ".-".contains(letter) { letter } else { '_' };
        self.0.join(format!("{}.osv", ecosystem.chars().map(safe).collect::<String>()))
    }

    /// Removes what was known of releases of which an archive with their family says nothing any more.
    fn drop_stale(&self, families: &BTreeSet<&str>, all: &ByEcosystem) -> Result<(), DatabaseError> {
        let kept: BTreeSet<PathBuf> = all.keys().map(|ecosystem| self.file(ecosystem)).collect();
        for entry in fs::read_dir(&self.0).map_err(failed("list", &self.0))? {
            let path = entry.map_err(failed("list", &self.0))?.path();
            let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".osv"));
            let stale = stem.is_some_and(|stem| families.contains(stem.split('_').next().unwrap_or(stem)));
            if stale && !kept.contains(&path) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    fn write(&self, ecosystem: &str, known: &[(String, Advisory)]) -> Result<(), DatabaseError> {
        let path = self.file(ecosystem);
        replace(&path, |out| {
            for (name, advisory) in known.iter().filter(|(name, _)| !name.contains(['\t', '\n'])) {
                write!(out, "{name}\t")?;
                serde_json::to_writer(&mut *out, advisory)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })
        .map_err(failed("write", &path))
    }

    fn renew(&self) -> Result<(), DatabaseError> {
        let path = self.0.join(REVISION);
        let next = self.revision()?.map_or(1, |revision| revision + 1);
        replace(&path, |out| writeln!(out, "{next}")).map_err(failed("write", &path))
    }

    /// How often it was changed; `None`: there is none yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn revision(&self) -> Result<Option<u64>, DatabaseError> {
        let path = self.0.join(REVISION);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let revision =
                    text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "this is no number"));
                revision.map(Some).map_err(failed("read", &path))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// What is known of the packages of an image, whatever their versions; and, in words, ecosystems of which nothing is known.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn known(&self, inventory: &Inventory) -> Result<Known, DatabaseError> {
        let (mut all, mut absent) = (Vec::new(), Vec::new());
        let mut wanted: BTreeMap<&str, BTreeMap<&str, Vec<&Package>>> = BTreeMap::new();
        for package in &inventory.packages {
            wanted.entry(&package.ecosystem).or_default().entry(&package.name).or_default().push(package);
        }
        for (ecosystem, packages) in wanted {
            let path = self.file(ecosystem);
            match File::open(&path) {
                Ok(file) => pick(file, &packages, &mut all).map_err(failed("read", &path))?,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    absent
                        .push(format!("{ecosystem}: {} packages, of which the database knows nothing", packages.len()));
                }
                Err(error) => return Err(failed("open", &path)(error)),
            }
        }
        Ok((all, absent))
    }
}

/// All releases of one distribution come in one archive.
fn family(ecosystem: &str) -> &str {
    ecosystem.split(':').next().unwrap_or(ecosystem)
}

/// Adds the lines that are of these packages.
fn pick(file: File, packages: &BTreeMap<&str, Vec<&Package>>, all: &mut Vec<(Package, Advisory)>) -> io::Result<()> {
    let mut lines = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let split = line.iter().position(|byte| *byte == b'\t').unwrap_or(line.len());
        let name = std::str::from_utf8(&line[..split]).unwrap_or_default();
        if let Some(of) = packages.get(name) {
            let advisory: Advisory = serde_json::from_slice(line.get(split + 1..).unwrap_or_default())?;
            all.extend(of.iter().map(|package| ((*package).clone(), advisory.clone())));
        }
        line.clear();
    }
    Ok(())
}

/// Writes a file whole, and puts it in its place once it is on the disk.
fn replace(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let made = path.with_extension("new");
    let mut out = BufWriter::new(File::create(&made)?);
    fill(&mut out)?;
    out.into_inner()?.sync_all()?;
    fs::rename(&made, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::zip::tests::archive;
    use serde_json::json;

    fn record(id: &str, ecosystem: &str, name: &str, fixed: &str) -> String {
        let ranges = json!([{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]);
        json!({"id": id, "affected": [{"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges}]})
            .to_string()
    }

    fn import(database: &Database, files: &[(&str, &str)]) -> Imported {
        let at = database.0.with_extension("zip");
        fs::write(&at, archive(files)).unwrap();
        database.import(&at).unwrap()
    }

    fn found(database: &Database, packages: &[Package]) -> (Vec<String>, Vec<String>) {
        let inventory = Inventory { packages: packages.iter().cloned().collect(), ..Inventory::default() };
        let (known, absent) = database.known(&inventory).unwrap();
        let report = Report::of(&inventory, &known, &[], "2026-01-01");
        (
            report
                .findings
                .into_iter()
                .map(|one| format!("{} {} {}", one.id, one.package.name, one.package.version))
                .collect(),
            absent,
        )
    }

    #[test]
    fn what_was_imported_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::at(&dir.path().join("osv"));
        assert_eq!(database.revision().unwrap(), None);
        let (one, two) =
            (record("DSA-1", "Debian:12", "openssl", "3.0.11-1"), record("DSA-2", "Debian:11", "openssl", "1.1.1w-0"));
        let imported =
            import(&database, &[("DSA-1.json", &one), ("DSA-2.json", &two), ("bad.json", "{"), ("README", "")]);
        assert_eq!((imported.records, imported.unread.len(), imported.ecosystems.len()), (2, 1, 2));
        assert_eq!(database.revision().unwrap(), Some(1));
        let packages = [
            Package::of("Debian:12", "openssl", "3.0.9-1", "status"),
            Package::of("Debian:12", "bash", "5.2-1", "status"),
            Package::of("npm", "left-pad", "1.0.0", "package-lock.json"),
        ];
        let (all, absent) = found(&database, &packages);
        assert_eq!(all, ["DSA-1 openssl 3.0.9-1"]);
        assert_eq!(absent, ["npm: 1 packages, of which the database knows nothing"]);
        // Another ecosystem leaves this one alone, and one of the same family replaces it.
        import(&database, &[("GHSA-1.json", &record("GHSA-1", "npm", "left-pad", "1.1.0"))]);
        assert_eq!(found(&database, &packages).0, ["DSA-1 openssl 3.0.9-1", "GHSA-1 left-pad 1.0.0"]);
        import(&database, &[("DSA-2.json", &two)]);
        assert_eq!(found(&database, &packages).0, ["GHSA-1 left-pad 1.0.0"]);
        assert_eq!(database.revision().unwrap(), Some(3));
    }

    #[test]
    fn names_of_files_are_safe() {
        let database = Database::at(Path::new("/db"));
        assert_eq!(database.file("Alpine:v3.20"), Path::new("/db/Alpine_v3.20.osv"));
        assert_eq!(database.file("Debian:../../x"), Path::new("/db/Debian_.._.._x.osv"));
    }
}
