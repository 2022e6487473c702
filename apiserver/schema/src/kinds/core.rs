//! The core group.

mod component_status;
mod config_map;
mod endpoints;
pub(super) mod event;
mod limit_range;
mod namespace;
mod node;
mod persistent_volume;
pub(super) mod persistent_volume_claim;
mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
mod service;
mod service_account;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[
    &component_status::ROW,
    &config_map::ROW,
    &endpoints::ROW,
    &event::ROW,
    &limit_range::ROW,
    &namespace::ROW,
    &node::ROW,
    &persistent_volume::ROW,
    &persistent_volume_claim::ROW,
    &pod::ROW,
    &pod_template::ROW,
    &replication_controller::ROW,
    &resource_quota::ROW,
    &secret::ROW,
    &service::ROW,
    &service_account::ROW,
];
