//! tagboat
fn main() {}
