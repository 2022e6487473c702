//! Figures of the runtime beside those of crun and runc of both Debian releases, and a floor that does only what nobody can
//! leave out: all in one run, interleaved, so that whatever else the machine does is shared by all.
//!
//!     SKIFF_BENCH=1 SKIFF_PEERS=FOLDER cargo test -p skiff-oci --test bench -- --nocapture
//!
//! builds the runtime and the floor as they are shipped (static, small), measures, and prints Markdown tables. Without
//! `SKIFF_BENCH=1` it does nothing: a figure is no test. `SKIFF_BENCH_ROUNDS=N` says how often each thing is done (50).

// A measurement that cannot go on stops.
#![allow(clippy::unwrap_used)]

mod bench {
    pub(super) mod bundle;
    pub(super) mod measure;
    pub(super) mod programs;
    pub(super) mod table;
}

use bench::bundle::Bundle;
use bench::measure::{self, Figures};
use bench::programs::{self, Program};
use bench::table;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::time::Duration;

/// What sporadic starts look like: the kernel's lock for moving between cgroups of version 1 has forgotten the last one.
const IDLE: Duration = Duration::from_millis(250);
const ROUNDS: usize = 50;

#[test]
fn figures() {
    if std::env::var_os("SKIFF_BENCH").is_none() {
        return;
    }
    if programs::profile().is_none() {
        return skiff_harness::skip("podman's seccomp.json is not among the peers: `tests/peers FOLDER` fetches it");
    }
    let rounds = std::env::var("SKIFF_BENCH_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    hide_unified_cgroups();
    let programs = programs::all();
    let bundles: Vec<Bundle> = programs.iter().map(|program| Bundle::new(program.name, &["/bin/true"])).collect();
    let pairs: Vec<(&Program, &Bundle)> = programs.iter().zip(&bundles).collect();
    let mut figures = Figures::default();
    for (title, pause, rounds) in [("back to back", Duration::ZERO, rounds), ("after 250 ms", IDLE, rounds / 2)] {
        measure::runs(&mut figures, title, &pairs, pause, rounds);
        measure::lives(&mut figures, title, &pairs, pause, rounds);
    }
    measure::execs(&mut figures, &programs, rounds);
    for (program, bundle) in &pairs {
        measure::sizes(&mut figures, program, bundle);
    }
    println!("{}", table::all(&figures, &programs));
    println!("{}", table::goals(&figures));
}

/// crun refuses hosts with both versions: in this thread's mounts, and so for all that it starts, there is only one.
fn hide_unified_cgroups() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    if std::path::Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
        umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH).unwrap();
    }
}
