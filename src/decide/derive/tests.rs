//! Tables by pitfall, and properties over any container.

mod places;
mod properties;
mod stage;
mod wishes;
