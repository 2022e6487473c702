//! Who a credential says somebody is: signed tokens (JWT, RFC 7519), the keys that sign them, and what service accounts' tokens claim.
//!
//! ```text
//!  text ──► Unverified (jws) ──keys──► claims ──clock──► in time ──objects──► User
//! ```
//!
//! Pure: no I/O, no clock, no store. The caller gives the time and the objects that a token is bound to.
//!
//! What it leaves to others: where tokens come from, where keys are kept, what the user may do.

mod der; // as much of the encoding of keys and certificates as is needed

pub mod account; // what a service account's token claims, and whether that still holds
pub mod bootstrap; // tokens with which nodes join
pub mod certificate; // what a request for a certificate says, and the certificate
pub mod claims; // the claims that every token has
pub mod front_proxy; // what a proxy says of who asks
pub mod jwk; // public keys as JSON, both ways
pub mod jws; // a signature over claims
pub mod key; // keys from files
pub mod oidc; // tokens of other issuers
pub mod request; // what becomes of a TokenRequest
pub mod seen; // tokens whose signature was checked before
pub mod token_file; // tokens in a file

mod user; // who it is

pub use user::User;
