//! Scans images: which packages their layers have installed, and which of these a database of vulnerabilities knows.
//!
//! ```text
//! layers ─► layer (which files?) ─► files (which packages?) ─► inventory ─┐
//! OSV's all.zip ─► zip ─► osv ─► database (a folder, by ecosystem) ───────┴─► report
//! ```
//!
//! An inventory is read once of an image, because content does not change; it is compared with the database each time that one changes.
//! Layers and records are hostile: everything that is read has a bound, and nothing of it is executed.
//!
//! What it leaves to others: where blobs lie, who may see findings, when to look again.

pub mod cvss; // how severe?
pub mod database; // the folder
pub mod inventory; // what is installed
pub mod layer; // which files a layer has
pub mod osv; // a record, as it is written and as it is kept
pub mod report; // what was found
pub mod versions; // which is older?

mod files; // which packages a file tells of
mod zip; // the form in which databases come

pub use database::{Database, DatabaseError};
pub use inventory::{Inventory, Package};
pub use report::{Finding, Report, Severity, Suppression};
