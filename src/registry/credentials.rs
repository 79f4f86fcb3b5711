//! Who we are to a registry: by the configuration, else by docker's own file and its helpers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, Instant, timeout};

use crate::model::Credentials;

use super::RegistryConfig;

/// A helper may take so long.
const HELPER: Duration = Duration::from_secs(10);

/// What a helper said is used so long; when a credential is refused it is asked again at once.
const FRESH: Duration = Duration::from_secs(300);

/// A helper's answer, or a password file, is not longer.
const ANSWER: u64 = 64 << 10;

/// What was found. Without credentials we go anonymously, as docker does; the problem is told if that is refused.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) credentials: Option<Credentials>,
    pub(super) problem: Option<String>,
}

/// Finds a registry's credentials.
#[derive(Debug)]
pub(super) struct Finder {
    registry: String,
    config: RegistryConfig,
    docker_config: Option<PathBuf>,
    /// The lock makes one question to a helper of many.
    found: tokio::sync::Mutex<Option<(Instant, Found)>>,
}

/// The part of docker's `config.json` that names programs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Helpers {
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: SecretString,
}

impl Finder {
    /// `docker_config` is docker's `config.json`.
    pub(super) fn new(registry: &str, config: &RegistryConfig, docker_config: Option<PathBuf>) -> Self {
        let found = tokio::sync::Mutex::default();
        Self { registry: registry.to_owned(), config: config.clone(), docker_config, found }
    }

    /// The credentials, if there are any.
    pub(super) async fn find(&self) -> Found {
        if let Some(username) = &self.config.username {
            return told(self.configured(username).await.map(Some));
        }
        let mut kept = self.found.lock().await;
        if let Some((at, found)) = &*kept
            && at.elapsed() < FRESH
        {
            return found.clone();
        }
        let found = told(self.dockers().await);
        *kept = Some((Instant::now(), found.clone()));
        found
    }

    /// They were refused: ask anew the next time.
    pub(super) async fn forget(&self) {
        *self.found.lock().await = None;
    }

    async fn configured(&self, username: &str) -> Result<Credentials, String> {
        let (secret, origin) = match (&self.config.password, &self.config.password_file) {
            (Some(password), _) => (password.clone(), "the configuration".to_owned()),
            (None, Some(path)) => (read_secret(path).await?, path.display().to_string()),
            (None, None) => return Err("it has a username in the configuration but no password".to_owned()),
        };
        Ok(Credentials { username: username.to_owned(), secret, is_identity_token: false, origin })
    }

    /// From docker's `config.json`, in docker's order: the registry's own helper, what is written there, the helper for
    /// all.
    async fn dockers(&self) -> Result<Option<Credentials>, String> {
        let Some(path) = &self.docker_config else { return Ok(None) };
        let bytes = match tokio::fs::read(path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
        };
        let unreadable = |_| format!("{} is not what docker writes", path.display());
        let helpers: Helpers = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let names = server_names(&self.registry);
        for name in &names {
            if let Some(helper) = helpers.cred_helpers.get(*name) {
                return ask_helper(&program(helper), name).await;
            }
        }
        let written = self.written(path, &bytes)?;
        match (written, helpers.creds_store, names.first()) {
            (Some(found), _, _) => Ok(Some(found)),
            (None, Some(helper), Some(name)) if !helper.is_empty() => ask_helper(&program(&helper), name).await,
            _ => Ok(None),
        }
    }

    /// What is written in the file itself. Helpers are left out of it: they are run by us, with a limit.
    fn written(&self, path: &Path, bytes: &[u8]) -> Result<Option<Credentials>, String> {
        let unreadable = |_| format!("{} is not what docker writes", path.display());
        let mut document: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(bytes).map_err(unreadable)?;
        document.retain(|key, _| key == "auths");
        let auths = serde_json::to_vec(&document).expect("what was JSON can be written as JSON");
        let origin = path.display().to_string();
        for name in server_names(&self.registry) {
            match get_credential_from_reader(auths.as_slice(), name) {
                Ok(found) => return Ok(Some(translated(found, origin))),
                Err(CredentialRetrievalError::NoCredentialConfigured) => {}
                Err(error) => return Err(format!("{origin} has an entry for it that can't be read: {error}")),
            }
        }
        Ok(None)
    }
}

/// Where docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(super) fn dockers_own() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    Some(std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home)?.join("config.json"))
}

fn told(result: Result<Option<Credentials>, String>) -> Found {
    match result {
        Ok(credentials) => Found { credentials, problem: None },
        Err(problem) => Found { credentials: None, problem: Some(problem) },
    }
}

async fn read_secret(path: &Path) -> Result<SecretString, String> {
    let failed = |error| format!("password_file {} can't be read: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    file.take(ANSWER).read_to_string(&mut text).await.map_err(failed)?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// What docker calls a registry in its file. Docker Hub's entry has a name from before there were others.
fn server_names(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" => vec!["https://index.docker.io/v1/", "index.docker.io", "docker.io"],
        other => vec![other],
    }
}

fn program(helper: &str) -> PathBuf {
    PathBuf::from(format!("docker-credential-{helper}"))
}

fn translated(found: DockerCredential, origin: String) -> Credentials {
    let (username, secret, is_identity_token) = match found {
        DockerCredential::UsernamePassword(username, password) => (username, password, false),
        DockerCredential::IdentityToken(token) => (String::new(), token, true),
    };
    Credentials { username, secret: SecretString::from(secret), is_identity_token, origin }
}

/// Asks a helper (docker-credential-helpers' protocol): the server's name in, a document out. It is killed when it takes
/// too long.
async fn ask_helper(program: &Path, server: &str) -> Result<Option<Credentials>, String> {
    let name = program.display().to_string();
    let spawned = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.map_err(|error| format!("docker's credential helper {name} can't be run: {error}"))?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read has its reasons; what it prints counts.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, answer))
    };
    let (status, answer) = match timeout(HELPER, talk).await {
        Err(_) => {
            return Err(format!("docker's credential helper {name} did not answer within {} s", HELPER.as_secs()));
        }
        Ok(Err(error)) => return Err(format!("docker's credential helper {name} broke off: {error}")),
        Ok(Ok(done)) => done,
    };
    if !status.success() {
        // The protocol's words for "there are none", on standard output.
        let none = String::from_utf8_lossy(&answer).contains("credentials not found");
        return if none { Ok(None) } else { Err(format!("docker's credential helper {name} failed ({status})")) };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&answer).map_err(|_| format!("docker's credential helper {name} printed nonsense"))?;
    let is_identity_token = answer.username == "<token>";
    let username = if is_identity_token { String::new() } else { answer.username };
    Ok(Some(Credentials { username, secret: answer.secret, is_identity_token, origin: name }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn docker(registry: &str, config: &serde_json::Value) -> (tempfile::TempDir, Finder) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        (dir, Finder::new(registry, &RegistryConfig::default(), Some(path)))
    }

    fn script(dir: &Path, body: &str) -> PathBuf {
        let path = dir.join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Another test's fork may still hold the script open for writing.
    async fn ask(program: &Path) -> Result<Option<Credentials>, String> {
        loop {
            match ask_helper(program, "a.io").await {
                Err(problem) if problem.contains("busy") => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    #[tokio::test]
    async fn dockers_file_is_read_as_docker_reads_it() {
        // "bot:pw"
        let basic = json!({"auth": "Ym90OnB3"});
        for (label, registry, config, user, token) in [
            ("an entry", "ghcr.io", json!({"auths": {"ghcr.io": basic}}), Some("bot"), false),
            ("docker hub", "docker.io", json!({"auths": {"https://index.docker.io/v1/": basic}}), Some("bot"), false),
            ("a token", "a.io", json!({"auths": {"a.io": {"identitytoken": "pw"}}}), Some(""), true),
            ("another's", "ghcr.io", json!({"auths": {"quay.io": basic}}), None, false),
            ("empty", "ghcr.io", json!({}), None, false),
        ] {
            let (_dir, finder) = docker(registry, &config);
            let found = finder.find().await;
            assert_eq!(found.problem, None, "{label}");
            assert_eq!(found.credentials.as_ref().map(|c| c.username.as_str()), user, "{label}");
            if let Some(found) = found.credentials {
                assert_eq!((found.secret.expose_secret(), found.is_identity_token), ("pw", token), "{label}");
            }
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_missing_is_told_and_not_fatal() {
        for config in [json!({"credsStore": "of-nobody"}), json!({"credHelpers": {"ghcr.io": "of-nobody"}})] {
            let (_dir, finder) = docker("ghcr.io", &config);
            let found = finder.find().await;
            assert!(found.credentials.is_none());
            assert!(found.problem.unwrap().contains("docker-credential-of-nobody can't be run"));
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let echo = script(dir.path(), r#"read s; echo "{\"Username\":\"<token>\",\"Secret\":\"$1 $s\"}""#);
        let found = ask(&echo).await.unwrap().unwrap();
        assert_eq!((found.secret.expose_secret(), found.is_identity_token), ("get a.io", true));
        let none = script(dir.path(), "echo credentials not found in native keychain; exit 1");
        assert!(ask(&none).await.unwrap().is_none());
        let broken = script(dir.path(), "echo s3cret; exit 2");
        let problem = ask(&broken).await.unwrap_err();
        assert!(problem.contains("failed") && !problem.contains("s3cret"), "{problem}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_that_hangs_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let hangs = script(dir.path(), "exec sleep 600");
        let problem = ask(&hangs).await.unwrap_err();
        assert!(problem.contains("did not answer within 10 s"), "{problem}");
    }

    #[tokio::test]
    async fn a_password_file_is_read_at_each_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let config = RegistryConfig {
            username: Some("bot".to_owned()),
            password_file: Some(path.clone()),
            ..RegistryConfig::default()
        };
        let finder = Finder::new("ghcr.io", &config, None);
        assert!(finder.find().await.problem.unwrap().contains("can't be read"));
        for password in ["one", "two"] {
            std::fs::write(&path, format!("{password}\n")).unwrap();
            assert_eq!(finder.find().await.credentials.unwrap().secret.expose_secret(), password);
        }
        assert!(!format!("{finder:?}").contains("two"));
    }
}
