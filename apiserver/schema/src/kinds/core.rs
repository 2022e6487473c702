//! The core group.

mod config_map;
mod endpoints;
mod event;
mod namespace;
mod node;
mod pod;
mod secret;
mod service;
mod service_account;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[
    &config_map::ROW,
    &endpoints::ROW,
    &event::ROW,
    &namespace::ROW,
    &node::ROW,
    &pod::ROW,
    &secret::ROW,
    &service::ROW,
    &service_account::ROW,
];
