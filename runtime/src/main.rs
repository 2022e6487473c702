//! The OCI runtime: the command line of runc.
fn main() {}
