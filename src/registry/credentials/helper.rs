//! The protocol of docker's credential helpers: a program, a verb, a document in and a document out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use crate::model::{Credentials, SecretKind};

use super::lease::Lease;

/// A helper may take so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a helper prints is not longer.
const ANSWER: u64 = 64 << 10;

/// The name that stands for "what follows is an identity token".
const TOKEN: &str = "<token>";

/// A program that keeps credentials.
#[derive(Debug, Clone)]
pub(super) struct Helper {
    program: PathBuf,
    arguments: Vec<OsString>,
    patience: Duration,
    /// What messages call it.
    name: String,
}

/// What a helper prints. The end is no part of docker's protocol; helpers of clouds know it and may say it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: SecretString,
    #[serde(alias = "Expiry", alias = "Expiration")]
    expires_at: Option<chrono::DateTime<chrono::Utc>>,
    expires_in: Option<u64>,
}

/// What a helper is given to keep. Only ever written to its standard input.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    username: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

impl Helper {
    /// The helper that docker's file calls by this suffix.
    pub(super) fn named(suffix: &str) -> Self {
        let name = format!("docker-credential-{suffix}");
        Self {
            program: PathBuf::from(&name),
            arguments: Vec::new(),
            patience: PATIENCE,
            name: format!("docker's credential helper {name}"),
        }
    }

    /// A program that the configuration names.
    pub(super) fn configured(program: &Path, arguments: &[String], patience: Duration) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.iter().map(OsString::from).collect(),
            patience,
            name: format!("provider exec ({})", program.display()),
        }
    }

    /// What it has for a server.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Lease>, String> {
        let (status, answer) = self.run("get", server.as_bytes()).await?;
        if !status.success() {
            // The protocol's words for "there are none", on standard output.
            let none = String::from_utf8_lossy(&answer).contains("credentials not found");
            return if none { Ok(None) } else { Err(format!("{} failed ({status})", self.name)) };
        }
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_| format!("{} printed nonsense instead of Username and Secret", self.name))?;
        if answer.secret.expose_secret().is_empty() {
            return Ok(None);
        }
        let life = answer.expires_in.map(Duration::from_secs).or_else(|| until(answer.expires_at?));
        let (kind, username) = match answer.username.as_str() {
            TOKEN => (SecretKind::IdentityToken, String::new()),
            _ => (SecretKind::Password, answer.username),
        };
        let credentials = Credentials { username, secret: answer.secret, kind, origin: self.name.clone() };
        Ok(Some(Lease { credentials, life }))
    }

    /// Has it keep a credential.
    pub(super) async fn store(&self, server: &str, credentials: &Credentials) -> Result<(), String> {
        let username = if credentials.kind == SecretKind::IdentityToken { TOKEN } else { &credentials.username };
        let entry = Entry { server, username, secret: credentials.secret.expose_secret() };
        let entry = serde_json::to_vec(&entry).expect("an entry can be written as JSON");
        let (status, _) = self.run("store", &entry).await?;
        if status.success() { Ok(()) } else { Err(format!("{} did not keep it ({status})", self.name)) }
    }

    /// Has it forget a server. Whether there was something is not told by all helpers.
    pub(super) async fn erase(&self, server: &str) -> Result<(), String> {
        let (status, answer) = self.run("erase", server.as_bytes()).await?;
        if status.success() || String::from_utf8_lossy(&answer).contains("credentials not found") {
            return Ok(());
        }
        Err(format!("{} did not erase it ({status})", self.name))
    }

    /// One talk. The program is killed when it takes too long; what it says on its standard error stays there, because
    /// it may be a secret.
    async fn run(&self, verb: &str, input: &[u8]) -> Result<(ExitStatus, Vec<u8>), String> {
        let name = &self.name;
        let spawned = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|error| format!("{name} can't be run: {error}"))?;
        let talk = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A helper that does not read has its reasons; what it prints counts.
                let _ = stdin.write_all(input).await;
            }
            let mut answer = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                stdout.take(ANSWER).read_to_end(&mut answer).await?;
            }
            Ok::<_, std::io::Error>((child.wait().await?, answer))
        };
        match timeout(self.patience, talk).await {
            Err(_) => Err(format!("{name} did not answer within {} s", self.patience.as_secs())),
            Ok(Err(error)) => Err(format!("{name} broke off: {error}")),
            Ok(Ok(done)) => Ok(done),
        }
    }
}

/// From now to an end; nothing when that is over.
pub(super) fn until(end: chrono::DateTime<chrono::Utc>) -> Option<Duration> {
    Some((end - chrono::Utc::now()).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(dir: &Path, body: &str) -> Helper {
        let path = dir.join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Helper::configured(&path, &[], PATIENCE)
    }

    /// Another test's fork may still hold the script open for writing.
    async fn ask(helper: &Helper) -> Result<Option<Lease>, String> {
        loop {
            match helper.get("a.io").await {
                Err(problem) if problem.contains("busy") => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    #[tokio::test]
    async fn a_helpers_answer_is_read_with_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(100)).to_rfc3339();
        for (label, more, life) in [
            ("docker's own", String::new(), None),
            ("with a length", r#", "ExpiresIn": 60"#.to_owned(), Some(60)),
            ("with an end", format!(r#", "ExpiresAt": "{soon}""#), Some(99)),
            ("with an end by another name", format!(r#", "Expiry": "{soon}""#), Some(99)),
            ("over", r#", "ExpiresAt": "2001-01-01T00:00:00Z""#.to_owned(), Some(0)),
        ] {
            let echo = script(
                dir.path(),
                &format!(r#"read s; printf '{{"ServerURL":"x","Username":"u","Secret":"%s %s"{more}}}' "$1" "$s""#),
            );
            let lease = ask(&echo).await.unwrap().unwrap();
            assert_eq!(lease.credentials.secret.expose_secret(), "get a.io", "{label}");
            let lasts = lease.life.map(|life| life.as_secs());
            assert!(lasts == life || lasts == life.map(|life| life + 1), "{label}: {lasts:?}");
        }
    }

    #[tokio::test]
    async fn a_token_none_and_a_failure_are_told_apart_and_nothing_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let token = script(dir.path(), r#"echo '{"Username":"<token>","Secret":"t"}'"#);
        assert_eq!(ask(&token).await.unwrap().unwrap().credentials.kind, SecretKind::IdentityToken);
        let none = script(dir.path(), "echo credentials not found in native keychain; exit 1");
        assert!(ask(&none).await.unwrap().is_none());
        for (body, words) in [("echo s3cret; exit 2", "failed"), ("echo '{\"Secret\": \"s3cret\"'", "nonsense")] {
            let problem = ask(&script(dir.path(), body)).await.unwrap_err();
            assert!(problem.contains(words) && !problem.contains("s3cret"), "{problem}");
        }
        let problem = Helper::named("of-nobody").get("a.io").await.unwrap_err();
        assert!(problem.contains("docker-credential-of-nobody can't be run"), "{problem}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_that_hangs_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let problem = ask(&script(dir.path(), "exec sleep 600")).await.unwrap_err();
        assert!(problem.contains("did not answer within 10 s"), "{problem}");
    }

    #[tokio::test]
    async fn a_secret_is_given_to_a_helper_by_its_standard_input_alone() {
        let dir = tempfile::tempdir().unwrap();
        let seen = dir.path().join("seen");
        let helper = script(dir.path(), &format!("{{ echo \"$@\"; env; }} > {0}; cat > {0}.in", seen.display()));
        let secret = SecretString::from("s3cret");
        let origin = "test".to_owned();
        let kept = Credentials { username: "bot".to_owned(), secret, kind: SecretKind::Password, origin };
        while let Err(problem) = helper.store("a.io", &kept).await {
            assert!(problem.contains("busy"), "{problem}");
        }
        let given = std::fs::read_to_string(seen.with_extension("in")).unwrap();
        assert_eq!(given, r#"{"ServerURL":"a.io","Username":"bot","Secret":"s3cret"}"#);
        let seen = std::fs::read_to_string(&seen).unwrap();
        assert!(seen.starts_with("store\n") && !seen.contains("s3cret"), "{seen}");
    }
}
