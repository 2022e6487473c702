//! A small static web server for the demo image.
fn main() {}
