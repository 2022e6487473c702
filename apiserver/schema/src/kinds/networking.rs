//! The group `networking.k8s.io`.

pub(super) mod cidr;
mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] =
    &[&ingress::ROW, &ingress_class::ROW, &ip_address::ROW, &network_policy::ROW, &service_cidr::ROW];
