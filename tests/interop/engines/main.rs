//! `skiff-oci` in the place of runc and crun, under real engines: podman, containerd's ctr, docker; each of Debian 12 and 13.
//!
//! One test for each engine, release and group of features. What an engine itself cannot do on this host is skipped with
//! the engine's reason, but only after runc was seen to fail the same way. See `docs/interop.md` for the table.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod arena; // namespaces, cgroups and folders of its own
mod containerd; // ctr run --runc-binary
mod docker; // dockerd --add-runtime
mod docker_life; // what happens to a container of docker's
mod engine; // what podman and docker have in common
mod limits; // what options become, for both
mod podman; // podman --runtime
mod podman_life; // what happens to a container of podman's
mod podman_many; // pods, builds, manifests

/// The runtime under test.
const RUNTIME: &str = env!("CARGO_BIN_EXE_skiff-oci");

/// One test for each pair of a release and a function; the module's `on` brings them together.
macro_rules! on_each {
    ($($release:ident: $arguments:expr),+; $tests:tt) => {
        $($crate::on_each!(@release $release: $arguments; $tests);)+
    };
    (@release $release:ident: $arguments:expr; [$($test:ident),+ $(,)?]) => {
        mod $release {
            $(#[test] fn $test() { super::on($arguments, super::$test); })+
        }
    };
}
pub(crate) use on_each;
