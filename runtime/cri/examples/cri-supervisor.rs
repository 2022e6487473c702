//! The supervisor as a program of its own, as the tests of this crate start it; `skiff-oci supervise` is the same.

use std::process::ExitCode;

fn main() -> ExitCode {
    skiff_supervise::main(std::env::args_os().skip(2).collect())
}
