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
    /// Who the pod's users are on the host, if the pod has users of its own.
    pub(crate) users: Option<Maps>,
}

/// Both maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) uids: Map,
    pub(crate) gids: Map,
}

/// Lines of `uid_map` or `gid_map` (user_namespaces(7)): first id inside, first id outside, count. One of them maps 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map(Vec<[u32; 3]>);

impl Map {
    /// Reads `inside:outside:count,…`.
    fn parse(text: &str) -> Option<Self> {
        let line = |text: &str| {
            let numbers = text.split(':').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()?;
            <[u32; 3]>::try_from(numbers).ok().filter(|line| line[2] > 0)
        };
        let lines = text.split(',').map(line).collect::<Option<Vec<_>>>()?;
        lines.iter().any(|line| line[0] == 0).then_some(Self(lines))
    }

    /// As the kernel reads it.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}\n")).collect()
    }

    /// Who 0 is outside.
    pub(crate) fn root(&self) -> u32 {
        self.0.iter().find(|line| line[0] == 0).map_or(0, |line| line[1])
    }
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
        const NAMES: [&str; 10] = [
            "--sandbox",
            "--dir",
            "--runtime",
            "--oci-root",
            "--hostname",
            "--network",
            "--ipc",
            "--uts",
            "--uids",
            "--gids",
        ];
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
            users: maps(find("--uids").map(OsString::as_os_str), find("--gids").map(OsString::as_os_str))?,
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

fn maps(uids: Option<&OsStr>, gids: Option<&OsStr>) -> Result<Option<Maps>, OptionsError> {
    let map = |option: &'static str, value: Option<&OsStr>| {
        let value = value.ok_or(OptionsError::Missing(option))?.to_string_lossy();
        let expected = "inside:outside:count, with 0 inside";
        Map::parse(&value).ok_or_else(|| OptionsError::Value { option, value: value.into_owned(), expected })
    };
    match (uids, gids) {
        (None, None) => Ok(None),
        _ => Ok(Some(Maps { uids: map("--uids", uids)?, gids: map("--gids", gids)? })),
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
        assert_eq!(options.users, None);
    }

    #[test]
    fn maps_are_read_as_the_kernel_reads_them() {
        let base = "--sandbox s --dir /d --runtime /r --oci-root /o";
        let options = parse(&format!("{base} --uids 5:9:1,0:65536:5 --gids 0:131072:65536")).unwrap();
        let maps = options.users.unwrap();
        assert_eq!((maps.uids.text().as_str(), maps.uids.root()), ("5 9 1\n0 65536 5\n", 65536));
        assert_eq!(maps.gids.root(), 131_072);
    }

    #[test]
    fn each_mistake_is_named() {
        let base = "--sandbox s --dir /d --runtime /r --oci-root /o";
        for (text, expected) in [
            ("--dir /d --runtime /r --oci-root /o".to_owned(), "option `--sandbox` is missing"),
            (format!("{base} --ipc both"), "option `--ipc`: `both` is not one of pod, host"),
            (format!("{base} --ipc"), "option `--ipc` needs a value"),
            (format!("{base} --colour red"), "option `--colour` is not known"),
            (format!("{base} --uids 0:65536:65536"), "option `--gids` is missing"),
            (
                format!("{base} --uids 1:65536:65536 --gids 0:1:1"),
                "option `--uids`: `1:65536:65536` is not one of inside:outside:count, with 0 inside",
            ),
        ] {
            assert_eq!(parse(&text).unwrap_err().to_string(), expected);
        }
    }
}
