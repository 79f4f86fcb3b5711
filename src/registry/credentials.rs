//! Who we are to a registry: by the configuration, else by docker's own file and its helpers.

use std::sync::Mutex;

use docker_credential::DockerCredential;
use secrecy::SecretString;
use tokio::time::{Duration, Instant, timeout};

use crate::model::Credentials;

use super::RegistryConfig;

/// A helper may take so long.
const HELPER: Duration = Duration::from_secs(10);

/// What a helper said is used so long; a refused credential is asked for again at once.
const FRESH: Duration = Duration::from_secs(300);

/// Finds a registry's credentials.
#[derive(Debug)]
pub(super) struct Finder {
    registry: String,
    config: RegistryConfig,
    found: Mutex<Option<(Instant, Option<Credentials>)>>,
}

impl Finder {
    pub(super) fn new(registry: &str, config: &RegistryConfig) -> Self {
        Self { registry: registry.to_owned(), config: config.clone(), found: Mutex::new(None) }
    }

    /// The credentials, if there are any. The error is a sentence for a person.
    pub(super) async fn find(&self) -> Result<Option<Credentials>, String> {
        if let Some(username) = &self.config.username {
            return self.configured(username).map(Some);
        }
        if let Some((at, found)) = &*self.found.lock().expect("no holder panics")
            && at.elapsed() < FRESH
        {
            return Ok(found.clone());
        }
        let found = self.dockers().await?;
        *self.found.lock().expect("no holder panics") = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    /// They were refused: ask anew the next time.
    pub(super) fn forget(&self) {
        *self.found.lock().expect("no holder panics") = None;
    }

    fn configured(&self, username: &str) -> Result<Credentials, String> {
        let (secret, origin) = match (&self.config.password, &self.config.password_file) {
            (Some(password), _) => (password.clone(), "the configuration".to_owned()),
            (None, Some(path)) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|error| format!("password_file {} can't be read: {error}", path.display()))?;
                (SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()), path.display().to_string())
            }
            (None, None) => return Err(format!("registry {} has a username but no password", self.registry)),
        };
        Ok(Credentials { username: username.to_owned(), secret, is_identity_token: false, origin })
    }

    /// From docker's `config.json`. A helper is a program that may hang: it gets a thread of its own and a limit.
    async fn dockers(&self) -> Result<Option<Credentials>, String> {
        // Docker Hub's entry has a name from before there were others.
        let server = if self.registry == "docker.io" { "https://index.docker.io/v1/" } else { &self.registry };
        let server = server.to_owned();
        let asked = tokio::task::spawn_blocking(move || docker_credential::get_credential(&server));
        let answer = timeout(HELPER, asked).await;
        let origin = "docker's config.json".to_owned();
        match answer {
            Err(_) => Err(format!("docker's credential helper did not answer within {} s", HELPER.as_secs())),
            Ok(Err(_)) => Err("docker's credential helper broke down".to_owned()),
            Ok(Ok(Ok(DockerCredential::UsernamePassword(username, password)))) => Ok(Some(Credentials {
                username,
                secret: SecretString::from(password),
                is_identity_token: false,
                origin,
            })),
            Ok(Ok(Ok(DockerCredential::IdentityToken(token)))) => Ok(Some(Credentials {
                username: String::new(),
                secret: SecretString::from(token),
                is_identity_token: true,
                origin,
            })),
            Ok(Ok(Err(error))) => {
                tracing::trace!(registry = self.registry, %error, "docker has no credentials for it");
                Ok(None)
            }
        }
    }
}
