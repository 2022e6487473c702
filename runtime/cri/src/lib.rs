//! The CRI v1 service over the OCI runtime, images and pod networks.
