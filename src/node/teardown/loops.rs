//! Takes loop devices away whose files are in our folders: devices of claims that were mounted nowhere have them to the end.

use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// Detaches; returns how many there were.
pub(super) fn detach_below(folder: &Path) -> anyhow::Result<usize> {
    let mut number = 0;
    // A kernel without loop devices has no such folder to show.
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten() {
        let entry = entry.context("list /sys/block")?;
        let Ok(file) = std::fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        if !Path::new(file.trim_end()).starts_with(folder) {
            continue;
        }
        let device = Path::new("/dev").join(entry.file_name());
        let ended = Command::new("losetup").arg("--detach").arg(&device).output();
        let ended = ended.with_context(|| format!("losetup --detach {}", device.display()))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "losetup --detach {}: {}", device.display(), said.trim());
        number += 1;
    }
    Ok(number)
}
