//! Loop devices, and the filesystems on them: by the programs that every distribution has for it (util-linux, e2fsprogs).

use crate::error::{Done, Refusal};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The filesystem of an image whose class names none.
pub(crate) const FILESYSTEM: &str = "ext4";

/// Runs a program to its end, and gives what it wrote.
pub(crate) fn run(command: &mut Command) -> Done<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let operation = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Err(Refusal::Failed { operation, why: error.to_string() }),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Refusal::Failed { operation, why: if why.is_empty() { output.status.to_string() } else { why } })
}

/// The loop device of an image, if it has one.
pub(crate) fn of(image: &Path) -> Done<Option<PathBuf>> {
    let list = run(Command::new("losetup").args(["--noheadings", "--output", "NAME", "--associated"]).arg(image))?;
    Ok(list.lines().next().map(|name| PathBuf::from(name.trim())))
}

/// The loop device of an image; it gets one if it has none.
pub(crate) fn attach(image: &Path) -> Done<PathBuf> {
    if let Some(device) = of(image)? {
        return Ok(device);
    }
    run(Command::new("losetup").args(["--find", "--show"]).arg(image)).map(PathBuf::from)
}

/// Takes the loop device of an image away.
pub(crate) fn detach(image: &Path) -> Done<()> {
    match of(image)? {
        Some(device) => run(Command::new("losetup").arg("--detach").arg(device)).map(drop),
        None => Ok(()),
    }
}

/// Makes a filesystem on a device that has none.
pub(crate) fn format(device: &Path, kind: &str) -> Done<()> {
    // blkid(8) ends with 2 when there is nothing that it knows.
    if run(Command::new("blkid").args(["--probe", "--match-tag", "TYPE"]).arg(device)).is_ok() {
        return Ok(());
    }
    let program = format!("mkfs.{kind}");
    let mut command = Command::new(program);
    if kind.starts_with("ext") {
        // The whole of what was promised is for its users, none of it for root alone.
        command.args(["-q", "-m", "0"]);
    }
    run(command.arg(device)).map(drop)
}

/// Looks through a filesystem of the ext family that is nowhere mounted; without that it cannot be grown.
pub(crate) fn check(device: &Path) -> Done<()> {
    let mut command = Command::new("e2fsck");
    command.args(["-f", "-p"]).arg(device);
    let why = match command.output() {
        // 1: something was wrong and is right now.
        Ok(ended) if matches!(ended.status.code(), Some(0 | 1)) => return Ok(()),
        Ok(ended) => String::from_utf8_lossy(&ended.stdout).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Refusal::Failed { operation: format!("e2fsck -f -p {}", device.display()), why })
}

/// Grows a device to its image's size, and the filesystem on it, if there is one.
pub(crate) fn grow(image: &Path, filesystem: bool) -> Done<()> {
    let Some(device) = of(image)? else { return Ok(()) };
    run(Command::new("losetup").arg("--set-capacity").arg(&device))?;
    if filesystem {
        run(Command::new("resize2fs").arg(&device))?;
    }
    Ok(())
}
