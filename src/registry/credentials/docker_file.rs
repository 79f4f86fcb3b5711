//! What stands in docker's `config.json` and podman's `auth.json`, which have one form.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::model::{Credentials, Repository, SecretKind};

/// Docker Hub's entry has a name from before there were other registries.
pub(super) const HUB: &str = "https://index.docker.io/v1/";

/// The file, as far as it concerns credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DockerFile {
    #[serde(deserialize_with = "or_default")]
    auths: BTreeMap<String, Slot>,
    #[serde(deserialize_with = "or_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    creds_store: String,
}

/// `null` is what some tools write for nothing.
fn or_default<'de, T: Deserialize<'de> + Default, D: serde::Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An entry. One that is broken spoils no other.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Slot {
    Entry(Entry),
    Broken(serde::de::IgnoredAny),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    identitytoken: Option<SecretString>,
    registrytoken: Option<SecretString>,
}

/// What a file has for a repository, in the order in which it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hint<'a> {
    /// A helper is to be asked for a server.
    Helper { suffix: &'a str, server: String },
    /// It stands in the file, under this key.
    Written { key: &'a str },
}

impl DockerFile {
    /// Reads one. The error quotes nothing of it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => "is not what docker writes".to_owned(),
            _ => format!("is no JSON at line {}, column {}", error.line(), error.column()),
        })
    }

    /// Where to look for a repository: by the longest part of `host/org/repository` that is named, and for each first
    /// with a helper (the registry's own, else the one for all) and then in what is written.
    pub(super) fn hints(&self, repository: &Repository) -> Vec<Hint<'_>> {
        let mut hints = Vec::new();
        let own = named(&self.cred_helpers, repository.registry());
        let suffix = own.map_or(self.creds_store.as_str(), |(_, suffix)| suffix);
        for scope in scopes(repository) {
            let is_host = scope == repository.registry();
            let written = named(&self.auths, &scope);
            let is_empty = |slot: &Slot| matches!(slot, Slot::Entry(entry) if entry.is_empty());
            let helper = named(&self.cred_helpers, &scope).filter(|_| !is_host);
            if let Some((key, suffix)) = helper {
                hints.push(Hint::Helper { suffix, server: key.to_owned() });
            // Docker leaves an empty entry for what a helper keeps.
            } else if !suffix.is_empty() && (is_host || written.is_some_and(|(_, slot)| is_empty(slot))) {
                let key = own.filter(|_| is_host).map(|(key, _)| key).or(written.map(|(key, _)| key));
                hints.push(Hint::Helper { suffix, server: key.map_or_else(|| server_name(&scope), str::to_owned) });
            }
            if let Some((key, slot)) = written
                && !is_empty(slot)
            {
                hints.push(Hint::Written { key });
            }
        }
        hints
    }

    /// What is written under a key. The error is a fragment that quotes no value.
    pub(super) fn written(&self, key: &str, origin: &str) -> Result<Credentials, String> {
        let broken = |why: &str| format!("{origin} has an entry {key:?} that can't be read: {why}");
        match self.auths.get(key) {
            Some(Slot::Entry(entry)) => entry.credentials(origin).map_err(broken),
            _ => Err(broken("its fields are no texts")),
        }
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        let secrets = [&self.auth, &self.password, &self.identitytoken, &self.registrytoken];
        secrets.into_iter().all(|secret| given(secret).is_none())
    }

    /// Docker's order: a token for the registry itself, a token to exchange, a password.
    fn credentials(&self, origin: &str) -> Result<Credentials, &'static str> {
        let made = |username: &str, secret: &SecretString, kind| Credentials {
            username: username.to_owned(),
            secret: secret.clone(),
            kind,
            origin: origin.to_owned(),
        };
        if let Some(token) = given(&self.registrytoken) {
            return Ok(made("", token, SecretKind::RegistryToken));
        }
        if let Some(token) = given(&self.identitytoken) {
            return Ok(made("", token, SecretKind::IdentityToken));
        }
        if let Some(auth) = given(&self.auth) {
            let (username, password) = decoded(auth)?;
            return Ok(made(&username, &password, SecretKind::Password));
        }
        let username = self.username.as_deref().filter(|name| !name.is_empty());
        match (username, given(&self.password)) {
            (Some(username), Some(password)) => Ok(made(username, password, SecretKind::Password)),
            _ => Err("it has a password and no username"),
        }
    }
}

fn given(secret: &Option<SecretString>) -> Option<&SecretString> {
    secret.as_ref().filter(|secret| !secret.expose_secret().is_empty())
}

/// `user:password` in base64. Docker pads passwords with NUL in some versions.
fn decoded(auth: &SecretString) -> Result<(String, SecretString), &'static str> {
    let text = auth.expose_secret().trim();
    let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).map_err(|_| "auth is no base64")?;
    let text = SecretString::from(String::from_utf8(bytes).map_err(|_| "auth is no text")?);
    let (user, password) = text.expose_secret().split_once(':').ok_or("auth has no `:` after the user")?;
    Ok((user.to_owned(), SecretString::from(password.trim_matches('\0').to_owned())))
}

/// `host/a/b`, `host/a`, `host`.
fn scopes(repository: &Repository) -> Vec<String> {
    let whole = repository.to_string();
    let host = repository.registry().len();
    let ends = whole.char_indices().filter(|(at, c)| *c == '/' && *at >= host).map(|(at, _)| at);
    let mut scopes: Vec<String> = ends.filter_map(|end| whole.get(..end)).map(str::to_owned).collect();
    scopes.push(whole);
    scopes.reverse();
    scopes
}

/// What a helper calls a scope that no file names.
pub(super) fn server_name(scope: &str) -> String {
    if scope == "docker.io" { HUB.to_owned() } else { scope.to_owned() }
}

/// The entry for a scope: by its own name, else by another that means the same.
fn named<'a, V>(map: &'a BTreeMap<String, V>, scope: &str) -> Option<(&'a str, &'a V)> {
    let own = map.get_key_value(scope).or_else(|| map.get_key_value(&server_name(scope)));
    let found = own.or_else(|| map.iter().find(|(key, _)| plain(key) == scope));
    found.map(|(key, value)| (key.as_str(), value))
}

/// A key without what does not matter: the scheme, the API's version, Docker Hub's other names.
pub(super) fn plain(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    // Of a whole address docker takes the host alone.
    let name = match bare {
        Some(bare) => bare.split('/').next().unwrap_or_default(),
        None => {
            let name = key.trim_end_matches('/');
            name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name)
        }
    };
    let (host, path) = name.split_once('/').map_or((name, ""), |(host, path)| (host, path));
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" | "hub.docker.com" => "docker.io",
        other => other,
    };
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

#[cfg(test)]
mod tests;
