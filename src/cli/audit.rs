//! What an API server records, and where: flags of kube-apiserver. And `skiff audit`.

use crate::duration;
use anyhow::{Context, ensure};
use clap::{ArgAction, Args, Subcommand, ValueEnum};
use skiff_apiserver::{Audit, AuditBatch, AuditLimits, AuditLog, AuditMode, AuditWebhook, Rotation};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of what the flags call a megabyte.
const MEGABYTE: u64 = 1024 * 1024;
/// The one version of events that there is.
const VERSION: &str = "audit.k8s.io/v1";

/// `skiff audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Prove that no line of an audit log was changed, taken away or put elsewhere; exits with 1 if one was
    #[command(after_help = "Examples:
  skiff audit verify /var/log/skiff/audit.log
  skiff audit verify audit-2026-01-02T03-04-05.678.log audit.log      old files first
  zcat audit-2026-01-02T03-04-05.678.log.gz | skiff audit verify -
  skiff audit verify audit.log --expect '17 q83…'      the last mark as it was printed before: nothing after it is missing either")]
    Verify(AuditVerifyArgs),
}

/// `skiff audit verify`.
#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// The files, the oldest first; -: standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A line that must be there: number and mark, as an earlier run printed them
    #[arg(long, value_name = "NUMBER MARK")]
    pub(crate) expect: Option<String>,
}

/// When an event goes where it is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Later, through a bounded queue
    Batch,
    /// Before the request goes on
    Blocking,
    /// The same; a request whose arrival cannot be recorded is refused
    BlockingStrict,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line of JSON
    Json,
    /// A line of text
    Legacy,
}

/// What an API server records.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What is recorded")]
pub(crate) struct AuditArgs {
    /// Which requests are recorded, and how much of each (audit.k8s.io/v1 Policy) [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// The file that events are written to; -: standard output
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// For how many days old files stay; 0: for ever
    #[arg(long, default_value_t = 366, value_name = "DAYS")]
    audit_log_maxage: u32,
    /// How many old files stay; 0: all
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    audit_log_maxbackup: usize,
    /// At how many megabytes the file is put aside; 0: never
    #[arg(long, default_value_t = 100, value_name = "MEGABYTES")]
    audit_log_maxsize: u64,
    /// Compress old files
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    audit_log_compress: bool,
    /// How an event is written
    #[arg(long, value_enum, default_value = "json", value_name = "FORMAT")]
    audit_log_format: Format,
    /// The version of events
    #[arg(long, default_value = VERSION, value_name = "VERSION")]
    audit_log_version: String,
    /// When an event is written
    #[arg(long, value_enum, default_value = "blocking", value_name = "MODE")]
    audit_log_mode: Mode,
    /// How many events wait to be written at most, in batch mode
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER")]
    audit_log_batch_buffer_size: usize,
    /// How many events are written together at most, in batch mode
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    audit_log_batch_max_size: usize,
    /// How long an event waits for others, in batch mode; a file is written at once all the same
    #[arg(long, default_value = "0s", value_parser = duration::parse, value_name = "TIME")]
    audit_log_batch_max_wait: Duration,
    /// Make events that are too large smaller
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    audit_log_truncate_enabled: bool,
    /// Bytes of an event: above, it loses its objects; still above, it is dropped
    #[arg(long, default_value_t = 100 << 10, value_name = "BYTES")]
    audit_log_truncate_max_event_size: usize,
    /// Bytes of the events of one batch
    #[arg(long, default_value_t = 10 << 20, value_name = "BYTES")]
    audit_log_truncate_max_batch_size: usize,
    /// A server that events are sent to, and as whom (a kubeconfig)
    #[arg(long, value_name = "FILE")]
    audit_webhook_config_file: Option<PathBuf>,
    /// How long to wait after a batch that did not arrive
    #[arg(long, visible_alias = "audit-webhook-batch-initial-backoff", default_value = "10s", value_parser = duration::parse, value_name = "TIME")]
    audit_webhook_initial_backoff: Duration,
    /// The version of events
    #[arg(long, default_value = VERSION, value_name = "VERSION")]
    audit_webhook_version: String,
    /// When an event is sent
    #[arg(long, value_enum, default_value = "batch", value_name = "MODE")]
    audit_webhook_mode: Mode,
    /// How many events wait to be sent at most, in batch mode
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER")]
    audit_webhook_batch_buffer_size: usize,
    /// How many events go together at most, in batch mode
    #[arg(long, default_value_t = 400, value_name = "NUMBER")]
    audit_webhook_batch_max_size: usize,
    /// How long an event waits for others, in batch mode
    #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "TIME")]
    audit_webhook_batch_max_wait: Duration,
    /// Send only so many batches a second, in batch mode
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    audit_webhook_batch_throttle_enable: bool,
    /// How many batches a second
    #[arg(long, default_value_t = 10.0, value_name = "NUMBER")]
    audit_webhook_batch_throttle_qps: f64,
    /// How many batches at once after a rest
    #[arg(long, default_value_t = 15, value_name = "NUMBER")]
    audit_webhook_batch_throttle_burst: u32,
    /// Make events that are too large smaller
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    audit_webhook_truncate_enabled: bool,
    /// Bytes of an event: above, it loses its objects; still above, it is dropped
    #[arg(long, default_value_t = 100 << 10, value_name = "BYTES")]
    audit_webhook_truncate_max_event_size: usize,
    /// Bytes of the events of one batch
    #[arg(long, default_value_t = 10 << 20, value_name = "BYTES")]
    audit_webhook_truncate_max_batch_size: usize,
}

impl Mode {
    fn read(self) -> AuditMode {
        match self {
            Self::Batch => AuditMode::Batch,
            Self::Blocking => AuditMode::Blocking,
            Self::BlockingStrict => AuditMode::BlockingStrict,
        }
    }
}

impl AuditArgs {
    /// Reads the policy and checks the flags; nothing without a policy, as with kube-apiserver.
    ///
    /// # Errors
    /// The policy or a value is not usable.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Audit>> {
        let (log, webhook) = (self.log()?, self.webhook()?);
        let Some(policy) = &self.audit_policy_file else {
            if log.is_some() || webhook.is_some() {
                tracing::warn!("no --audit-policy-file: no events are recorded");
            }
            return Ok(None);
        };
        let mut audit = Audit::read(policy).context("--audit-policy-file")?;
        (audit.log, audit.webhook) = (log, webhook);
        Ok(Some(audit))
    }

    fn log(&self) -> anyhow::Result<Option<AuditLog>> {
        let Some(path) = self.audit_log_path.clone() else { return Ok(None) };
        check_version("--audit-log-version", &self.audit_log_version)?;
        let batch = AuditBatch {
            events_max: self.audit_log_batch_buffer_size,
            size_max: self.audit_log_batch_max_size,
            wait: self.audit_log_batch_max_wait,
            throttle: None,
        };
        let mode = self.audit_log_mode.read();
        check_batch("log", mode, &batch)?;
        let (event, together) = (self.audit_log_truncate_max_event_size, self.audit_log_truncate_max_batch_size);
        let limits = limits("log", self.audit_log_truncate_enabled, event, together)?;
        let rotation = Rotation {
            bytes_max: self.audit_log_maxsize.saturating_mul(MEGABYTE),
            files_max: self.audit_log_maxbackup,
            days_max: self.audit_log_maxage,
            compress: self.audit_log_compress,
        };
        let legacy = self.audit_log_format == Format::Legacy;
        Ok(Some(AuditLog { path, legacy, mode, batch, limits, rotation }))
    }

    fn webhook(&self) -> anyhow::Result<Option<AuditWebhook>> {
        let Some(config_file) = self.audit_webhook_config_file.clone() else { return Ok(None) };
        check_version("--audit-webhook-version", &self.audit_webhook_version)?;
        let throttle = (self.audit_webhook_batch_throttle_qps, self.audit_webhook_batch_throttle_burst);
        let batch = AuditBatch {
            events_max: self.audit_webhook_batch_buffer_size,
            size_max: self.audit_webhook_batch_max_size,
            wait: self.audit_webhook_batch_max_wait,
            throttle: self.audit_webhook_batch_throttle_enable.then_some(throttle),
        };
        let mode = self.audit_webhook_mode.read();
        check_batch("webhook", mode, &batch)?;
        let (event, together) =
            (self.audit_webhook_truncate_max_event_size, self.audit_webhook_truncate_max_batch_size);
        let limits = limits("webhook", self.audit_webhook_truncate_enabled, event, together)?;
        let initial_backoff = self.audit_webhook_initial_backoff;
        Ok(Some(AuditWebhook { config_file, initial_backoff, mode, batch, limits }))
    }
}

fn check_version(flag: &str, version: &str) -> anyhow::Result<()> {
    ensure!(version == VERSION, "{flag} {version}: invalid group version, allowed versions are {VERSION}");
    Ok(())
}

fn check_batch(plugin: &str, mode: AuditMode, batch: &AuditBatch) -> anyhow::Result<()> {
    if mode != AuditMode::Batch {
        return Ok(());
    }
    ensure!(batch.events_max > 0, "invalid audit batch {plugin} buffer size 0, must be a positive number");
    ensure!(batch.size_max > 0, "invalid audit batch {plugin} max batch size 0, must be a positive number");
    if let Some((rate, burst)) = batch.throttle {
        ensure!(rate > 0.0, "invalid audit batch {plugin} throttle QPS {rate}, must be a positive number");
        ensure!(burst > 0, "invalid audit batch {plugin} throttle burst 0, must be a positive number");
    }
    Ok(())
}

fn limits(plugin: &str, on: bool, event: usize, batch: usize) -> anyhow::Result<Option<AuditLimits>> {
    ensure!(event > 0, "invalid audit truncate {plugin} max event size 0, must be a positive number");
    ensure!(
        batch >= event,
        "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
    );
    Ok(on.then_some(AuditLimits { event_bytes: event, batch_bytes: batch }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        audit: AuditArgs,
    }

    fn args(words: &[&str]) -> AuditArgs {
        Line::try_parse_from([&["program"], words].concat()).unwrap().audit
    }

    #[test]
    fn flags_are_those_of_kubernetes() {
        let log = args(&["--audit-log-path=-", "--audit-log-mode=blocking-strict", "--audit-log-maxsize=5"]);
        let log = log.log().unwrap().unwrap();
        assert_eq!(
            (log.mode, log.rotation.bytes_max, log.rotation.days_max),
            (AuditMode::BlockingStrict, 5 << 20, 366)
        );
        let webhook = args(&["--audit-webhook-config-file=x", "--audit-webhook-truncate-enabled"]).webhook().unwrap();
        let webhook = webhook.unwrap();
        assert_eq!(
            (webhook.mode, webhook.batch.throttle, webhook.limits.is_some()),
            (AuditMode::Batch, Some((10.0, 15)), true)
        );
        for (words, wrong) in [
            (&["--audit-log-path=-", "--audit-log-version=v2"][..], "--audit-log-version v2"),
            (&["--audit-log-path=-", "--audit-log-mode=batch", "--audit-log-batch-buffer-size=0"], "buffer size 0"),
            (&["--audit-log-path=-", "--audit-log-truncate-max-batch-size=1"], "max batch size 1"),
        ] {
            assert!(args(words).log().unwrap_err().to_string().contains(wrong), "{words:?}");
        }
        assert!(args(&["--audit-log-path=-"]).read().unwrap().is_none(), "without a policy nothing is recorded");
    }
}
