//! Flags of etcd, and their variables, that `skiff store serve` knows and refuses: with a sentence, so that nobody believes
//! they work.

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

/// Flags that share a reason.
type Reason = (&'static str, &'static [&'static str]);

const REASONS: &[Reason] = &[
    (
        "this store is one member and has no peers; for a cluster run etcd, which our API server takes with --etcd-servers",
        &[
            "listen-peer-urls",
            "initial-advertise-peer-urls",
            "initial-cluster",
            "initial-cluster-state",
            "initial-cluster-token",
            "discovery",
            "discovery-srv",
            "discovery-proxy",
            "discovery-fallback",
            "discovery-srv-name",
            "discovery-token",
            "discovery-endpoints",
            "heartbeat-interval",
            "election-timeout",
            "initial-election-tick-advance",
            "peer-cert-file",
            "peer-key-file",
            "peer-trusted-ca-file",
            "peer-client-cert-auth",
            "peer-auto-tls",
            "peer-cert-allowed-cn",
            "peer-cert-allowed-hostname",
            "peer-crl-file",
            "peer-skip-client-san-verification",
            "strict-reconfig-check",
            "pre-vote",
            "force-new-cluster",
            "proxy",
            "experimental-initial-corrupt-check",
            "experimental-corrupt-check-time",
        ],
    ),
    (
        "the log is a file in the data folder, beside the database, which takes over from it by itself",
        &[
            "wal-dir",
            "snapshot-count",
            "max-snapshots",
            "max-wals",
            "experimental-snapshot-catchup-entries",
            "backend-batch-interval",
            "backend-batch-limit",
            "backend-bbolt-freelist-type",
        ],
    ),
    ("every write is durable before it is answered", &["unsafe-no-fsync"]),
    (
        "users and roles cannot be enabled; ask clients for certificates with --trusted-ca-file",
        &["auth-token", "auth-token-ttl", "bcrypt-cost", "client-cert-allowed-hostname", "client-crl-file"],
    ),
    (
        "TLS 1.2 and 1.3 are served with a certificate of yours, with rustls' choice of ciphers",
        &["auto-tls", "self-signed-cert-validity", "cipher-suites", "tls-min-version", "tls-max-version"],
    ),
    (
        "plain HTTP serves probes, the version and metrics on the client addresses, and nothing else",
        &[
            "cors",
            "host-whitelist",
            "enable-v2",
            "enable-grpc-gateway",
            "enable-pprof",
            "metrics",
            "listen-metrics-urls",
            "listen-client-http-urls",
            "experimental-enable-distributed-tracing",
        ],
    ),
    (
        "the log goes to stderr; -v, -vv or RUST_LOG say how much of it",
        &[
            "logger",
            "log-outputs",
            "log-level",
            "log-format",
            "enable-log-rotation",
            "log-rotation-config-json",
            "debug",
        ],
    ),
    ("give flags, there is no file for them", &["config-file"]),
    (
        "the limit is not adjustable here",
        &[
            "max-concurrent-streams",
            "grpc-keepalive-min-time",
            "grpc-keepalive-interval",
            "grpc-keepalive-timeout",
            "socket-reuse-port",
            "socket-reuse-address",
            "experimental-compaction-batch-limit",
            "experimental-compaction-sleep-interval",
            "experimental-enable-lease-checkpoint",
            "experimental-warning-apply-duration",
            "experimental-bootstrap-defrag-threshold-megabytes",
        ],
    ),
];

/// None of them was given, or parsing failed.
#[derive(Debug, Clone)]
pub(crate) struct RefusedFlags;

fn flags() -> impl Iterator<Item = (&'static str, &'static str)> {
    REASONS.iter().flat_map(|(reason, flags)| flags.iter().map(move |flag| (*flag, *reason)))
}

/// What etcd reads when the flag is not given.
fn variable(flag: &str) -> String {
    format!("ETCD_{}", flag.replace('-', "_").to_uppercase())
}

impl FromArgMatches for RefusedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match flags().find(|(flag, _)| matches.contains_id(flag) || std::env::var_os(variable(flag)).is_some()) {
            None => Ok(Self),
            Some((flag, reason)) => {
                let text = format!("--{flag} ({}) is not for this store: {reason}\n", variable(flag));
                Err(clap::Error::raw(ErrorKind::InvalidValue, text))
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|_| ())
    }
}

impl Args for RefusedFlags {
    fn augment_args(command: Command) -> Command {
        // With a value or without one: which of them take one is etcd's business.
        let arg = |flag: &'static str| Arg::new(flag).long(flag).num_args(0..=1).hide(true);
        command.args(flags().map(|(flag, _)| arg(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::Parser;

    fn refusal(words: &[&str]) -> Option<String> {
        let words = ["skiff", "store", "serve"].iter().chain(words);
        Cli::try_parse_from(words).err().map(|error| error.to_string())
    }

    #[test]
    fn what_does_not_work_is_refused_with_a_reason() {
        assert_eq!(refusal(&["--data-dir", "x", "--max-txn-ops", "10240"]), None);
        for words in
            [&["--initial-cluster", "a=http://b"][..], &["--initial-cluster=a=http://b"], &["--unsafe-no-fsync"]]
        {
            let text = refusal(words).unwrap();
            assert!(text.contains(") is not for this store: "), "{text}");
        }
        assert_eq!(refusal(&["--name", "m1", "--advertise-client-urls", "http://a:2379,https://b:2379"]), None);
        assert!(refusal(&["--no-such-flag"]).unwrap().contains("unexpected argument"));
    }
}
