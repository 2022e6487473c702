//! The only crate that says unsafe: the kernel's door.
//!
//! One function per meaning, descriptors owned or borrowed, errors as [`nix::errno::Errno`]. What nix offers safely is used
//! from nix by the callers themselves; here is only what it lacks. Needs Linux 5.12 (mount_setattr(2)).

pub mod bpf;
pub mod capability;
pub mod conntrack;
pub mod fd;
pub mod files;
pub mod heap;
pub mod inroot;
pub mod keyring;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod overlay;
pub mod pass;
pub mod pidfd;
pub mod process;
pub mod reap;
pub mod schedule;
pub mod seccomp;
pub mod shared;
mod slim;
pub mod terminal;

mod call;
