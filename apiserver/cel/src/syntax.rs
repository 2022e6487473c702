//! Text to tree.

pub(crate) mod ast; // what comes out
mod literal; // what constants stand for
mod macros; // calls that become other expressions
mod parse; // tokens to nodes
mod token; // characters to tokens

pub(crate) use parse::parse;
