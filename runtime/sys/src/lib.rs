//! The only crate that says unsafe: the kernel's door.

pub mod pass;
