//! Looks for the signatures of a digest, in both of cosign's forms, and says what they are worth.

use std::fmt;

use serde_json::{Map, Value};
use tokio::time::{Duration, timeout};

use crate::model::{Digest, PublicKey, Repository, SignatureRule, SignatureVerdict, Version};
use crate::ports::{Artifacts, RegistryError};

use super::{bundle, simple};

/// Signatures that are looked at: an image has a handful. More would let whoever may push keep us busy.
const MOST: usize = 64;

/// For the whole search; each request has its own time-out besides.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flaw {
    /// It was made by a configured key, for something else.
    OtherDigest(String),
    /// It was made by a configured key, and does not say what is asked for.
    Annotation(String),
    /// Nobody's whom we know, or changed afterwards.
    OtherKey,
    /// It was made without a key.
    Keyless,
    /// It is none.
    Malformed,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherDigest(other) => write!(f, "signs {}", printable(other)),
            Self::Annotation(name) => write!(f, "does not have the annotation {name:?} that is asked for"),
            Self::OtherKey => f.write_str("was not made by a configured key, or was tampered with"),
            Self::Keyless => f.write_str("is keyless, which can't be verified"),
            Self::Malformed => f.write_str("makes no sense"),
        }
    }
}

/// Foreign text in our log.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// What was found so far.
#[derive(Default)]
struct Found {
    looked: usize,
    flaws: Vec<Flaw>,
    trouble: Option<String>,
}

/// Looks. A signature that counts ends the search; trouble on the way counts only when there is none.
pub(super) async fn look(
    artifacts: &dyn Artifacts,
    repository: &Repository,
    digest: &Digest,
    rule: &SignatureRule,
) -> SignatureVerdict {
    let late = |_| SignatureVerdict::Unreachable { message: format!("they took more than {} s", PATIENCE.as_secs()) };
    timeout(PATIENCE, search(artifacts, repository, digest, rule)).await.unwrap_or_else(late)
}

async fn search(
    artifacts: &dyn Artifacts,
    repository: &Repository,
    digest: &Digest,
    rule: &SignatureRule,
) -> SignatureVerdict {
    let mut found = Found::default();
    let simple = found.simple(artifacts, repository, digest, rule).await;
    let by = match found.settle(simple) {
        Some(key) => Some((key, "simple signing")),
        None => {
            let bundle = found.bundles(artifacts, repository, digest, rule).await;
            found.settle(bundle).map(|key| (key, "bundle"))
        }
    };
    match by {
        Some((key, form)) => SignatureVerdict::Verified { by: format!("{} ({form})", key.name) },
        None => found.verdict(digest),
    }
}

impl Found {
    /// Registry trouble is kept for the verdict.
    fn settle<'k>(&mut self, result: Result<Option<&'k PublicKey>, RegistryError>) -> Option<&'k PublicKey> {
        result.unwrap_or_else(|error| {
            self.trouble.get_or_insert(error.message);
            None
        })
    }

    async fn simple<'k>(
        &mut self,
        artifacts: &dyn Artifacts,
        repository: &Repository,
        digest: &Digest,
        rule: &'k SignatureRule,
    ) -> Result<Option<&'k PublicKey>, RegistryError> {
        let place = Version::Tag(digest.stand_in(".sig"));
        let Some(manifest) = artifacts.manifest_bytes(repository, &place).await? else { return Ok(None) };
        let Ok(signatures) = simple::read(&manifest) else {
            self.flaws.push(Flaw::Malformed);
            return Ok(None);
        };
        for signed in signatures {
            if !self.one_more() {
                break;
            }
            let Some(payload) = artifacts.blob(repository, &signed.payload).await? else {
                self.flaws.push(Flaw::Malformed);
                continue;
            };
            match signed.verify(&payload, digest, rule) {
                Ok(key) => return Ok(Some(key)),
                Err(flaw) => self.flaws.push(flaw),
            }
        }
        Ok(None)
    }

    async fn bundles<'k>(
        &mut self,
        artifacts: &dyn Artifacts,
        repository: &Repository,
        digest: &Digest,
        rule: &'k SignatureRule,
    ) -> Result<Option<&'k PublicKey>, RegistryError> {
        let referrers = artifacts.referrers(repository, digest).await?;
        for referrer in referrers.iter().filter(|referrer| bundle::may_be(referrer)) {
            if !self.one_more() {
                break;
            }
            let place = Version::Digest(referrer.digest.clone());
            let Some(manifest) = artifacts.manifest_bytes(repository, &place).await? else { continue };
            for layer in bundle::read(&manifest).unwrap_or_default() {
                let Some(bytes) = artifacts.blob(repository, &layer).await? else {
                    self.flaws.push(Flaw::Malformed);
                    continue;
                };
                match bundle::verify(&bytes, digest, rule) {
                    None => {}
                    Some(Ok(key)) => return Ok(Some(key)),
                    Some(Err(flaw)) => self.flaws.push(flaw),
                }
            }
        }
        Ok(None)
    }

    fn one_more(&mut self) -> bool {
        self.looked += 1;
        self.looked <= MOST
    }

    /// What there is to say without a signature that counts.
    fn verdict(mut self, digest: &Digest) -> SignatureVerdict {
        if let Some(message) = self.trouble {
            return SignatureVerdict::Unreachable { message };
        }
        if self.flaws.is_empty() && self.looked <= MOST {
            return SignatureVerdict::Missing;
        }
        let all = self.flaws.len();
        // The one that comes nearest says most.
        self.flaws.sort();
        let nearest =
            self.flaws.first().map_or("none of them was made by a configured key".to_owned(), Flaw::to_string);
        let message = match all {
            1 => format!("the signature of {} {nearest}", digest.short()),
            _ => format!("of {all} signatures of {} none counts; one {nearest}", digest.short()),
        };
        SignatureVerdict::Invalid { message }
    }
}

/// Whether what was signed says all that is asked for.
pub(super) fn carries(said: &Map<String, Value>, rule: &SignatureRule) -> Result<(), Flaw> {
    let lacking =
        rule.annotations.iter().find(|(name, wanted)| said.get(*name).and_then(Value::as_str) != Some(*wanted));
    lacking.map_or(Ok(()), |(name, _)| Err(Flaw::Annotation(name.clone())))
}
