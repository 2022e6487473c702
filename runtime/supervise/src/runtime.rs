//! Running the OCI runtime through its command line, and reading why it failed.
//!
//! Whatever runtime it is: only the arguments that runc, crun, youki and skiff-oci share are used, and its error is the
//! last `level: error` line of the JSON log that `--log` asks for.

use nix::sys::signal::{SigSet, Signal};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much of a runtime's own words reaches the caller.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The runtime and where it keeps its state.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its `--root`.
    pub(crate) root: PathBuf,
}

impl Runtime {
    /// `PROGRAM --root … --log LOG --log-format json VERB`, with nothing on its stdio yet.
    pub(crate) fn command(&self, log: &Path, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(log).args(["--log-format", "json", verb]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Starts a program with SIGCHLD unblocked, as every program expects to find it.
///
/// We block SIGCHLD for our signalfd, and a mask is inherited across execve(2). While it is unblocked here a signal may
/// be lost, so the caller must reap once afterwards without waiting for one.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_unblock()?;
    let child = command.spawn();
    children.thread_block()?;
    child
}

/// Why the runtime failed: the last error of its log, else what it wrote to its error output, else `status`.
pub(crate) fn failure(log: &Path, error_output: &[u8], status: &str) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let logged = text.lines().rev().find_map(error_line);
    let message = logged.or_else(|| {
        let text = String::from_utf8_lossy(error_output);
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    });
    let mut message = message.unwrap_or_else(|| format!("it said nothing and ended with {status}"));
    let end =
        message.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= MESSAGE_BYTES_MAX).last();
    message.truncate(end.unwrap_or(0));
    message
}

fn error_line(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_error = matches!(line.get("level")?.as_str()?, "error" | "fatal" | "panic");
    is_error.then(|| line.get("msg")?.as_str().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_the_log_is_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let lines = [
            r#"{"level":"warning","msg":"hm","time":"t"}"#,
            r#"{"level":"error","msg":"first","time":"t"}"#,
            r#"{"level":"error","msg":"exec: no such file","time":"t"}"#,
            "not json",
        ];
        fs::write(&log, lines.join("\n")).unwrap();
        assert_eq!(failure(&log, b"noise", "exit status 1"), "exec: no such file");
    }

    #[test]
    fn without_a_log_the_error_output_speaks_and_then_the_status() {
        let nowhere = Path::new("/nonexistent/log");
        assert_eq!(failure(nowhere, b" boom \n", "exit status 1"), "boom");
        assert_eq!(failure(nowhere, b"", "exit status 1"), "it said nothing and ended with exit status 1");
        assert_eq!(failure(nowhere, "é".repeat(4000).as_bytes(), "x").len(), MESSAGE_BYTES_MAX);
    }
}
