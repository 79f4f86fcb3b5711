//! Who we are to a registry: one file for each source of credentials, and the order in which they are asked.
//!
//! First the configuration (the longest of `ghcr.io/acme/shop`, `ghcr.io/acme`, `ghcr.io` that says who we are), then
//! docker's and podman's files with their helpers, and only when nobody there knows the registry the cloud that its name
//! suggests. What a source says is kept for a part of its life; a source whose answer was refused is asked again.
//! Secrets are `SecretString`s; messages name the source and the user. Nothing here talks to a registry, save Azure's
//! exchange, which is where its credentials come from.

mod aws;
mod azure;
mod docker_file;
mod docker_files;
mod environment;
mod exec;
mod finder;
mod google;
mod helper;
mod keep;
mod lease;
mod password;
mod provider;

pub use aws::AwsSettings;
pub use azure::AzureSettings;
pub use environment::Environment;
pub use exec::ExecSettings;
pub use google::GoogleSettings;
pub use keep::{KeepError, Kept, erase, keep};
pub use provider::{Given, Provider};

pub(super) use finder::{Finder, same_entries};
