//! The kube-proxy stand-in: services and endpoint slices to one nftables table.
