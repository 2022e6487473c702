//! The words that Skiff's programs and their peers share, generated from the `.proto` files beside this folder.
//!
//! Nothing here decides anything: messages, clients and server traits, and how a quantity and a duration are read. Field numbers and names are those that the
//! real etcd, kubelet and containerd use, so bytes are interchangeable.

pub mod age; // 5m30s, 2d3h: how long ago, in tables and words
pub mod duration; // 1h30m, 250ms: as Go writes it, on command lines and in messages
pub mod quantity; // 100m, 1.5Gi: a word that every reader of an object needs
pub mod usual; // lists that kubelet, CRI service and admission share

/// etcd v3 (<https://etcd.io/docs/v3.5/learning/api/>).
pub mod etcd {
    /// Every field of every request, `package.Message field`, a line each.
    pub const REQUEST_FIELDS: &str = include_str!(concat!(env!("OUT_DIR"), "/etcd.requests"));

    /// Keys, values and events.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// Users and roles.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod authpb {
        tonic::include_proto!("authpb");
    }
    /// KV, Watch, Lease, Cluster, Maintenance, Auth.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// Lock.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
    /// Election.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
}

/// gRPC's health checking protocol (<https://grpc.io/docs/guides/health-checking/>).
pub mod health {
    /// `grpc.health.v1`.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("grpc.health.v1");
    }
}

/// The Container Runtime Interface, v1 (KEP-2040).
pub mod cri {
    /// Every field of every request, `package.Message field`, a line each.
    pub const REQUEST_FIELDS: &str = include_str!(concat!(env!("OUT_DIR"), "/cri.requests"));

    /// `runtime.v1`.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("runtime.v1");
    }
}

/// Skiff's own API: Kubernetes objects over gRPC.
pub mod api {
    /// `skiff.v1`.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("skiff.v1");
    }
}
