//! A configured receiver: its sender's kind, its secret, and how it names registries.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{distribution, generic};
use crate::engine::Hint;
use crate::http::EmptySecret;
use crate::http::auth::{SecretHash, bearer};
use crate::model::Repository;

/// What sends the deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// The CNCF distribution registry, and those built on it.
    Distribution,
    /// A CI job with `curl`.
    Generic,
}

impl HookKind {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Distribution => "distribution",
            Self::Generic => "generic",
        }
    }
}

/// How a delivery shows that it is authentic.
#[derive(Debug, Clone)]
pub enum HookAuth {
    /// The `Authorization` header is exactly this, or `Bearer` and this.
    Header(SecretString),
    /// `X-Signature` or `X-Hub-Signature-256` is `sha256=` and the hex HMAC-SHA256 of the body under this key.
    Hmac(SecretString),
}

/// A receiver as configured.
#[derive(Debug, Clone)]
pub struct HookReceiver {
    /// Its last path segment, and its label in metrics.
    pub id: String,
    /// Its sender.
    pub kind: HookKind,
    /// Its secret.
    pub auth: HookAuth,
    /// The registry meant by a delivery that names none, or names one that only the pusher knows.
    pub default_host: Option<String>,
    /// Names that pushers use for a registry → the name in the apps' images.
    pub aliases: BTreeMap<String, String>,
}

/// Why a delivery leads to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ignored {
    /// It is in order but not about a tag: a pull, a layer, a signature.
    Uninteresting(&'static str),
    /// It can't be understood.
    Strange(String),
}

impl HookReceiver {
    /// Reads an authentic delivery.
    pub(super) fn hints(&self, body: &[u8]) -> Result<Vec<Hint>, Ignored> {
        match self.kind {
            HookKind::Distribution => distribution::hints(self, body),
            HookKind::Generic => generic::hints(self, body),
        }
    }

    /// The repositories that `path` on a registry can mean to us, given the name that the pusher used for it.
    pub(super) fn repositories(&self, host: Option<&str>, path: &str) -> Vec<Repository> {
        let host = host.map(str::trim).filter(|host| !host.is_empty()).map(str::to_ascii_lowercase);
        let named = host.map(|host| self.aliases.get(&host).cloned().unwrap_or(host));
        let hosts: BTreeSet<String> = named.into_iter().chain(self.default_host.clone()).collect();
        hosts.iter().filter(|host| is_registry(host)).filter_map(|host| format!("{host}/{path}").parse().ok()).collect()
    }
}

/// A first segment that is not a registry's name would be taken for a part of a Docker Hub repository.
pub(super) fn is_registry(host: &str) -> bool {
    host.contains('.') || host.contains(':') || host == "localhost"
}

/// The secret of a receiver, ready to be compared.
#[derive(Clone)]
pub(super) enum Checker {
    Header(SecretHash),
    Hmac(Hmac<Sha256>),
}

impl Checker {
    pub(super) fn new(auth: &HookAuth) -> Result<Self, EmptySecret> {
        match auth {
            HookAuth::Header(secret) => SecretHash::new(secret).map(Self::Header),
            HookAuth::Hmac(secret) if secret.expose_secret().trim().is_empty() => Err(EmptySecret),
            HookAuth::Hmac(secret) => {
                let key = secret.expose_secret().as_bytes();
                Ok(Self::Hmac(Hmac::new_from_slice(key).expect("HMAC takes keys of any length")))
            }
        }
    }

    /// What can be said before the body is there; `None`: only the body tells.
    pub(super) fn by_head(&self, headers: &HeaderMap) -> Option<bool> {
        let Self::Header(secret) = self else { return None };
        let whole = headers.get(AUTHORIZATION).is_some_and(|given| secret.matches(given.as_bytes()));
        let token = bearer(headers).is_some_and(|given| secret.matches(given));
        Some(whole | token)
    }

    /// Whether the body carries a valid signature.
    pub(super) fn by_body(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let Self::Hmac(key) = self else { return self.by_head(headers).unwrap_or(false) };
        let signatures = ["x-signature", "x-hub-signature-256"].into_iter().filter_map(|name| headers.get(name));
        let mut decoded =
            signatures.filter_map(|value| hex::decode(value.to_str().ok()?.strip_prefix("sha256=")?).ok());
        decoded.any(|signature| key.clone().chain_update(body).verify_slice(&signature).is_ok())
    }
}
