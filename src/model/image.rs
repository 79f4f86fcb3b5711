//! Image references: registry, repository, tag, digest, platform.

use std::fmt;
use std::str::FromStr;

use oci_distribution::Reference;
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
    fn from_str(s: &str) -> Result<Self, InvalidReference> {
        let bad = |problem: String| InvalidReference { what: "image reference", given: s.to_owned(), problem };
        let parsed = Reference::try_from(s).map_err(|e| bad(e.to_string()))?;
        let repository = Repository { registry: parsed.registry().to_owned(), path: parsed.repository().to_owned() };
        let version = match (parsed.digest(), parsed.tag()) {
            (Some(digest), _) => Version::Digest(digest.parse()?),
            (None, Some(tag)) => Version::Tag(tag.parse()?),
            (None, None) => Version::Tag(Tag("latest".to_owned())),
        };
        Ok(Self { repository, version })
    }
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
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised_as_docker_does() {
        for (given, wanted) in [
            ("shop", "docker.io/library/shop:latest"),
            ("acme/shop:1", "docker.io/acme/shop:1"),
            ("app:42", "docker.io/library/app:42"),
            ("localhost:5000/shop:v1", "localhost:5000/shop:v1"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
            ("ghcr.io/acme/shop", "ghcr.io/acme/shop:latest"),
        ] {
            assert_eq!(given.parse::<ImageRef>().unwrap().to_string(), wanted, "{given}");
        }
    }

    #[test]
    fn a_digest_pins_even_beside_a_tag() {
        let hex = "a".repeat(64);
        let image: ImageRef = format!("shop:v1@sha256:{hex}").parse().unwrap();
        assert_eq!(image.to_string(), format!("docker.io/library/shop@sha256:{hex}"));
    }

    #[test]
    fn rubbish_is_refused_by_name() {
        for given in ["", "Shop", "a b", "shop:", "shop@sha256:12", "sh op:latest"] {
            let error = given.parse::<ImageRef>().unwrap_err().to_string();
            assert!(error.contains(&format!("{given:?}")) || error.contains("digest"), "{error}");
        }
        assert!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>().is_err());
        assert!(".x".parse::<Tag>().is_err());
    }
}
