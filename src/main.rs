//! A table of contents.
fn main() {}
