//! What a registry answered.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Digest, Platform, Tag, Time};

/// What is remembered of the last answer for a tag, to ask conditionally the next time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// The digest that the tag had.
    pub digest: Digest,
    /// The answer's `ETag`, verbatim, if it may be sent back in `If-None-Match`.
    pub etag: Option<String>,
}

/// A tag resolved to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What the tag points to now.
    pub digest: Digest,
    /// To be given back at the next check.
    pub cached: Cached,
    /// The registry answered 304: nothing was transferred.
    pub not_modified: bool,
}

/// What is remembered of the last list of tags, to ask conditionally the next time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedTags {
    /// The answer's `ETag`, verbatim. Kept only of a list that came in one answer: of several, the others could change
    /// without the first.
    pub etag: String,
}

/// The tags of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagList {
    /// The same as when `CachedTags` was made: nothing was transferred.
    Unchanged,
    /// All of them.
    Listed {
        /// Sorted by their bytes, each once.
        tags: Vec<Tag>,
        /// To be given back at the next check, if the registry offers it.
        cached: Option<CachedTags>,
    },
}

/// What a manifest or index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDetails {
    /// The digest of the document itself (index or manifest).
    pub digest: Digest,
    /// Platforms and their manifests; attestation children are left out. A plain manifest has one entry,
    /// whose platform is read from its config and may be unknown.
    pub platforms: Vec<(Option<Platform>, Digest)>,
}

/// What a registry says is left of its rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Requests allowed in a window.
    pub limit: Option<u64>,
    /// Requests left of it.
    pub remaining: Option<u64>,
    /// Length of the window in seconds.
    pub window_seconds: Option<u64>,
    /// When the window ends, in seconds from `at`, if the registry says so.
    #[serde(default)]
    pub resets_seconds: Option<u64>,
    /// Looks at a tag count as well, and not only pulls.
    #[serde(default)]
    pub looks_count: bool,
    /// When the registry said so.
    pub at: Time,
}

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A password or access token, sent with the user's name.
    Password,
    /// An OAuth2 refresh token, to be exchanged and not sent as a password.
    IdentityToken,
    /// A bearer token, sent to the registry as it is.
    RegistryToken,
}

/// Who we are to a registry. `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user's name; empty for a token without one.
    pub username: String,
    /// Password, access token, identity token or registry token.
    pub secret: SecretString,
    /// How the secret is used.
    pub kind: SecretKind,
    /// Where they come from, for messages: "the configuration", "/root/.docker/config.json".
    pub origin: String,
}

/// A manifest that says something about another: a signature, an attestation, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// What it is, if it says so.
    pub artifact_type: Option<String>,
}
