//! `skiff store`: flags of etcd, etcdctl and etcdutl.

use super::refused::RefusedFlags;
use crate::duration;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// `skiff store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Serve the etcd v3 API over gRPC
    #[command(after_help = "Example:
  skiff store serve --data-dir /var/lib/etcd --listen-client-urls http://127.0.0.1:2379,unix:///run/etcd.sock")]
    Serve(Box<StoreServeArgs>),
    /// Save, look at and restore whole stores
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Give space that compaction freed back to the disk
    #[command(after_help = "Examples:
  skiff store defrag --endpoints http://127.0.0.1:2379
  skiff store defrag --data-dir /var/lib/skiff/store")]
    Defrag(DefragArgs),
    /// Prove that a store's state equals its history; changes nothing, exits with 1 if it finds anything
    #[command(after_help = "Examples:
  skiff store fsck --data-dir /var/lib/skiff/store
  skiff store fsck --endpoints http://127.0.0.1:2379     of a snapshot of a running server, in the folder for temporary files")]
    Fsck(FsckArgs),
    /// Copy all keys and leases between etcd endpoints and data folders, and compare at the end
    #[command(after_help = "Examples:
  skiff store copy /var/lib/skiff/store http://10.0.0.1:2379,http://10.0.0.2:2379
  skiff store copy https://10.0.0.1:2379 ./moved --cacert ca.pem --cert client.pem --key client-key.pem")]
    Copy(CopyArgs),
    /// Show what happens in a store, again and again
    #[command(after_help = "Examples:
  skiff store top --endpoints http://127.0.0.1:2379
  skiff store top --once -o json")]
    Top(TopArgs),
}

/// `skiff store snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save the whole store to a file
    #[command(after_help = "Examples:
  skiff store snapshot save backup.db --endpoints http://127.0.0.1:2379
  skiff store snapshot save backup.db --data-dir /var/lib/skiff/store")]
    Save(SnapshotSaveArgs),
    /// Make a data folder of a saved file
    #[command(after_help = "Example:
  skiff store snapshot restore backup.db --data-dir /var/lib/skiff/store")]
    Restore(SnapshotRestoreArgs),
    /// Prove a saved file whole and say what it holds
    #[command(after_help = "Example:
  skiff store snapshot status backup.db -o json")]
    Status(SnapshotStatusArgs),
}

/// What is counted to know which history to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompactionMode {
    /// Its age
    Periodic,
    /// Its revisions
    Revision,
}

/// For scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FormArgs {
    /// Print the result for a script instead of a person
    #[arg(short, long, value_enum, visible_short_alias = 'w', visible_alias = "write-out", value_name = "FORM")]
    pub(crate) output: Option<Form>,
}

/// Flags of etcd, or its variables.
#[derive(Debug, Args)]
pub(crate) struct StoreServeArgs {
    /// Folder of the database
    #[arg(long, env = "ETCD_DATA_DIR", default_value = "default.etcd", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where clients connect: http://, https:// or unix:// (may be repeated or separated by commas)
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        default_value = "http://127.0.0.1:2379",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) listen_client_urls: Vec<String>,
    /// What the member list calls this member
    #[arg(long, env = "ETCD_NAME", default_value = "default", value_name = "NAME")]
    pub(crate) name: String,
    /// Where the member list says that clients connect, if elsewhere than --listen-client-urls (may be repeated or separated by commas)
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_delimiter = ',', value_parser = advertised, value_name = "URL")]
    pub(crate) advertise_client_urls: Vec<String>,
    /// Serving certificate (PEM), for https://
    #[arg(long, env = "ETCD_CERT_FILE", requires = "key_file", value_name = "FILE")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, env = "ETCD_KEY_FILE", requires = "cert_file", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Ask clients for a certificate of this authority (PEM)
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE", requires = "cert_file", value_name = "FILE")]
    pub(crate) trusted_ca_file: Option<PathBuf>,
    /// The same, said once more as etcd wants it
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set, requires_if("true", "trusted_ca_file"), value_name = "BOOL")]
    pub(crate) client_cert_auth: bool,
    /// Refuse writes when the database reaches this size; 0: 2 GiB
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 0, value_name = "BYTES")]
    pub(crate) quota_backend_bytes: u64,
    /// How --auto-compaction-retention is meant
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", value_enum, default_value_t = CompactionMode::Periodic, value_name = "MODE")]
    pub(crate) auto_compaction_mode: CompactionMode,
    /// History to keep: 5 (hours) or 30m if periodic, a number of revisions if revision; 0: all of it
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "0", value_name = "RETENTION")]
    pub(crate) auto_compaction_retention: String,
    /// Steps that a transaction may have
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128, value_name = "NUMBER")]
    pub(crate) max_txn_ops: usize,
    /// Bytes that a request may have
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 3 << 19, value_name = "BYTES")]
    pub(crate) max_request_bytes: usize,
    /// How often an idle watch that asked for it is told the revision
    #[arg(long, env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", visible_alias = "experimental-watch-progress-notify-interval", default_value = "5s", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) watch_progress_notify_interval: Duration,
    #[command(flatten)]
    pub(crate) refused: RefusedFlags,
}

/// A client URL as etcd takes it: nobody listens on it, so it may have a name for a host.
fn advertised(url: &str) -> Result<String, String> {
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some(("unix" | "unixs", rest)) if !rest.is_empty() => return Ok(url.to_owned()),
        _ => return Err("want http://, https:// or unix://".to_owned()),
    };
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(url.to_owned()),
        _ => Err("want HOST:PORT after the scheme, and no path".to_owned()),
    }
}

/// TLS towards an etcd, in the words of etcdctl.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientTlsArgs {
    /// The server's authority (PEM), for https://
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Our certificate (PEM), if the server asks for one
    #[arg(long, env = "ETCDCTL_CERT", requires = "key", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, env = "ETCDCTL_KEY", requires = "cert", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// Which store: one that is served, or one at rest.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhichArgs {
    /// Servers: http://, https:// or unix:// (may be repeated or separated by commas)
    #[arg(
        long,
        env = "ETCDCTL_ENDPOINTS",
        default_value = "http://127.0.0.1:2379",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) endpoints: Vec<String>,
    /// A data folder that nobody serves, instead of a server
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: ClientTlsArgs,
    /// How long a short request may take; long work is bounded by the same time of silence
    #[arg(long, default_value = "5s", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) command_timeout: Duration,
}

/// `skiff store snapshot save`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotSaveArgs {
    /// The file; one that exists is replaced when the new one is whole
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

/// `skiff store snapshot restore`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotRestoreArgs {
    /// A file that `snapshot save` or `etcdctl snapshot save` saved, from a store of ours or from an etcd
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The folder, in which there must be no store yet
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

/// `skiff store snapshot status`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotStatusArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

/// `skiff store defrag`.
#[derive(Debug, Args)]
pub(crate) struct DefragArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

/// `skiff store fsck`.
#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

/// `skiff store copy`.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Endpoints (http://, https://, unix://; separated by commas) or a data folder that nobody serves
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The same; a folder is made
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Only keys that begin so
    #[arg(long, default_value = "", value_name = "PREFIX")]
    pub(crate) prefix: String,
    /// Write into a target that has keys: equal keys are replaced, others stay
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) tls: ClientTlsArgs,
    /// The target's authority, if not that of --cacert
    #[arg(long, value_name = "FILE")]
    pub(crate) dest_cacert: Option<PathBuf>,
    /// Our certificate for the target, if not that of --cert
    #[arg(long, requires = "dest_key", value_name = "FILE")]
    pub(crate) dest_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, requires = "dest_cert", value_name = "FILE")]
    pub(crate) dest_key: Option<PathBuf>,
    /// How long a request may take
    #[arg(long, default_value = "10s", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) command_timeout: Duration,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

/// `skiff store top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// Look once and end
    #[arg(long)]
    pub(crate) once: bool,
    /// How often to look
    #[arg(long, default_value = "2s", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) interval: Duration,
    /// How many parts of a key make a prefix: 2 are /registry/pods
    #[arg(long, default_value_t = 2, value_name = "PARTS")]
    pub(crate) depth: usize,
    /// How many prefixes to show
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    pub(crate) prefixes: usize,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

#[cfg(test)]
mod tests {
    use super::advertised;

    #[test]
    fn an_advertised_url_has_a_host_and_a_port() {
        for url in ["http://10.0.0.1:2379", "https://store.example:2379", "http://[::1]:2379", "unix:///run/etcd.sock"]
        {
            assert_eq!(advertised(url).as_deref(), Ok(url));
        }
        for wrong in ["", "10.0.0.1:2379", "ftp://a:1", "http://a", "http://:2379", "http://a:2379/", "http://a:x"] {
            assert!(advertised(wrong).is_err(), "{wrong}");
        }
    }
}
