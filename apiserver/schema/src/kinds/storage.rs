//! The group `storage.k8s.io`.

mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod shared;
mod storage_class;
mod volume_attachment;
mod volume_attributes_class;

pub(crate) use self::shared::driver_name;
use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[
    &csi_driver::ROW,
    &csi_node::ROW,
    &csi_storage_capacity::ROW,
    &storage_class::ROW,
    &volume_attachment::ROW,
    &volume_attributes_class::ROW,
];
