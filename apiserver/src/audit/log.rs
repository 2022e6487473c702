//! The file: a line for each event, each hung on the one before; put aside at a size. What was written stays whatever happens: a line that a
//! crash or a full disk cut off is ended, told of and left where it is.

use super::options::{AuditError, Rotation};
use super::rotation;
use skiff_audit::Chain;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How much is read of the end of a file to find its last line; an event with a large object may be longer, then all is read.
const TAIL_BYTES: u64 = 64 << 10;

/// A log that is written.
#[derive(Debug)]
pub(super) struct Log {
    /// `None`: standard output.
    path: Option<PathBuf>,
    rotation: Rotation,
    chained: bool,
    writing: Mutex<Writing>,
    /// How many lines are on disk.
    synced: Mutex<u64>,
}

#[derive(Debug)]
struct Writing {
    out: Out,
    chain: Chain,
    bytes: u64,
    /// The last line has no end.
    torn: bool,
    /// How many lines were written.
    lines: u64,
}

#[derive(Debug)]
enum Out {
    File(Arc<File>),
    Stdout,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => (&**file).write(bytes),
            Self::Stdout => io::stdout().lock().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Stdout => io::stdout().lock().flush(),
        }
    }
}

impl Log {
    /// Opens the file, makes it if it is not there, and goes on where its chain ends.
    pub(super) fn open(path: &Path, rotation: Rotation, chained: bool) -> Result<Self, AuditError> {
        let failed = |operation| move |error: io::Error| AuditError::new(operation, path, error);
        let is_stdout = path == Path::new("-");
        let (out, bytes, tail) = if is_stdout {
            (Out::Stdout, 0, Tail::default())
        } else {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map_err(failed("make the folder of audit log"))?;
            }
            let mut file = append(path).map_err(failed("open audit log"))?;
            let bytes = file.metadata().map_err(failed("open audit log"))?.len();
            let mut tail = tail(&mut file, bytes).map_err(failed("read the end of audit log"))?;
            if bytes == 0
                && let Some(before) = rotation::newest(path)
            {
                let mut file =
                    File::open(&before).map_err(|error| AuditError::new("open audit log", &before, error))?;
                let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
                tail.chain = self::tail(&mut file, length).map(|tail| tail.chain).unwrap_or_default();
            }
            (Out::File(Arc::new(file)), bytes, tail)
        };
        if tail.torn {
            tracing::warn!(path = %path.display(), "the last line of the audit log is cut off; it stays as it is");
        }
        let chain = tail.chain.unwrap_or_default();
        let writing = Mutex::new(Writing { out, chain, bytes, torn: tail.torn, lines: 0 });
        let path = (!is_stdout).then(|| path.to_owned());
        Ok(Self { path, rotation, chained, writing, synced: Mutex::new(0) })
    }

    /// Writes an event as a line; answers how many there are with it.
    pub(super) fn append(&self, event: &str) -> io::Result<u64> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chain = writing.chain.clone();
        let mut line = if self.chained { chain.link(event) } else { event.to_owned() };
        line.push('\n');
        if writing.torn {
            line.insert(0, '\n');
        }
        self.rotate(&mut writing, line.len() as u64)?;
        // Until all of it is written part of it may be.
        writing.torn = true;
        writing.out.write_all(line.as_bytes())?;
        writing.out.flush()?;
        (writing.torn, writing.chain) = (false, chain);
        writing.bytes += line.len() as u64;
        writing.lines += 1;
        Ok(writing.lines)
    }

    /// Puts the file aside if `more` bytes would make it too large.
    fn rotate(&self, writing: &mut Writing, more: u64) -> io::Result<()> {
        let (Some(path), Out::File(file)) = (&self.path, &writing.out) else { return Ok(()) };
        let limit = self.rotation.bytes_max;
        if limit == 0 || writing.bytes == 0 || writing.bytes + more <= limit {
            return Ok(());
        }
        file.sync_data()?;
        rotation::put_aside(path, jiff::Timestamp::now())?;
        writing.out = Out::File(Arc::new(append(path)?));
        writing.bytes = 0;
        let (path, rotation) = (path.clone(), self.rotation);
        // Compressing takes a while, and nothing waits for it.
        std::thread::spawn(move || rotation::tidy(&path, rotation, jiff::Timestamp::now()));
        Ok(())
    }

    /// Waits until the first `lines` lines are on disk. Who waits for a lock here is served by whoever has it.
    pub(super) fn sync(&self, lines: u64) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= lines {
            return Ok(());
        }
        let (file, written) = {
            let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let Out::File(file) = &writing.out else { return Ok(()) };
            (Arc::clone(file), writing.lines)
        };
        file.sync_data()?;
        *synced = written;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

/// How a file ends.
#[derive(Debug, Default)]
struct Tail {
    /// The chain that its last whole line ends; `None`: that is no line of one.
    chain: Option<Chain>,
    /// The last line has no end.
    torn: bool,
}

fn tail(file: &mut File, length: u64) -> io::Result<Tail> {
    let mut window = TAIL_BYTES;
    loop {
        let from = length.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(length - from).read_to_end(&mut bytes)?;
        let torn = bytes.last().is_some_and(|byte| *byte != b'\n');
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
        let begin = bytes[..whole].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        if let (None, true) = (begin, from > 0) {
            window *= 8;
            continue;
        }
        let line = String::from_utf8_lossy(&bytes[begin.unwrap_or_default()..whole]);
        return Ok(Tail { chain: Chain::ending(&line), torn });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_audit::Verifier;
    use std::fs::{read_dir, read_to_string, write};

    const NEVER: Rotation = Rotation { bytes_max: 0, files_max: 0, days_max: 0, compress: false };
    const EVENT: &str = r#"{"kind":"Event","annotations":{"a":"b"}}"#;

    fn faults(paths: &[PathBuf]) -> Vec<String> {
        let mut verifier = Verifier::default();
        let text: String = paths.iter().map(|path| read_to_string(path).unwrap()).collect();
        text.lines().filter_map(|line| verifier.next(line).err()).map(|found| found.fault.to_string()).collect()
    }

    #[test]
    fn a_chain_goes_on_when_the_server_starts_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/audit.log");
        for _ in 0..2 {
            let log = Log::open(&path, NEVER, true).unwrap();
            let lines = log.append(EVENT).and_then(|_| log.append(EVENT)).unwrap();
            log.sync(lines).unwrap();
        }
        assert_eq!(faults(std::slice::from_ref(&path)), [""; 0]);
        write(&path, read_to_string(&path).unwrap() + "{\"kind\":\"Eve").unwrap();
        Log::open(&path, NEVER, true).unwrap().append(EVENT).unwrap();
        assert_eq!(faults(&[path]), ["is no whole event of a chain"]);
    }

    #[test]
    fn files_are_put_aside_and_the_chain_goes_through_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let rotation = Rotation { bytes_max: 500, ..NEVER };
        let log = Log::open(&path, rotation, true).unwrap();
        for _ in 0..10 {
            log.append(EVENT).unwrap();
            // Names of old files have milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let mut paths: Vec<PathBuf> = read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        // `audit-…` stands before `audit.`, the one that is written.
        assert!(paths.len() > 2 && paths.last() == Some(&path), "{paths:?}");
        assert_eq!(faults(&paths), [""; 0]);
    }

    #[test]
    fn a_long_last_line_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let long = format!(r#"{{"kind":"{}"}}"#, "x".repeat(200_000));
        for event in [EVENT, long.as_str(), EVENT] {
            Log::open(&path, NEVER, true).unwrap().append(event).unwrap();
        }
        assert_eq!(faults(&[path]), [""; 0]);
    }
}
