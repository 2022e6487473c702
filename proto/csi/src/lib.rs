//! The words between a node and drivers: CSI v1 for volumes, DRA v1 and device plugins v1beta1 for devices, and the registration of plugins, generated from the `.proto` files beside this folder.
//!
//! A crate beside `skiff-proto`, because few need it. Nothing here decides anything.

pub mod call; // a channel to a socket, and what a refusal says

/// The Container Storage Interface (<https://github.com/container-storage-interface/spec>).
pub mod csi {
    /// `csi.v1`.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("csi.v1");
    }
}

/// How plugins make themselves known to a kubelet.
pub mod registration {
    /// `pluginregistration`, which is version 1.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("pluginregistration");
    }
}

/// How a kubelet has devices of claims set up.
pub mod dra {
    pub use tonic_prost::ProstCodec;

    /// `k8s.io.kubelet.pkg.apis.dra.v1`; v1beta1 has the same messages.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
    }
}

/// Plugins that count devices and hand them out.
pub mod deviceplugin {
    /// `v1beta1`, under which name alone it is known on the wire.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1beta1 {
        tonic::include_proto!("v1beta1");
    }
}

/// Which container has which devices.
pub mod podresources {
    /// `v1`, under which name alone it is known on the wire.
    #[allow(missing_docs, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("v1");
    }
}
