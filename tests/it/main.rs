//! Integration tests.

mod registry;
