//! Who performs the plan: the runtime as parent, the container's first process as child, and their handshake.

mod child;
mod handshake;
mod joined;
mod keyring;
mod labels;
mod listener;
mod parent;
mod payload;
mod relay;
mod terminal;
pub(crate) mod users;

pub(crate) use joined::{Joining, join};
pub(crate) use keyring::Keyring;
pub(crate) use labels::{check as check_labels, has_selinux};
pub(crate) use parent::{Creation, create, start};
pub(crate) use terminal::connect as connect_console;
