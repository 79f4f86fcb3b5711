//! Programs that are registries, and how each is told what it shall be.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// What a registry shall be. By default it is open to all, over plain HTTP, and announces nothing.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Where it announces pushes, with the token [`HOOK_SECRET`].
    pub(crate) notify: Option<String>,
    /// The lines of an htpasswd file: only these are let in.
    pub(crate) passwords: Option<String>,
    /// Only those are let in who come from this token service.
    pub(crate) tokens: Option<Tokens>,
    /// Certificate and key that it shows, as PEM.
    pub(crate) tls: Option<(String, String)>,
    /// The certificate, as PEM, of those who may come in over TLS.
    pub(crate) clients: Option<String>,
}

/// A token service as its registry knows it.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) realm: String,
    /// What it signs with, as PEM.
    pub(crate) certificate: String,
}

/// The token that announcements carry.
pub(crate) const HOOK_SECRET: &str = "hook-secret";
/// Whose tokens count, and for whom they are.
pub(crate) const ISSUER: &str = "tagboat tests";
pub(crate) const SERVICE: &str = "registry";

/// A program that is a registry.
#[derive(Debug)]
pub(crate) enum Make {
    /// CNCF distribution, 2 or 3.
    Distribution(PathBuf),
    /// zot, with its extension `events`.
    Zot(PathBuf),
}

impl Make {
    /// The program that `TAGBOAT_TEST_REGISTRY` names, or Debian's `docker-registry`.
    pub(crate) fn of_this_run() -> Self {
        let program = PathBuf::from(std::env::var_os("TAGBOAT_TEST_REGISTRY").unwrap_or("docker-registry".into()));
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("zot") { Self::Zot(program) } else { Self::Distribution(program) }
    }

    /// Whether it says 304 to someone who knows what it has.
    pub(crate) fn knows_304(&self) -> bool {
        matches!(self, Self::Distribution(_))
    }

    /// Whether it announces again what nobody has taken.
    pub(crate) fn announces_again(&self) -> bool {
        matches!(self, Self::Distribution(_))
    }

    /// Whether it hangs up on someone whose certificate it does not know; otherwise it lets them talk to say no.
    pub(crate) fn hangs_up(&self) -> bool {
        matches!(self, Self::Distribution(_))
    }

    /// The receiver of its announcements, as the configuration has it.
    pub(crate) fn receiver(&self, host: &str) -> String {
        match self {
            Self::Distribution(_) => format!("{{sender: distribution, token: {HOOK_SECRET}}}"),
            Self::Zot(_) => format!("{{sender: zot, token: {HOOK_SECRET}, default_host: '{host}'}}"),
        }
    }

    /// The command that serves from `dir`, whose configuration is written there.
    pub(crate) fn command(&self, dir: &Path, port: u16, terms: &Terms) -> Command {
        let place = |name: &str| dir.join(name).display().to_string();
        let texts = [
            ("htpasswd", terms.passwords.as_ref()),
            ("tokens.pem", terms.tokens.as_ref().map(|tokens| &tokens.certificate)),
            ("tls.pem", terms.tls.as_ref().map(|(certificate, _)| certificate)),
            ("key.pem", terms.tls.as_ref().map(|(_, key)| key)),
            ("clients.pem", terms.clients.as_ref()),
        ];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let (program, config) = match self {
            Self::Distribution(program) => (program, distribution(&place, port, terms)),
            Self::Zot(program) => (program, zot(&place, port, terms)),
        };
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let mut command = Command::new(program);
        // A newer one sends traces otherwise, to nobody.
        command.arg("serve").arg(dir.join("config.json")).env("OTEL_TRACES_EXPORTER", "none");
        command
    }

    /// Where it keeps a blob: below `dir`, perhaps in several repositories.
    pub(crate) fn blobs(&self, dir: &Path, hex: &str) -> Vec<PathBuf> {
        match self {
            Self::Distribution(_) => {
                let blobs = dir.join("data/docker/registry/v2/blobs/sha256");
                vec![blobs.join(&hex[..2]).join(hex).join("data")]
            }
            Self::Zot(_) => {
                let repositories = std::fs::read_dir(dir.join("data")).unwrap();
                let blobs = repositories.map(|one| one.unwrap().path().join("blobs/sha256").join(hex));
                blobs.filter(|blob| blob.exists()).collect()
            }
        }
    }
}

fn distribution(place: &impl Fn(&str) -> String, port: u16, terms: &Terms) -> Value {
    let mut config = json!({
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": place("data")}, "delete": {"enabled": true}},
        "http": {"addr": format!("127.0.0.1:{port}")},
    });
    if let Some(url) = &terms.notify {
        let headers = json!({"Authorization": [format!("Bearer {HOOK_SECRET}")]});
        config["notifications"] = json!({"endpoints": [
            {"name": "tagboat", "url": url, "timeout": "1s", "threshold": 5, "backoff": "1s", "headers": headers},
        ]});
    }
    if terms.passwords.is_some() {
        config["auth"] = json!({"htpasswd": {"realm": "test", "path": place("htpasswd")}});
    }
    if let Some(tokens) = &terms.tokens {
        config["auth"] = json!({"token": {"realm": tokens.realm, "service": SERVICE, "issuer": ISSUER,
            "rootcertbundle": place("tokens.pem")}});
    }
    if terms.tls.is_some() {
        config["http"]["tls"] = json!({"certificate": place("tls.pem"), "key": place("key.pem")});
        if terms.clients.is_some() {
            config["http"]["tls"]["clientcas"] = json!([place("clients.pem")]);
        }
    }
    config
}

fn zot(place: &impl Fn(&str) -> String, port: u16, terms: &Terms) -> Value {
    let mut config = json!({
        "distSpecVersion": "1.1.1",
        "log": {"level": "warn"},
        "storage": {"rootDirectory": place("data"), "dedupe": false, "gc": false},
        // Otherwise it refuses Docker's own media types.
        "http": {"address": "127.0.0.1", "port": port.to_string(), "compat": ["docker2s2"]},
    });
    if let Some(url) = &terms.notify {
        let headers = json!({"Authorization": format!("Bearer {HOOK_SECRET}")});
        let sink = json!({"type": "http", "address": url, "timeout": "1s", "headers": headers});
        config["extensions"] = json!({"events": {"enable": true, "sinks": [sink]}});
    }
    if terms.passwords.is_some() {
        config["http"]["auth"] = json!({"htpasswd": {"path": place("htpasswd")}});
    }
    if let Some(tokens) = &terms.tokens {
        let bearer = json!({"realm": tokens.realm, "service": SERVICE, "cert": place("tokens.pem")});
        config["http"]["auth"] = json!({"bearer": bearer});
    }
    if terms.tls.is_some() {
        config["http"]["tls"] = json!({"cert": place("tls.pem"), "key": place("key.pem")});
        if terms.clients.is_some() {
            config["http"]["tls"]["cacert"] = place("clients.pem").into();
            config["http"]["auth"] = json!({"mtls": {"identityAttributes": ["CommonName"]}});
        }
    }
    config
}
