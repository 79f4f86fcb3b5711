//! Memory between runs, in sled: what was seen, what failed, what people want, what was done.
//!
//! All of it may be lost: a database that can't be opened is put aside, loudly, and begun anew; recovery of a swap
//! does not need it. Values are JSON with a format version a tree. This room gives no meaning to what it keeps.

mod open;
mod trees;
mod writer;

pub use trees::SledStore;
