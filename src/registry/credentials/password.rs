//! A user and a password from the configuration, or a token that stands for both.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;

use crate::model::{Credentials, SecretKind};

use super::Given;

/// A password file is not longer.
const LONGEST: u64 = 64 << 10;

/// Read anew at each use: whoever changes the file has changed the password.
#[derive(Debug)]
pub(super) struct Password {
    /// `None`: the token is the user's name too.
    pub(super) username: Option<String>,
    pub(super) secret: Option<Given>,
}

impl Password {
    pub(super) async fn get(&self) -> Result<Credentials, String> {
        let (secret, origin) = match &self.secret {
            Some(given) => (given.read("password_file").await?, given.origin()),
            None => return Err("it has a username in the configuration but no password".to_owned()),
        };
        let username = self.username.clone().unwrap_or_else(|| secret.expose_secret().to_owned());
        Ok(Credentials { username, secret, kind: SecretKind::Password, origin })
    }
}

impl Given {
    /// The secret. `key` is what the configuration calls the file.
    pub(super) async fn read(&self, key: &str) -> Result<SecretString, String> {
        match self {
            Self::Here(secret) => Ok(secret.clone()),
            Self::File(path) => read_secret(key, path).await,
        }
    }

    pub(super) fn origin(&self) -> String {
        match self {
            Self::Here(_) => "the configuration".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// The text of a small file, without the end of its last line.
pub(super) async fn read_secret(key: &str, path: &Path) -> Result<SecretString, String> {
    let failed = |error| format!("{key} {} can't be read: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).await.map_err(failed)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{key} {} is empty", path.display()));
    }
    Ok(SecretString::from(secret.to_owned()))
}
