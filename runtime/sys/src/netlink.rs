//! Netlink: messages and attributes, a socket that exchanges them, and the kernel's reasons for refusing.
//!
//! One encoder serves the three families that we speak: rtnetlink(7), nf_tables and conntrack. A socket belongs to the
//! network namespace that its thread was in when it was opened; [`Socket::open_in`] opens one in another namespace
//! without moving the caller.
//!
//! What it leaves to others: which messages to send.

mod attributes;
pub mod link;
mod message;
mod socket;

pub use attributes::{Attributes, text};
pub use message::Message;
pub use socket::{Answer, Family, Refusal, Reply, Socket};
