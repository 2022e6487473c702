//! A whole node with real programs of others on the other side of a seam.
//!
//! They come from Debian 12 and 13, see `tests/peers`; a test whose peer is missing says so and is counted as skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

#[path = "engines/arena.rs"]
#[allow(dead_code, reason = "shared with the runtime's own tests under engines")]
mod arena; // a place of its own for an engine
mod support; // pods, and peers that may be missing

mod engines_cri; // containerd's CRI service over our runtime
mod etcd; // etcdctl at our store, our API server on an etcd
mod images; // what skopeo, buildah and umoci make
mod kubectl; // the clients of both releases
mod kubectl_rows; // every command, one after the other
mod kubectl_streams; // the same where they go on
mod runtimes; // our CRI service over somebody else's OCI runtime
mod store; // saved, restored, checked, moved
