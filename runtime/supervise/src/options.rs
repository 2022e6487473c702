//! What the supervisor is told on its command line.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The supervisor's command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which sandbox; for people who read the process list.
    pub(crate) sandbox: String,
    /// The sandbox's folder in the run-dir; becomes the working directory.
    pub(crate) dir: PathBuf,
    /// The OCI runtime's program.
    pub(crate) runtime: PathBuf,
    /// The OCI runtime's state folder.
    pub(crate) oci_root: PathBuf,
    /// The pod's host name, if it has UTS names of its own.
    pub(crate) hostname: Option<String>,
    /// Which namespaces are the pod's own.
    pub(crate) network: Sharing,
    /// The same for System V IPC and POSIX queues.
    pub(crate) ipc: Sharing,
    /// The same for host and domain name.
    pub(crate) uts: Sharing,
}

/// Whether the pod has a namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Its own.
    Pod,
    /// The host's.
    Host,
}

/// Why a command line is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("option `{0}` is not known")]
    Unknown(String),
    #[error("option `{0}` needs a value")]
    NoValue(String),
    #[error("option `{0}` is missing")]
    Missing(&'static str),
    #[error("option `{option}`: `{value}` is not one of {expected}")]
    Value { option: &'static str, value: String, expected: &'static str },
}

impl Options {
    /// Reads `--name value` pairs.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, OptionsError> {
        const NAMES: [&str; 8] =
            ["--sandbox", "--dir", "--runtime", "--oci-root", "--hostname", "--network", "--ipc", "--uts"];
        for pair in args.chunks(2) {
            let name = pair[0].to_string_lossy().into_owned();
            if !NAMES.contains(&name.as_str()) {
                return Err(OptionsError::Unknown(name));
            }
            if pair.len() < 2 {
                return Err(OptionsError::NoValue(name));
            }
        }
        let find = |name: &str| args.chunks(2).rev().find(|pair| pair[0] == name).map(|pair| &pair[1]);
        let need = |name: &'static str| find(name).ok_or(OptionsError::Missing(name));
        Ok(Self {
            sandbox: need("--sandbox")?.to_string_lossy().into_owned(),
            dir: need("--dir")?.into(),
            runtime: need("--runtime")?.into(),
            oci_root: need("--oci-root")?.into(),
            hostname: find("--hostname").map(|name| name.to_string_lossy().into_owned()),
            network: sharing("--network", find("--network").map(OsString::as_os_str))?,
            ipc: sharing("--ipc", find("--ipc").map(OsString::as_os_str))?,
            uts: sharing("--uts", find("--uts").map(OsString::as_os_str))?,
        })
    }
}

fn sharing(option: &'static str, value: Option<&OsStr>) -> Result<Sharing, OptionsError> {
    match value.map(OsStr::to_string_lossy).as_deref() {
        None | Some("pod") => Ok(Sharing::Pod),
        Some("host") => Ok(Sharing::Host),
        Some(other) => Err(OptionsError::Value { option, value: other.to_owned(), expected: "pod, host" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, OptionsError> {
        Options::parse(&text.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn namespaces_are_the_pods_own_unless_said_otherwise() {
        let options = parse("--sandbox s --dir /d --runtime /r --oci-root /o --network host").unwrap();
        assert_eq!((options.network, options.ipc, options.hostname), (Sharing::Host, Sharing::Pod, None));
    }

    #[test]
    fn each_mistake_is_named() {
        let base = "--sandbox s --dir /d --runtime /r --oci-root /o";
        for (text, expected) in [
            ("--dir /d --runtime /r --oci-root /o".to_owned(), "option `--sandbox` is missing"),
            (format!("{base} --ipc both"), "option `--ipc`: `both` is not one of pod, host"),
            (format!("{base} --ipc"), "option `--ipc` needs a value"),
            (format!("{base} --colour red"), "option `--colour` is not known"),
        ] {
            assert_eq!(parse(&text).unwrap_err().to_string(), expected);
        }
    }
}
