//! Amazon's registries: who we are to AWS, a signed request, and a password for twelve hours.
//!
//! The signature is ours: `aws-sigv4` brings fifteen crates for the forty lines that one POST needs, and `aws-config`
//! many times that. Both parts are held against Amazon's own test suite.

mod ecr;
mod identity;
mod near;
mod profile;
mod signing;

pub use ecr::AwsSettings;
pub(super) use ecr::{Ecr, EcrPublic, ecr_host};
