//! Turns the logs of running containers when they have grown large, as Kubernetes' kubelet does: rename, ask the runtime
//! to open the name anew (CRI v1 ReopenContainerLog), and compress what was renamed the time before.

mod plan;

use crate::agent::Agent;
use crate::cri::Cri;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Zoned;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often sizes are looked at: the kubelet's containerLogMonitorInterval.
const PERIOD: Duration = Duration::from_secs(10);

/// How large logs may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// A log of this size is turned (containerLogMaxSize); it may be larger by what is written until it is looked at.
    pub bytes_max: u64,
    /// Files of one container, the one being written included (containerLogMaxFiles); at least 2.
    pub files_max: usize,
}

impl Default for LogLimits {
    /// Kubernetes' own.
    fn default() -> Self {
        Self { bytes_max: 10 << 20, files_max: 5 }
    }
}

/// Looks after all logs, for ever.
pub(crate) async fn keep(agent: Arc<Agent>, limits: LogLimits) {
    let mut looks = interval(PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for (id, log) in running(&agent) {
            if let Err(error) = look_at(&agent.cri, &id, &log, limits).await {
                tracing::warn!(container = id, log = %log.display(), error, "log not rotated; trying again later");
            }
        }
    }
}

/// Ids and logs of containers that run: others write nothing.
fn running(agent: &Agent) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for posted in agent.board.all() {
        let running = posted.seen.containers.values().filter(|instance| instance.is_running());
        found.extend(running.map(|instance| (instance.id.clone(), agent.log(&posted.pod, instance))));
    }
    found
}

async fn look_at(cri: &Cri, id: &str, log: &Path, limits: LogLimits) -> Result<(), String> {
    let size_bytes = match tokio::fs::symlink_metadata(log).await {
        Ok(metadata) => metadata.len(),
        // We died between renaming and reopening, or somebody deleted it.
        Err(error) if error.kind() == ErrorKind::NotFound => return reopen(cri, id).await,
        Err(error) => return Err(format!("look at it: {error}")),
    };
    if size_bytes < limits.bytes_max {
        return Ok(());
    }
    let (folder, files_max) = (log.to_owned(), limits.files_max);
    let tidied = tokio::task::spawn_blocking(move || tidy(&folder, files_max)).await;
    tidied.map_err(|error| error.to_string())??;
    turn(cri, id, log).await
}

async fn reopen(cri: &Cri, id: &str) -> Result<(), String> {
    cri.reopen_log(id).await.map_err(|status| format!("ReopenContainerLog: {}", crate::cri::said(&status)))
}

/// Makes place for the one that comes.
fn tidy(log: &Path, files_max: usize) -> Result<(), String> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Err("its name has no folder".to_owned());
    };
    let tidy = plan::tidy(name, &names(folder)?, files_max);
    for name in tidy.remove {
        fs::remove_file(folder.join(&name)).map_err(|error| format!("remove {name}: {error}"))?;
    }
    for name in tidy.compress {
        compress(&folder.join(&name)).map_err(|error| format!("compress {name}: {error}"))?;
    }
    Ok(())
}

/// Removes what `log` was turned into: of these nobody but people reads.
pub(crate) fn discard_old(log: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let found = entry?.file_name();
        if found.to_str().is_some_and(|found| plan::is_rotated(name, found)) {
            fs::remove_file(folder.join(found))?;
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().ok())).collect();
    let names: io::Result<Vec<Option<String>>> = read();
    Ok(names.map_err(|error| format!("list {}: {error}", folder.display()))?.into_iter().flatten().collect())
}

/// Whole or not at all: the name with `.gz` appears by a rename, and the original goes after it.
fn compress(file: &Path) -> io::Result<()> {
    let named = |suffix: &str| PathBuf::from(format!("{}{suffix}", file.display()));
    let (unfinished, compressed) = (named(plan::UNFINISHED), named(plan::COMPRESSED));
    let mut original = File::open(file)?;
    let written = File::create(&unfinished).and_then(|made| {
        made.set_permissions(original.metadata()?.permissions())?;
        let mut encoder = GzEncoder::new(made, Compression::default());
        io::copy(&mut original, &mut encoder)?;
        encoder.finish().map(drop)
    });
    if let Err(error) = written.and_then(|()| fs::rename(&unfinished, &compressed)) {
        // The next look removes what this leaves, if it can.
        let _left = fs::remove_file(&unfinished);
        return Err(error);
    }
    fs::remove_file(file)
}

/// Renames the log and has the runtime begin another; the name comes back if that fails.
async fn turn(cri: &Cri, id: &str, log: &Path) -> Result<(), String> {
    let turned = PathBuf::from(format!("{}.{}", log.display(), Zoned::now().strftime(plan::TIME)));
    let rename = |error: io::Error| format!("rename it to {}: {error}", turned.display());
    tokio::fs::rename(log, &turned).await.map_err(rename)?;
    let reopened = reopen(cri, id).await;
    if reopened.is_err() {
        tokio::fs::rename(&turned, log).await.map_err(rename)?;
    }
    reopened
}

/// Removes a log and all that became of it; one that is not there is fine.
pub(crate) fn remove(log: &Path) -> Result<(), String> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    if !folder.is_dir() {
        return Ok(());
    }
    for found in names(folder)?.into_iter().filter(|found| found == name || plan::is_rotated(name, found)) {
        fs::remove_file(folder.join(&found)).map_err(|error| format!("remove {found}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn compressing_keeps_text_and_rights() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        let old = folder.path().join("0.log.20260101-000000");
        fs::write(&old, "line\n".repeat(1000)).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        tidy(&log, 5).unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["0.log.20260101-000000.gz"]);
        let file = File::open(folder.path().join("0.log.20260101-000000.gz")).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line\n".repeat(1000));
    }

    #[test]
    fn removing_takes_all_of_one_log_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["0.log", "0.log.20260101-000000", "0.log.20260101-000000.gz", "1.log", "10.log.20260101-000000"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove(&folder.path().join("0.log")).unwrap();
        let mut left = names(folder.path()).unwrap();
        left.sort();
        assert_eq!(left, ["1.log", "10.log.20260101-000000"]);
        remove(&folder.path().join("nowhere/0.log")).unwrap();
    }
}
