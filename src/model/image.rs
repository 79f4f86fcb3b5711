//! Image references: registry, repository, tag, digest, platform.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A reference, tag or digest that does not have the form that the distribution specification gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: {problem}")]
pub struct InvalidReference {
    /// "image reference", "tag" or "digest".
    pub what: &'static str,
    /// The text as given.
    pub given: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A repository in a registry, normalised as Docker does: `shop` is `docker.io/library/shop`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// The registry as in a reference: `docker.io`, `ghcr.io`, `registry.example.com:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry: `library/shop`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host (and port) that the registry's API answers on; differs from `registry()` for Docker Hub.
    pub fn api_host(&self) -> &str {
        if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry }
    }
}

impl FromStr for Repository {
    type Err = InvalidReference;
    fn from_str(s: &str) -> Result<Self, InvalidReference> {
        let image: ImageRef = s.parse()?;
        Ok(image.repository)
    }
}

impl TryFrom<String> for Repository {
    type Error = InvalidReference;
    fn try_from(s: String) -> Result<Self, InvalidReference> {
        s.parse()
    }
}

impl From<Repository> for String {
    fn from(r: Repository) -> Self {
        r.to_string()
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (distribution-spec, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidReference;
    fn from_str(s: &str) -> Result<Self, InvalidReference> {
        let bytes = s.as_bytes();
        let first = bytes.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let rest = bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
        if first && rest && bytes.len() <= 128 {
            return Ok(Self(s.to_owned()));
        }
        Err(InvalidReference {
            what: "tag",
            given: s.to_owned(),
            problem: "a tag has 1 to 128 letters, digits, '_', '.' or '-', and does not begin with '.' or '-'".into(),
        })
    }
}

impl TryFrom<String> for Tag {
    type Error = InvalidReference;
    fn try_from(s: String) -> Result<Self, InvalidReference> {
        s.parse()
    }
}

impl From<Tag> for String {
    fn from(t: Tag) -> Self {
        t.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A content digest, `sha256:` or `sha512:` and lower-case hex (image-spec, "Digests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest as text, algorithm included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes))))
    }

    /// Twelve characters of the hex part, enough for a person to tell two digests apart.
    pub fn short(&self) -> &str {
        let hex = self.0.split_once(':').map_or(self.0.as_str(), |(_, hex)| hex);
        hex.get(..12).unwrap_or(hex)
    }

    /// The tag that stands in for what refers to this digest: `sha256-<hex>`, with cosign's `.sig` for its signatures
    /// (distribution-spec, "Referrers Tag Schema": of the hex part 64 characters at most).
    pub fn stand_in(&self, suffix: &'static str) -> Tag {
        let (algorithm, hex) = self.0.split_once(':').unwrap_or(("sha256", self.0.as_str()));
        Tag(format!("{algorithm}-{}{suffix}", hex.get(..64).unwrap_or(hex)))
    }
}

impl FromStr for Digest {
    type Err = InvalidReference;
    fn from_str(s: &str) -> Result<Self, InvalidReference> {
        let valid = s.split_once(':').is_some_and(|(algorithm, hex)| {
            let length = match algorithm {
                "sha256" => 64,
                "sha512" => 128,
                _ => return false,
            };
            hex.len() == length && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if valid {
            return Ok(Self(s.to_owned()));
        }
        Err(InvalidReference {
            what: "digest",
            given: s.to_owned(),
            problem: "a digest is \"sha256:\" and 64 lower-case hex digits".into(),
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidReference;
    fn try_from(s: String) -> Result<Self, InvalidReference> {
        s.parse()
    }
}

impl From<Digest> for String {
    fn from(d: Digest) -> Self {
        d.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What selects one image in a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// A name that can move.
    Tag(Tag),
    /// The content itself.
    Digest(Digest),
}

/// A repository and a tag or digest in it. Without either, the tag is `latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    /// Where.
    pub repository: Repository,
    /// Which.
    pub version: Version,
}

impl ImageRef {
    /// `repository@digest`.
    pub fn by_digest(repository: &Repository, digest: &Digest) -> Self {
        Self { repository: repository.clone(), version: Version::Digest(digest.clone()) }
    }

    /// `repository:tag`.
    pub fn by_tag(repository: &Repository, tag: &Tag) -> Self {
        Self { repository: repository.clone(), version: Version::Tag(tag.clone()) }
    }
}

impl FromStr for ImageRef {
    type Err = InvalidReference;

    /// The grammar of `distribution/reference`, normalised as Docker does. `oci-distribution` has a parser too, whose
    /// regular expression takes 13 MiB of memory: it is the oracle of the tests instead.
    fn from_str(s: &str) -> Result<Self, InvalidReference> {
        let bad = |problem: &str| InvalidReference {
            what: "image reference",
            given: s.to_owned(),
            problem: problem.to_owned(),
        };
        let (rest, digest) = match s.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (s, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse::<Tag>()?)),
            _ => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path.to_owned()),
            Some(_) => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        // The old name of Docker Hub.
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        if !is_registry(registry) {
            return Err(bad("its registry must be a host name with an optional port"));
        }
        if name.is_empty() || name.len() > 255 || !path.split('/').all(is_component) {
            return Err(bad(
                "a repository has lower-case letters and digits, with '.', '_' or '-' between them, and '/'",
            ));
        }
        let repository = Repository { registry: registry.to_owned(), path };
        let version = match (digest, tag) {
            (Some(digest), _) => Version::Digest(digest),
            (None, Some(tag)) => Version::Tag(tag),
            (None, None) => Version::Tag(Tag("latest".to_owned())),
        };
        Ok(Self { repository, version })
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port.strip_prefix(':')),
            _ => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+` with single dots, one or two underscores, or any number of hyphens in between.
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
    ends && text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// What an image runs on, in Go's words as the image specification uses them: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v6`, `v7`, `v8`; absent where the architecture has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|v| write!(f, "/{v}"))
    }
}

#[cfg(test)]
mod tests;
