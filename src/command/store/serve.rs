//! `skiff store serve`: only the etcd stand-in.

use super::which;
use crate::cli::{CompactionMode, StoreServeArgs};
use crate::command::stop;
use crate::node::{open_store, read};
use crate::out::tell;
use anyhow::{Context, bail};
use skiff_proto::duration;
use skiff_store::etcd::{Listen, Member, ServeOptions, Tls};
use skiff_store::{History, Limits, Options};
use std::time::Duration;

/// How often revisions are counted with `--auto-compaction-mode revision`: etcd's period.
const COUNTED_EVERY: Duration = Duration::from_secs(300);

pub(super) async fn run(args: StoreServeArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let listen = args.listen_client_urls.iter().map(|url| url.parse::<Listen>()).collect::<Result<_, _>>();
    let listen = listen.context("--listen-client-urls")?;
    let member = Member { name: args.name.clone(), client_urls: args.advertise_client_urls.clone() };
    let options = ServeOptions { listen, tls: tls(&args)?, member, ..ServeOptions::default() };
    let defaults = Options::default();
    let quota_bytes = if args.quota_backend_bytes == 0 { defaults.quota_bytes } else { args.quota_backend_bytes };
    let history = history(args.auto_compaction_mode, &args.auto_compaction_retention)
        .with_context(|| format!("--auto-compaction-retention {}", args.auto_compaction_retention))?;
    let progress_interval = args.watch_progress_notify_interval;
    let limits = Limits { txn_ops: args.max_txn_ops, request_bytes: args.max_request_bytes };
    let options_of_store = Options { quota_bytes, history, progress_interval, limits, ..defaults };
    which::refuse_foreign(&args.data_dir)?;
    let store = open_store(&args.data_dir, options_of_store).await?;
    tell!("serving etcd v3 on {}", args.listen_client_urls.join(", "));
    let served = skiff_store::etcd::serve(store.clone(), options, shutdown).await;
    store.close().await;
    served.context("serve")
}

fn tls(args: &StoreServeArgs) -> anyhow::Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&args.cert_file, &args.key_file) else { return Ok(None) };
    let client_ca = args.trusted_ca_file.as_deref().map(read).transpose()?;
    Ok(Some(Tls { certificate: read(certificate)?, key: read(key)?, client_ca }))
}

/// As etcd reads it: revisions, hours, or a duration such as 1h30m; 0 switches compaction off.
fn history(mode: CompactionMode, retention: &str) -> anyhow::Result<History> {
    let number = retention.parse::<u32>();
    Ok(match (mode, number) {
        (_, Ok(0)) => History::All,
        (CompactionMode::Revision, Ok(revisions)) => {
            History::Newest { revisions: revisions.into(), counted_every: COUNTED_EVERY }
        }
        (CompactionMode::Revision, Err(_)) => bail!("want a number of revisions"),
        (CompactionMode::Periodic, Ok(hours)) => History::Within(Duration::from_secs(u64::from(hours) * 3600)),
        (CompactionMode::Periodic, Err(_)) => match duration::parse(retention) {
            Some(Duration::ZERO) => History::All,
            Some(age) => History::Within(age),
            None => bail!("want hours, or a duration such as 1h30m"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_read_as_etcd_reads_it() {
        let periodic = |text| history(CompactionMode::Periodic, text);
        assert_eq!(periodic("0").unwrap(), History::All);
        assert_eq!(periodic("0s").unwrap(), History::All);
        assert_eq!(periodic("5").unwrap(), History::Within(Duration::from_secs(5 * 3600)));
        assert_eq!(periodic("1h30m").unwrap(), History::Within(Duration::from_secs(5400)));
        assert_eq!(periodic("250ms").unwrap(), History::Within(Duration::from_millis(250)));
        let revisions = |text| history(CompactionMode::Revision, text);
        assert_eq!(revisions("0").unwrap(), History::All);
        assert_eq!(revisions("1000").unwrap(), History::Newest { revisions: 1000, counted_every: COUNTED_EVERY });
        for wrong in ["", "h", "5d", "1h30", "-5m", "m5", "99999999999999999999h"] {
            assert!(periodic(wrong).is_err(), "{wrong}");
        }
        assert!(revisions("5m").is_err());
    }
}
