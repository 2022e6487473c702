//! The OCI runtime: the command line of runc over one program with one thread.
//!
//! A command reads config.json twice ([`spec`]), decides ([`plan`]), and lets parent and first process act ([`init`]). Every
//! privileged operation is a named step ([`steps`]). What it leaves to others: images, networks, stdio, and when to start
//! what. Left out on purpose: checkpoint and restore (each of their doors has been an escape); who asks for them is refused by
//! the command's name. What it can do it says itself (`features`), and each clause of the specification has a row in
//! `tests/conformance`.

mod cgroup; // limits and membership
mod cli; // words to options
mod cmd; // one file per command
mod error; // operation, operand, reason
#[cfg(test)]
mod fuzz; // chance for tests
mod hooks; // programs of the engine
mod id; // container ids, process identity
mod inherited; // what callers leave to us
mod init; // parent, first process, handshake
mod kernfs; // values for the kernel
mod mutant; // old mistakes, for tests only
mod net; // interfaces that move in
mod plan; // decisions without I/O
mod rdt; // classes of cache and memory bandwidth
mod report; // what people and engines read
mod rootfs; // the file tree
mod seal; // our own file out of reach
mod seccomp; // profile to program
mod spec; // as written, as meant
mod state; // what is remembered
mod steps; // names and clauses
mod time; // RFC 3339

use std::ffi::OsString;
use std::process::ExitCode;

/// One container's worth of memory in a few chunks.
#[global_allocator]
static HEAP: skiff_sys::heap::Heap = skiff_sys::heap::Heap::new();

/// What a shell says of a program that died of SIGPIPE.
const CLOSED: u8 = 141;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == "supervise") {
        if let Err(error) = inherited::forget() {
            report::failure(&cli::Words::default(), &error.to_string());
            return ExitCode::FAILURE;
        }
        return skiff_supervise::main(words.into_iter().skip(1).collect());
    }
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let invocation = match cmd::read(&words) {
        Ok(invocation) => invocation,
        Err(error) => {
            report::failure(&cli::Words::default(), &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    match cmd::run(&invocation) {
        Ok(code) => ExitCode::from(code),
        Err(error::Error::Closed) => ExitCode::from(CLOSED),
        Err(error) => {
            report::failure(&invocation.global, &error.to_string());
            invocation.failure_code()
        }
    }
}
