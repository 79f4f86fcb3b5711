//! Tokens (distribution's token specification): fetched once a scope, kept until shortly before they expire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::{Duration, Instant};

use super::challenge::Challenge;

/// A token without `expires_in` lives so long (token specification).
const LIFE: u64 = 60;

/// A token is not used in the last part of its life: the request has to arrive while it is valid.
const LEEWAY: f64 = 0.9;

/// How a request introduces itself.
#[derive(Debug, Clone)]
pub(super) enum Introduction {
    Bearer(SecretString),
    Basic,
}

/// What is known of a scope; the lock makes one request of many that need the same token.
type Entry = Arc<tokio::sync::Mutex<Option<(SecretString, Instant)>>>;

/// The tokens of one registry, and whether it wants Basic instead.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    scopes: Mutex<HashMap<String, Entry>>,
    basic: std::sync::atomic::AtomicBool,
    challenge: Mutex<HashMap<String, Challenge>>,
    /// The last one of any repository, without its scope.
    likely: Mutex<Option<Challenge>>,
}

/// A token service's answer.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
    expires_in: Option<u64>,
}

impl Tokens {
    /// What to send at once with a request for a repository: nothing, until the registry has asked for something.
    pub(super) async fn ready(&self, repository: &str) -> Option<Introduction> {
        use std::sync::atomic::Ordering;
        if self.basic.load(Ordering::Relaxed) {
            return Some(Introduction::Basic);
        }
        let entry = self.scopes.lock().expect("no holder panics").get(repository).cloned()?;
        let token = entry.lock().await;
        token
            .as_ref()
            .filter(|(_, until)| Instant::now() < *until)
            .map(|(token, _)| Introduction::Bearer(token.clone()))
    }

    /// The lock of a repository's token.
    pub(super) fn entry(&self, repository: &str) -> Entry {
        self.scopes.lock().expect("no holder panics").entry(repository.to_owned()).or_default().clone()
    }

    /// The registry wants Basic, or no longer.
    pub(super) fn wants_basic(&self, basic: bool) {
        self.basic.store(basic, std::sync::atomic::Ordering::Relaxed);
    }

    /// The challenge that was last given for a repository, to fetch a new token without being refused first.
    pub(super) fn known_challenge(&self, repository: &str) -> Option<Challenge> {
        self.challenge.lock().expect("no holder panics").get(repository).cloned()
    }

    /// The challenge that a repository which was not asked for yet will most likely give: a first look then costs no
    /// request that is refused.
    pub(super) fn likely_challenge(&self) -> Option<Challenge> {
        self.likely.lock().expect("no holder panics").clone()
    }

    pub(super) fn learn(&self, repository: &str, challenge: &Challenge) {
        let mut likely = challenge.clone();
        likely.parameters.remove("scope");
        *self.likely.lock().expect("no holder panics") = Some(likely);
        self.challenge.lock().expect("no holder panics").insert(repository.to_owned(), challenge.clone());
    }
}

impl TokenAnswer {
    /// The token and the end of its use.
    pub(super) fn token(self) -> Option<(SecretString, Instant)> {
        let token = self.token.or(self.access_token).filter(|token| !token.expose_secret().is_empty())?;
        let life = Duration::from_secs(self.expires_in.unwrap_or(LIFE).clamp(1, 86_400));
        Some((token, Instant::now() + life.mul_f64(LEEWAY)))
    }
}

/// The token service that a challenge names. The error says what is wrong with it.
pub(super) fn realm(challenge: &Challenge, http_allowed: bool) -> Result<url::Url, String> {
    let realm = challenge.parameters.get("realm").map(String::as_str).unwrap_or_default();
    let url: url::Url = realm.parse().map_err(|_| format!("its token service {realm:?} is no address"))?;
    if url.scheme() == "https" || (http_allowed && url.scheme() == "http") {
        return Ok(url);
    }
    Err(format!("its token service {realm:?} is not https, and no secret is sent there"))
}

/// The token service's address with the question in it.
pub(super) fn token_url(mut realm: url::Url, challenge: &Challenge, repository: &str) -> url::Url {
    {
        let mut query = realm.query_pairs_mut();
        if let Some(service) = challenge.parameters.get("service") {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &scope(challenge, repository));
    }
    realm
}

/// The scope that a challenge asks for; some registries ask for `*` or for nothing, and then pulling is meant.
pub(super) fn scope(challenge: &Challenge, repository: &str) -> String {
    let asked = challenge.parameters.get("scope").filter(|scope| scope.starts_with("repository:"));
    asked.cloned().unwrap_or_else(|| format!("repository:{repository}:pull"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::challenge::parse;

    #[test]
    fn a_token_service_without_tls_gets_no_secret() {
        let challenge = &parse(r#"Bearer realm="http://auth.example/token",service="s""#)[0];
        assert!(realm(challenge, false).unwrap_err().contains("not https"));
        let url = token_url(realm(challenge, true).unwrap(), challenge, "a/b");
        assert_eq!(url.as_str(), "http://auth.example/token?service=s&scope=repository%3Aa%2Fb%3Apull");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_not_used_at_the_end_of_its_life() {
        let tokens = Tokens::default();
        let answer: TokenAnswer = serde_json::from_str(r#"{"access_token":"t","expires_in":100}"#).unwrap();
        *tokens.entry("a").lock().await = answer.token();
        assert!(matches!(tokens.ready("a").await, Some(Introduction::Bearer(_))));
        assert!(tokens.ready("b").await.is_none());
        tokio::time::advance(Duration::from_secs(91)).await;
        assert!(tokens.ready("a").await.is_none());
    }

    #[test]
    fn an_empty_token_is_none() {
        let answer: TokenAnswer = serde_json::from_str(r#"{"token":""}"#).unwrap();
        assert!(answer.token().is_none());
    }
}
