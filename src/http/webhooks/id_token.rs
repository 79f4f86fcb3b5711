//! ID tokens (OpenID Connect): of a CI job, or of the service account that Pub/Sub and Event Grid push with.
//!
//! A token proves only that the issuer made it for somebody. It has to be for *us* (audience) and from the right one
//! (email, or claims such as the repository): without that, every customer of the same issuer could make one.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tokio::time::Duration;
use url::Url;

use super::auth::Verdict;
use super::fetch::{Library, Unfetched};
use super::jwt_ring;
use crate::http::auth::bearer;

/// Tokens of CI systems have one to three kilobytes.
const LONGEST: usize = 16 * 1024;
/// A key of an unknown name makes us fetch the keys again, but not more often than this.
const REFETCH: Duration = Duration::from_secs(60);

/// Which tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTokenRules {
    /// Who must have issued it: an https address, where its keys are found.
    pub issuer: Url,
    /// For whom it must have been issued: `issuer` as it stands in the token.
    pub issuer_claim: String,
    /// For whom it must be; any of them.
    pub audience: Vec<String>,
    /// The account that it must belong to, verified by the issuer.
    pub email: Option<String>,
    /// Claims that it must have, each with one of these values; `*` stands for any characters.
    pub claims: BTreeMap<String, Vec<String>>,
}

impl IdTokenRules {
    /// Judges the bearer token of a delivery.
    pub(super) async fn check(&self, headers: &HeaderMap, library: &Library) -> Verdict {
        let Some(token) = bearer(headers) else { return Verdict::Refused("there is no bearer token") };
        if token.len() > LONGEST {
            return Verdict::Refused("the token is too long");
        }
        let Ok(header) = decode_header(token) else { return Verdict::Refused("the bearer token is no JWT") };
        if !jwt_ring::ACCEPTED.contains(&header.alg) {
            return Verdict::Refused("the token is signed in a way that proves nothing");
        }
        let key = match self.key(header.kid.as_deref(), library).await {
            Ok(Some(key)) => key,
            Ok(None) => return Verdict::Refused("the token is signed with a key that its issuer does not have"),
            Err(error) => return Verdict::Undecided(error.to_string()),
        };
        jwt_ring::install();
        let mut wanted = Validation::new(header.alg);
        wanted.set_audience(&self.audience);
        wanted.set_issuer(&[&self.issuer_claim]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
        wanted.validate_nbf = true;
        match decode::<Value>(token, &key, &wanted) {
            Ok(token) => self.judge(&token.claims),
            Err(error) => Verdict::Refused(told(error.kind())),
        }
    }

    fn judge(&self, claims: &Value) -> Verdict {
        if let Some(email) = &self.email {
            let verified = matches!(claims.get("email_verified"), Some(Value::Bool(true)))
                || claims.get("email_verified").and_then(Value::as_str) == Some("true");
            if !verified || claims.get("email").and_then(Value::as_str) != Some(email) {
                return Verdict::Refused("the token belongs to another account");
            }
        }
        for (name, allowed) in &self.claims {
            let has = |value: &Value| super::path::scalar(value).or_else(|| value.as_bool().map(|b| b.to_string()));
            let value = claims.get(name).and_then(has);
            if !value.is_some_and(|value| allowed.iter().any(|pattern| matches(pattern, &value))) {
                return Verdict::Refused("a claim of the token is not what this receiver wants");
            }
        }
        Verdict::Authentic
    }

    /// The issuer's key of this name; a token without a name fits only an issuer with one key.
    async fn key(&self, name: Option<&str>, library: &Library) -> Result<Option<DecodingKey>, Unfetched> {
        let address = self.keys_address(library).await?;
        let found = find(&library.get(&address).await?, name);
        if found.is_some() || name.is_none() {
            return Ok(found);
        }
        Ok(find(&library.newer(&address, REFETCH).await?, name))
    }

    async fn keys_address(&self, library: &Library) -> Result<Url, Unfetched> {
        let text = format!("{}/.well-known/openid-configuration", self.issuer.as_str().trim_end_matches('/'));
        let strange = |problem: &str| Unfetched::new(&self.issuer, problem);
        let url = text.parse().map_err(|_| strange("its address makes no sense"))?;
        let document: Value = serde_json::from_slice(&library.get(&url).await?)
            .map_err(|_| strange("its OpenID configuration is not JSON"))?;
        if document.get("issuer").and_then(Value::as_str) != Some(&self.issuer_claim) {
            return Err(strange("its OpenID configuration is that of another issuer"));
        }
        let keys = document.get("jwks_uri").and_then(Value::as_str).and_then(|text| text.parse::<Url>().ok());
        keys.filter(|url| url.scheme() == "https").ok_or_else(|| strange("its OpenID configuration has no `jwks_uri`"))
    }
}

fn find(keys: &[u8], name: Option<&str>) -> Option<DecodingKey> {
    // One key of a kind that is not known must not hide the others.
    let set: Value = serde_json::from_slice(keys).ok()?;
    let keys = set.get("keys")?.as_array()?.iter().filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
    let signs = |key: &Jwk| key.common.public_key_use.as_ref().is_none_or(|use_| *use_ == PublicKeyUse::Signature);
    let usable = |key: Jwk| Some((key.common.key_id.clone(), DecodingKey::from_jwk(&key).ok()?));
    let mut keys = keys.filter(signs).filter_map(usable);
    match name {
        Some(name) => keys.find(|(id, _)| id.as_deref() == Some(name)).map(|(_, key)| key),
        None => keys.next().filter(|_| keys.next().is_none()).map(|(_, key)| key),
    }
}

fn told(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind as Kind;
    match kind {
        Kind::ExpiredSignature => "the token has expired",
        Kind::ImmatureSignature => "the token is not valid yet",
        Kind::InvalidIssuer => "the token is from another issuer",
        Kind::InvalidAudience => "the token is for somebody else",
        Kind::MissingRequiredClaim(_) => "the token lacks exp, iss or aud",
        Kind::InvalidSignature => "the token's signature is not its issuer's",
        _ => "the token makes no sense",
    }
}

/// Whether a value fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, value: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = value.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_rule_stands_for_any_characters() {
        for (pattern, value, wanted) in [
            ("acme/shop", "acme/shop", true),
            ("acme/shop", "acme/shop2", false),
            ("refs/tags/v*", "refs/tags/v1.2", true),
            ("refs/tags/v*", "refs/heads/v1", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("*:ref:refs/heads/main", "repo:acme/shop:ref:refs/heads/main", true),
        ] {
            assert_eq!(matches(pattern, value), wanted, "{pattern} {value}");
        }
    }
}
