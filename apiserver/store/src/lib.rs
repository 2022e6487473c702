//! The etcd stand-in: an MVCC key/value store with watch and leases, and its etcd v3 gRPC service.

pub mod backend;
