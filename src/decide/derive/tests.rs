//! Tables by pitfall, and properties over any container.

mod pitfalls;
mod properties;
mod stage;
