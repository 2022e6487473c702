//! Runs a suite in a virtual machine: another kernel, another cgroup layout, and nothing of the host's at stake.
//!
//! A guest is a kernel, an initramfs that is made here from files of the host, and a suite: a list of commands. Process 1 of
//! the guest (`skiff-vm-init`) runs the commands and reports over a serial port. The machine is emulated in software, so it
//! runs wherever QEMU does, about ten times slower than its host.
//!
//! What it leaves to others: where kernels come from (`tests/peers`), and what a suite means.

mod archive; // the files as the kernel unpacks them
mod disk; // the guest's disk, and a log of its writes
mod elf; // the little we read from ELF files
mod error; // why a suite could not be run
mod files; // what the guest finds: programs with their libraries
mod guest; // the description of a guest, and its run
mod kernel; // which kernel, and its modules in order
mod machine; // one QEMU process and its serial ports
mod outcome; // what came of it
mod replay; // disks as a power failure may leave them
mod watch; // when to give it up
mod writes; // the log of a disk's writes

pub use error::{Error, Limit, Result};
pub use guest::Guest;
pub use kernel::Kernel;
pub use machine::check_qemu;
pub use outcome::{Outcome, Ran};
pub use replay::{Image, Replay};
pub use skiff_vm_init::plan::{Command, Layout};
pub use skiff_vm_init::report::Report;
pub use watch::Limits;
pub use writes::{Entry, WriteLog};
