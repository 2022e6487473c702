//! Dockerfiles: from text to an image of the store, without a daemon.
//!
//! ```text
//! text ─► lines ─► words, expand ─► instruction ─► dockerfile (stages) ─► stage (what each step does to the configuration)
//!                                                                           │
//!                      ignore, context (files) ──────────────────────► make (layers, cache) ──► container (RUN)
//! ```
//!
//! Everything above the line is pure. [`make`](make::make) works on an [`ImageStore`](skiff_image::ImageStore): a step that changes files does
//! so over the image of the step before, and what it wrote becomes a layer. RUN executes an OCI runtime and links none.
//! What it leaves to others: pulling base images ([`Bases`]), and words for people.

mod error;
mod expand; // what does $NAME stand for?
mod instruction; // what does a line ask for?
mod lines; // which lines are one?
mod pattern; // which names does *.txt mean?
mod words; // where does a word end?

mod dockerfile; // which stages are there?
mod ignore; // what does .dockerignore keep out?
mod stage; // what does a step do to the configuration?

mod container; // where RUN runs
mod context; // which files are copied?
mod make; // steps to layers

pub use container::Network;
pub use dockerfile::Dockerfile;
pub use error::BuildError;
pub use make::{Bases, Options, make};
