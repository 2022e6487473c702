//! Old files beside the one that is written, named as Kubernetes' log library names them: `audit-2026-01-02T03-04-05.678.log`.

use super::options::Rotation;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";
const PACKED: &str = ".gz";
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Beginning and end of the names of old files.
fn affixes(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let end = text(path.extension()).map(|end| format!(".{end}")).unwrap_or_default();
    (format!("{}-", text(path.file_stem()).unwrap_or_default()), end)
}

/// Renames the file to one that says when it was put aside.
pub(super) fn put_aside(path: &Path, now: Timestamp) -> io::Result<()> {
    let (begin, end) = affixes(path);
    let name = format!("{begin}{}{end}", now.strftime(STAMP));
    fs::rename(path, path.with_file_name(name))
}

/// Old files and when they were put aside, the newest first.
fn old(path: &Path) -> Vec<(Timestamp, PathBuf)> {
    let (begin, end) = affixes(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let dated = names.filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let name = name.strip_suffix(PACKED).unwrap_or(&name);
        let stamp = name.strip_prefix(&begin)?.strip_suffix(&end)?;
        let time = jiff::civil::DateTime::strptime(STAMP, stamp).ok()?;
        Some((time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(), path))
    });
    let mut dated: Vec<_> = dated.collect();
    dated.sort_by(|one, other| other.cmp(one));
    dated
}

/// The newest old file, unless it is compressed.
pub(super) fn newest(path: &Path) -> Option<PathBuf> {
    old(path).into_iter().map(|(_, path)| path).next().filter(|path| !path.to_string_lossy().ends_with(PACKED))
}

/// Which of the `old` files, the newest first, go at `now`.
fn leaving(old: &[(Timestamp, PathBuf)], rotation: Rotation, now: Timestamp) -> Vec<&Path> {
    let seconds_max = i64::from(rotation.days_max) * DAY_SECONDS;
    let goes = |at: usize, time: Timestamp| {
        let too_many = rotation.files_max > 0 && at >= rotation.files_max;
        too_many || (seconds_max > 0 && now.as_second() - time.as_second() > seconds_max)
    };
    old.iter().enumerate().filter(|(at, (time, _))| goes(*at, *time)).map(|(_, (_, path))| path.as_path()).collect()
}

/// Removes old files that are too many or too old, and compresses the others if that is wanted.
pub(super) fn tidy(path: &Path, rotation: Rotation, now: Timestamp) {
    let old = old(path);
    let leaving = leaving(&old, rotation, now);
    for path in &leaving {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(%error, path = %path.display(), "remove an old audit log");
        }
    }
    let staying = old.iter().map(|(_, path)| path.as_path()).filter(|path| !leaving.contains(path));
    for path in staying.filter(|path| rotation.compress && !path.to_string_lossy().ends_with(PACKED)) {
        if let Err(error) = pack(path) {
            tracing::warn!(%error, path = %path.display(), "compress an old audit log");
        }
    }
}

fn pack(path: &Path) -> io::Result<()> {
    let packed = PathBuf::from(format!("{}{PACKED}", path.display()));
    let mut from = File::open(path)?;
    let to = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&packed)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_go_by_number_and_age() {
        let at = |day: i64| Timestamp::from_second(day * DAY_SECONDS).unwrap();
        let old: Vec<_> = (0..5).rev().map(|day| (at(day), PathBuf::from(day.to_string()))).collect();
        let of = |files_max, days_max| {
            let rotation = Rotation { bytes_max: 1, files_max, days_max, compress: false };
            leaving(&old, rotation, at(4)).iter().map(|path| path.display().to_string()).collect::<String>()
        };
        assert_eq!(of(0, 0), "");
        assert_eq!(of(2, 0), "210");
        assert_eq!(of(0, 2), "10");
        assert_eq!(of(1, 100), "3210");
    }

    #[test]
    fn old_files_are_found_and_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for second in [1, 2, 3] {
            fs::write(&path, second.to_string()).unwrap();
            put_aside(&path, Timestamp::from_second(second).unwrap()).unwrap();
        }
        fs::write(folder.path().join("audit-other.log"), "").unwrap();
        assert_eq!(newest(&path), Some(folder.path().join("audit-1970-01-01T00-00-03.000.log")));
        let rotation = Rotation { bytes_max: 1, files_max: 2, days_max: 0, compress: true };
        tidy(&path, rotation, Timestamp::from_second(4).unwrap());
        let names: Vec<String> = old(&path).into_iter().map(|(_, path)| path.display().to_string()).collect();
        assert!(names.len() == 2 && names.iter().all(|name| name.ends_with(".log.gz")), "{names:?}");
        assert_eq!(newest(&path), None);
    }
}
