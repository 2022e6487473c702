//! The words that host and guest share: the plan that the host puts into the guest, and the reports that come back.
//!
//! Both are sequences of frames in one format ([`frame`]), so that there is one codec, and it is tested once.

pub mod frame; // a tag and fields, out of and into bytes
pub mod plan; // what the guest shall do
pub mod report; // what it says about it

/// Where the host puts the plan, in the guest.
pub const PLAN: &str = "/.vm/plan";
/// Where the disk is mounted, if there is one; `TMPDIR` says so to commands.
pub const SCRATCH: &str = "/scratch";
/// The serial port that reports leave by. The first one is the kernel's console.
pub const REPORTS: &str = "/dev/ttyS1";
