//! What clients of etcd rely on, asked of our server and of a real etcd 3.5 with the same expectations.
//!
//! Where both may differ for a reason, the expectation says so by [`server::Server::real`].

#![allow(clippy::unwrap_used)]

mod enums; // numbers without a meaning
mod leases;
mod limits;
mod line; // locks and elections
mod operator; // maintenance, cluster, auth, health
#[path = "../peers/mod.rs"]
mod peers;
mod pieces; // of a long range
mod probes; // over plain HTTP
mod server;
mod watches;
mod web; // what a browser can send

use peers::{ours_over, peer, real_etcd_with};
use redb::backends::InMemoryBackend;
use server::Server;
use skiff_store::{Options, Store};

macro_rules! on_both {
    ($($name:ident: $check:path,)*) => {
        mod ours {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let [database, log] = [(); 2].map(|()| super::InMemoryBackend::new());
                let store = super::Store::open_disks(database, log, super::Options::default()).unwrap();
                let ours = super::ours_over(tempfile::tempdir().unwrap(), store).await;
                $check(&super::Server::connect(&ours.url, false).await).await;
            })*
        }
        mod etcd {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(program) = super::peer("etcd-3.5", "/nonexistent") else { return };
                let etcd = super::real_etcd_with(&program, &["--unsafe-no-fsync"]).await;
                $check(&super::Server::connect(&etcd.url, true).await).await;
            })*
        }
    };
}

on_both! {
    a_watch_begins_where_it_is_told: crate::watches::starts,
    a_watch_shows_what_was_asked_for: crate::watches::previous_and_filters,
    a_large_revision_comes_in_fragments: crate::watches::fragments,
    progress_is_never_ahead: crate::watches::progress,
    a_stream_has_many_watches: crate::watches::many,
    a_slow_client_loses_nothing: crate::watches::slow,
    leases_are_granted_and_kept: crate::leases::granted,
    leases_end: crate::leases::expiry,
    locks_are_waited_for: crate::line::locks,
    a_lock_without_its_lease_is_lost: crate::line::lost,
    elections_have_one_leader: crate::line::elections,
    comparisons_are_known_or_refused: crate::enums::compares,
    enumerations_are_known_or_refused: crate::enums::others,
    web_pages_write_nothing: crate::web::writes,
    names_of_others_are_refused: crate::web::rebinding,
    leases_are_listed_by_their_ends: crate::leases::listed,
    answers_inside_have_a_revision_only: crate::limits::inside,
    large_requests_are_refused: crate::limits::sizes,
    operators_are_answered: crate::operator::answers,
    alarms_are_raised_and_lowered: crate::operator::alarms,
    alarms_are_raised_for_no_member: crate::operator::alarms_of_nobody,
    probes_tell_how_it_is: crate::probes::probes,
    figures_have_etcds_names: crate::probes::figures,
}
