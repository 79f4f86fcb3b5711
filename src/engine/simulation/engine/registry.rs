//! The registry and the gates.

use super::*;

fn no_registry() -> RegistryError {
    let message = "the registry is down".to_owned();
    RegistryError { kind: RegistryErrorKind::Unreachable, message, retry_after: None, source: None }
}

#[async_trait]
impl Registry for Sim {
    async fn resolve(&self, _: &Repository, _: &Tag, _: Option<&Cached>) -> Result<Resolved, RegistryError> {
        self.look(false, no_registry, |world| {
            if world.registry_down {
                return Err(no_registry());
            }
            let digest = world.tag.clone();
            Ok(Resolved { cached: Cached { digest: digest.clone(), etag: None }, digest, not_modified: false })
        })
        .await
    }
    async fn tags(&self, _: &Repository, _: Option<&CachedTags>) -> Result<TagList, RegistryError> {
        Err(no_registry())
    }
    async fn manifest(&self, _: &Repository, digest: &Digest) -> Result<ManifestDetails, RegistryError> {
        // Every image is for every host, and none is another one's.
        let details = ManifestDetails { digest: digest.clone(), platforms: vec![(None, digest.clone())] };
        self.look(false, no_registry, |world| if world.registry_down { Err(no_registry()) } else { Ok(details) }).await
    }
    async fn pull_auth(&self, _: &Repository) -> Result<Option<Credentials>, RegistryError> {
        Ok(None)
    }
    fn status(&self) -> Vec<RegistryStatus> {
        Vec::new()
    }
}

/// No scenario has a rule that asks for either.
#[async_trait]
impl Gatekeeper for Sim {
    async fn signature(&self, _: &Repository, _: &Digest, _: &SignatureRule) -> SignatureVerdict {
        unreachable!("nothing has to be signed")
    }
    async fn scan(&self, _: &ScanSubject, _: &ScanRule) -> ScanVerdict {
        unreachable!("nothing is scanned")
    }
}
