//! The only crate that says unsafe: the kernel's door.

pub mod overlay;
pub mod pass;
