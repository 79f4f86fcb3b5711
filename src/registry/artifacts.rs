//! What lies beside images: signatures and other things that refer to one.

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::model::{Digest, Referrer, Repository, Version};
use crate::ports::{Artifacts, RegistryError, RegistryErrorKind};

use super::client::Client;
use super::host::{Ask, Host};
use super::manifest::matches;
use super::tags::next_link;

/// There is none.
const NONE: [StatusCode; 1] = [StatusCode::NOT_FOUND];

/// The registry has no Referrers API: 404 by the book, the others by custom.
const NO_API: [StatusCode; 4] =
    [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];

/// Pages of referrers: more than that refers to no image that was built in earnest.
const PAGES: usize = 20;

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    #[serde(default, rename = "artifactType")]
    artifact_type: Option<String>,
}

impl Index {
    fn referrers(self) -> impl Iterator<Item = Referrer> {
        let entries = self.manifests.into_iter();
        entries.filter_map(|e| Some(Referrer { digest: e.digest.parse().ok()?, artifact_type: e.artifact_type }))
    }
}

impl Client {
    /// A document that need not be there.
    async fn document(
        &self,
        host: &Host,
        repository: &Repository,
        path: String,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let ask = Ask { method: Method::GET, repository, path, if_none_match: None };
        let answer = self.ask(host, &ask, &NONE).await?;
        Ok(answer.status.is_success().then_some(answer.body))
    }

    fn checked(
        host: &Host,
        repository: &Repository,
        digest: &Digest,
        body: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        match body {
            Some(body) if !matches(digest, &body) => {
                let words = format!("what it gave for {digest} has another digest");
                Err(host.error(RegistryErrorKind::Protocol, repository, &words, None))
            }
            body => Ok(body),
        }
    }

    /// All pages of the Referrers API; `None` where there is none.
    async fn by_api(
        &self,
        host: &Host,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Referrer>>, RegistryError> {
        let mut found = Vec::new();
        let mut path = format!("referrers/{digest}");
        for page in 0..PAGES {
            let ask = Ask { method: Method::GET, repository, path, if_none_match: None };
            let fine = if page == 0 { NO_API.as_slice() } else { &[] };
            let answer = self.ask(host, &ask, fine).await?;
            if !answer.status.is_success() {
                return Ok(None);
            }
            let index = match serde_json::from_slice::<Index>(&answer.body) {
                Ok(index) => index,
                // A page for people, from a registry that knows no such address.
                Err(_) if page == 0 => return Ok(None),
                Err(error) => {
                    let words = format!("its list of referrers makes no sense ({error})");
                    return Err(host.error(RegistryErrorKind::Protocol, repository, &words, None));
                }
            };
            found.extend(index.referrers());
            match next_link(&answer.headers) {
                Some(Ok(query)) => path = format!("referrers/{digest}?{query}"),
                _ => return Ok(Some(found)),
            }
        }
        let words = format!("its list of what refers to {digest} does not end after {PAGES} pages");
        Err(host.error(RegistryErrorKind::Protocol, repository, &words, None))
    }
}

#[async_trait]
impl Artifacts for Client {
    async fn manifest_bytes(
        &self,
        repository: &Repository,
        version: &Version,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let (repository, host) = &self.origin(repository)?;
        match version {
            Version::Tag(tag) => self.document(host, repository, format!("manifests/{tag}")).await,
            Version::Digest(digest) => {
                let body = self.document(host, repository, format!("manifests/{digest}")).await?;
                Self::checked(host, repository, digest, body)
            }
        }
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<Vec<u8>>, RegistryError> {
        let (repository, host) = &self.origin(repository)?;
        let body = self.document(host, repository, format!("blobs/{digest}")).await?;
        Self::checked(host, repository, digest, body)
    }

    async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Referrer>, RegistryError> {
        let (repository, host) = &self.origin(repository)?;
        if let Some(found) = self.by_api(host, repository, digest).await?
            && !found.is_empty()
        {
            return Ok(found);
        }
        // Whoever pushes to a registry without the API keeps the list under a tag. One that got the API later may have
        // the tag still.
        let tag = digest.stand_in("");
        let Some(body) = self.document(host, repository, format!("manifests/{tag}")).await? else {
            return Ok(Vec::new());
        };
        let index = serde_json::from_slice::<Index>(&body).map_err(|error| {
            let words = format!("what {tag} points to is no list of referrers ({error})");
            host.error(RegistryErrorKind::Protocol, repository, &words, None)
        })?;
        Ok(index.referrers().collect())
    }
}
