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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn parse(value: &Value) -> DockerFile {
        DockerFile::parse(value.to_string().as_bytes()).unwrap()
    }

    /// What would be used of what is written alone.
    fn found(file: &Value, repository: &str) -> Option<Result<(String, String, SecretKind), String>> {
        let file = parse(file);
        let hints = file.hints(&repository.parse().unwrap());
        let Hint::Written { key } = hints.iter().find(|hint| matches!(hint, Hint::Written { .. }))? else {
            return None;
        };
        let found = file.written(key, "config.json");
        Some(found.map(|c| (c.username, c.secret.expose_secret().to_owned(), c.kind)))
    }

    #[test]
    fn every_field_of_an_entry_is_understood() {
        use SecretKind::{IdentityToken, Password, RegistryToken};
        for (label, entry, expected) in [
            // "bot:pw"
            ("auth", json!({"auth": "Ym90OnB3"}), Ok(("bot", "pw", Password))),
            // "bot:p:w"
            ("a colon in the password", json!({"auth": "Ym90OnA6dw=="}), Ok(("bot", "p:w", Password))),
            ("without padding", json!({"auth": "Ym90OnA6dw"}), Ok(("bot", "p:w", Password))),
            // "bot:pw\0\0"
            ("NULs", json!({"auth": "Ym90OnB3AAA="}), Ok(("bot", "pw", Password))),
            ("plain", json!({"username": "bot", "password": "pw"}), Ok(("bot", "pw", Password))),
            (
                "both: auth counts",
                json!({"auth": "Ym90OnB3", "username": "x", "password": "y"}),
                Ok(("bot", "pw", Password)),
            ),
            ("identity token", json!({"auth": "Ym90Og==", "identitytoken": "it"}), Ok(("", "it", IdentityToken))),
            ("registry token", json!({"registrytoken": "rt", "identitytoken": "it"}), Ok(("", "rt", RegistryToken))),
            (
                "other fields",
                json!({"auth": "Ym90OnB3", "email": "a@b", "serveraddress": "x", "new": [1]}),
                Ok(("bot", "pw", Password)),
            ),
            ("nulls", json!({"auth": "Ym90OnB3", "identitytoken": null}), Ok(("bot", "pw", Password))),
            ("no base64", json!({"auth": "%s3cret"}), Err("no base64")),
            // "s3cret"
            ("no colon", json!({"auth": "czNjcmV0"}), Err("no `:`")),
            ("no user", json!({"password": "s3cret"}), Err("no username")),
            ("a number", json!({"auth": 5}), Err("no texts")),
        ] {
            let file = json!({"auths": {"a.io": entry, "b.io": {"auth": "Ym90OnB3"}}});
            match (found(&file, "a.io/x").unwrap(), expected) {
                (Ok((user, secret, kind)), Ok(expected)) => {
                    assert_eq!((user.as_str(), secret.as_str(), kind), expected, "{label}");
                }
                (Err(problem), Err(words)) => {
                    assert!(problem.contains(words) && problem.contains("\"a.io\""), "{label}: {problem}");
                    assert!(!problem.contains("s3cret"), "{label}: {problem}");
                }
                other => panic!("{label}: {other:?}"),
            }
            assert!(found(&file, "b.io/x").unwrap().is_ok(), "{label}: the neighbour is not spoilt");
        }
    }

    #[test]
    fn the_longest_name_counts_and_other_spellings_mean_the_same() {
        let all = ["ghcr.io", "ghcr.io/acme", "ghcr.io/acme/shop", "ghcr.io/other"];
        for (label, keys, repository, expected) in [
            ("the whole", &all[..], "ghcr.io/acme/shop", Some("ghcr.io/acme/shop")),
            ("the organisation", &all[..], "ghcr.io/acme/blog", Some("ghcr.io/acme")),
            ("below", &all[..], "ghcr.io/acme/shop/web", Some("ghcr.io/acme/shop")),
            ("another organisation", &all[..], "ghcr.io/other/x", Some("ghcr.io/other")),
            ("no organisation of these", &all[..], "ghcr.io/third/x", Some("ghcr.io")),
            ("no part of a name", &all[1..], "ghcr.io/acmecorp/x", None),
            ("another host", &all[..], "quay.io/acme/shop", None),
            ("a port is another host", &["a.io:5000"], "a.io/x", None),
            ("a port", &["a.io:5000"], "a.io:5000/x", Some("a.io:5000")),
            ("a scheme", &["https://a.io"], "a.io/x", Some("https://a.io")),
            ("an API", &["https://a.io/v2/"], "a.io/x", Some("https://a.io/v2/")),
            ("an API without a scheme", &["a.io/v1/"], "a.io/x", Some("a.io/v1/")),
            ("upper case", &["A.io"], "a.io/x", Some("A.io")),
            ("docker hub", &[HUB], "shop", Some(HUB)),
            ("docker hub by name", &["docker.io"], "acme/shop", Some("docker.io")),
            ("docker hub's index", &["index.docker.io"], "acme/shop", Some("index.docker.io")),
            ("docker hub's API", &["registry-1.docker.io"], "acme/shop", Some("registry-1.docker.io")),
            ("an organisation of docker hub", &[HUB, "docker.io/acme"], "acme/shop", Some("docker.io/acme")),
        ] {
            let auths: serde_json::Map<String, Value> =
                keys.iter().map(|key| ((*key).to_owned(), json!({"username": key, "password": "p"}))).collect();
            let user = found(&json!({"auths": auths}), repository).map(|found| found.unwrap().0);
            assert_eq!(user.as_deref(), expected, "{label}");
        }
    }

    #[test]
    fn helpers_come_before_what_is_written_and_only_where_they_are_named() {
        let helper = |suffix, server: &str| Hint::Helper { suffix, server: server.to_owned() };
        let file = parse(&json!({
            "auths": {
                "a.io": {"auth": "Ym90OnB3"}, "b.io": {}, "b.io/acme": {}, "ghcr.io/acme": {"auth": "Ym90OnB3"},
            },
            "credHelpers": {"https://b.io": "own"},
            "credsStore": "all",
        }));
        for (repository, expected) in [
            ("a.io/x", vec![helper("all", "a.io"), Hint::Written { key: "a.io" }]),
            ("b.io/acme/x", vec![helper("own", "b.io/acme"), helper("own", "https://b.io")]),
            ("ghcr.io/acme/x", vec![Hint::Written { key: "ghcr.io/acme" }, helper("all", "ghcr.io")]),
            ("shop", vec![helper("all", HUB)]),
        ] {
            assert_eq!(file.hints(&repository.parse().unwrap()), expected, "{repository}");
        }
    }

    #[test]
    fn what_is_no_file_of_dockers_is_told_without_its_words() {
        for (text, words) in
            [("{", "line 1"), ("[\"s3cret\"]", "not what docker writes"), (r#"{"credsStore": 5}"#, "not what docker")]
        {
            let problem = DockerFile::parse(text.as_bytes()).unwrap_err();
            assert!(problem.contains(words) && !problem.contains("s3cret"), "{problem}");
        }
        for text in ["", "\n", "{}", r#"{"auths": null, "credHelpers": null, "credsStore": null, "detachKeys": "x"}"#] {
            assert!(DockerFile::parse(text.as_bytes()).unwrap().hints(&"a.io/x".parse().unwrap()).is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_user_and_password_survive_their_way_through_the_file(user in "[^:\0]{1,20}", password in "[^\0]{0,30}") {
            let auth = STANDARD.encode(format!("{user}:{password}"));
            let read = found(&json!({"auths": {"a.io": {"auth": auth}}}), "a.io/x").unwrap().unwrap();
            prop_assert_eq!(read, (user, password, SecretKind::Password));
        }

        #[test]
        fn rubbish_is_read_or_refused(text in "[ -~]{0,120}", key in "[ -~]{0,30}", auth in "[ -~]{0,30}") {
            let _ = DockerFile::parse(text.as_bytes());
            let _ = plain(&key);
            let file = json!({"auths": {&key: {"auth": auth}}, "credHelpers": {&key: "x"}, "credsStore": key});
            let _ = found(&file, "a.io/b/c");
        }

        #[test]
        fn what_is_plain_stays_as_it_is(key in "[ -~]{0,30}") {
            let once = plain(&key);
            // A second look may only take away more of what a person wrote twice.
            prop_assert!(plain(&once).len() <= once.len());
        }

        #[test]
        fn an_entry_is_only_ever_used_below_its_own_name(scope in "[a-z]{1,3}(/[a-z]{1,2}){0,2}", path in "[a-z]{1,2}(/[a-z]{1,2}){0,3}") {
            let key = format!("{scope}.io").replacen('/', ".io/", 1);
            let key = if scope.contains('/') { key.trim_end_matches(".io").to_owned() } else { key };
            let repository = format!("{}.io/{path}", scope.split('/').next().unwrap_or_default());
            let used = found(&json!({"auths": {&key: {"username": "u", "password": "p"}}}), &repository).is_some();
            prop_assert_eq!(used, format!("{repository}/").starts_with(&format!("{key}/")));
        }
    }
}
