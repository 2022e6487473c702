//! A whole node in a box of its own: the demo, crashes, bad input, traces, every kind of workload.
//!
//! Each test starts its own node and ends with `node.down()`, which looks for leaks on the host; so they run one at a time
//! (`--test-threads=1`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support; // manifests, looks from inside the box, what runs in a container

mod bad_manifest; // what is refused, where, and why
mod bad_surroundings; // folders, ports and ranges that cannot be used
mod claims; // volumes that outlive their pods
mod demo; // what a newcomer sees first
mod devices; // GPUs of a plugin beside the node
mod down; // leaving the host as it was
mod full_disk; // a data folder without room, and with room again
mod gateway; // Gateway API, from its definition on
mod midstart; // kill -9 while pods are starting
mod own_image; // an image of one's own
mod planted; // secrets, and where they must not be
mod restart; // kill -9 with pods running
mod run; // from an image or a folder to an application
mod trace; // from API write to execve

mod autoscale; // as many as are needed
mod client; // get, describe, apply, delete
mod client_streams; // watches, logs, exec
mod lifecycle; // crashes, probes, init containers, grace
mod limits; // what a container may use
mod looks; // who only looks writes nothing
mod names; // names in pods, and who may come to whom
mod nodes; // two of them
mod on_host; // a node without a box
mod services; // addresses and ports, names
mod terms; // a shorter end for the sick, limits of folders, groups, devices
mod users; // pods whose users are their own
mod volumes; // configmaps, secrets, shared folders
mod why;
mod words; // a reader that is gone, a file instead of a terminal
mod workloads; // deployments, jobs, namespaces, owners
