//! Keeps a credential where docker keeps it: in the helper that its file names, else in the file itself.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::model::{Credentials, SecretKind};

use super::Environment;
use super::docker_file::{plain, server_name};
use super::docker_files::dockers_own;
use super::helper::Helper;

/// It could not be kept or erased.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct KeepError {
    /// What failed and what to do; never a secret.
    message: String,
    #[source]
    source: Option<std::io::Error>,
}

/// Where a credential is kept now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In the file, in base64, which hides nothing.
    InFile(PathBuf),
    /// With a helper, which this file names.
    WithHelper {
        /// `docker-credential-…`.
        helper: String,
        /// The file.
        file: PathBuf,
    },
}

fn failed(message: String) -> impl FnOnce(std::io::Error) -> KeepError {
    move |source| KeepError { message, source: Some(source) }
}

/// Docker's file, as it is: what is not ours is kept as it stands.
struct Document {
    path: PathBuf,
    whole: Map<String, Value>,
}

/// Keeps a credential for a registry, or for what is below `registry/organisation`.
///
/// # Errors
/// When the file can't be read or replaced, or its helper refuses.
pub async fn keep(
    registry: &str,
    credentials: &Credentials,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Kept, KeepError> {
    let mut document = Document::open(file, environment)?;
    let server = server_name(registry);
    let Some(helper) = document.helper(registry) else {
        document.entry(registry, &server, written(credentials))?;
        document.replace()?;
        return Ok(Kept::InFile(document.path));
    };
    let told = |message| KeepError { message, source: None };
    Helper::named(&helper).store(&server, credentials).await.map_err(told)?;
    // Docker's own mark for what a helper keeps.
    document.entry(registry, &server, json!({}))?;
    document.replace()?;
    Ok(Kept::WithHelper { helper: format!("docker-credential-{helper}"), file: document.path })
}

/// Erases what `keep` has kept. `None`: there was nothing.
///
/// # Errors
/// When the file can't be read or replaced, or its helper refuses.
pub async fn erase(registry: &str, file: Option<&Path>, environment: &Environment) -> Result<Option<Kept>, KeepError> {
    let mut document = Document::open(file, environment)?;
    let helper = document.helper(registry);
    let removed = document.remove(registry);
    if let Some(helper) = &helper {
        let told = |message| KeepError { message, source: None };
        Helper::named(helper).erase(&server_name(registry)).await.map_err(told)?;
    }
    if removed {
        document.replace()?;
    }
    Ok(match helper {
        Some(helper) => Some(Kept::WithHelper { helper: format!("docker-credential-{helper}"), file: document.path }),
        None => removed.then_some(Kept::InFile(document.path)),
    })
}

fn written(credentials: &Credentials) -> Value {
    let pair = |user: &str, password: &str| {
        let pair = SecretString::from(format!("{user}:{password}"));
        base64::engine::general_purpose::STANDARD.encode(pair.expose_secret())
    };
    let secret = credentials.secret.expose_secret();
    match credentials.kind {
        SecretKind::Password => json!({"auth": pair(&credentials.username, secret)}),
        SecretKind::IdentityToken => json!({"auth": pair(&credentials.username, ""), "identitytoken": secret}),
        SecretKind::RegistryToken => json!({"registrytoken": secret}),
    }
}

impl Document {
    fn open(file: Option<&Path>, environment: &Environment) -> Result<Self, KeepError> {
        let path = file.map(Path::to_owned).or_else(|| dockers_own(environment)).ok_or_else(|| KeepError {
            message: "neither DOCKER_CONFIG nor HOME is set, so there is no place for it".to_owned(),
            source: None,
        })?;
        // A link is kept, and what it points to is replaced.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => SecretString::from(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SecretString::from(String::new()),
            Err(error) => return Err(failed(format!("{} can't be read", path.display()))(error)),
        };
        let text = text.expose_secret();
        let whole = if text.trim().is_empty() { Ok(Map::new()) } else { serde_json::from_str(text) };
        let message = || format!("{} is not what docker writes, and is left as it is", path.display());
        let whole = whole.map_err(|_| KeepError { message: message(), source: None })?;
        Ok(Self { path, whole })
    }

    /// The helper for a registry. What is below one is kept with the registry's.
    fn helper(&self, registry: &str) -> Option<String> {
        let host = registry.split('/').next().unwrap_or(registry);
        let own = self.whole.get("credHelpers").and_then(Value::as_object);
        let own = own.and_then(|helpers| helpers.iter().find(|(key, _)| plain(key) == host)).map(|(_, value)| value);
        let helper = own.or_else(|| self.whole.get("credsStore")).and_then(Value::as_str);
        helper.filter(|helper| !helper.is_empty()).map(str::to_owned)
    }

    /// Sets the entry, in the place of every other spelling of it.
    fn entry(&mut self, registry: &str, server: &str, value: Value) -> Result<(), KeepError> {
        self.remove(registry);
        let auths = self.whole.entry("auths").or_insert_with(|| json!({}));
        if auths.is_null() {
            *auths = json!({});
        }
        let message = format!("auths in {} is no map, and is left as it is", self.path.display());
        let auths = auths.as_object_mut().ok_or(KeepError { message, source: None })?;
        auths.insert(server.to_owned(), value);
        Ok(())
    }

    fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.whole.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|key, _| plain(key) != registry);
        auths.len() != before
    }

    /// Puts a new file in the place of the old one, at once and for the user alone.
    fn replace(&self) -> Result<(), KeepError> {
        let place = self.path.display();
        let directory = self.path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed(format!("{} can't be made", directory.display())))?;
        let mut text = SecretString::from(serde_json::to_string_pretty(&self.whole).expect("JSON can be written"));
        text = format!("{}\n", text.expose_secret()).into();
        let new = directory.join(format!(".config.json.{}", std::process::id()));
        let write = || {
            let mut file = File::options();
            let file = std::os::unix::fs::OpenOptionsExt::mode(file.write(true).create_new(true), 0o600);
            let mut file = file.open(&new)?;
            // The umask may have taken even more, which is as well.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text.expose_secret().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            File::open(directory)?.sync_all()
        };
        // What an earlier run of the same id left behind, if it was killed.
        let _ = std::fs::remove_file(&new);
        let done = write();
        if done.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        done.map_err(|error| match error.raw_os_error() {
            // EBUSY: the file itself is mounted, as with `-v ~/.docker/config.json:…`.
            Some(16) => {
                failed(format!("{place} is mounted as a single file and can't be replaced: mount its directory"))(error)
            }
            _ => failed(format!("{place} can't be replaced"))(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(secret: &str, kind: SecretKind) -> Credentials {
        let secret = SecretString::from(secret.to_owned());
        Credentials { username: "bot".to_owned(), secret, kind, origin: "test".to_owned() }
    }

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_credential_is_kept_beside_what_else_stands_there_and_erased_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, environment) = (dir.path().join("new/config.json"), Environment::default());
        let kept = keep("ghcr.io", &bot("pw", SecretKind::Password), Some(&path), &environment).await.unwrap();
        assert_eq!(kept, Kept::InFile(path.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let mut file = read(&path);
        file["psFormat"] = json!("table");
        file["auths"]["https://ghcr.io/v2/"] = json!({"auth": "old"});
        std::fs::write(&path, file.to_string()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();

        keep("ghcr.io", &bot("new", SecretKind::Password), Some(&path), &environment).await.unwrap();
        keep("ghcr.io/acme", &bot("it", SecretKind::IdentityToken), Some(&path), &environment).await.unwrap();
        keep("docker.io", &bot("hub", SecretKind::Password), Some(&path), &environment).await.unwrap();
        let expected = json!({"auths": {
            "ghcr.io": {"auth": "Ym90Om5ldw=="},
            "ghcr.io/acme": {"auth": "Ym90Og==", "identitytoken": "it"},
            "https://index.docker.io/v1/": {"auth": "Ym90Omh1Yg=="},
        }, "psFormat": "table"});
        assert_eq!(read(&path), expected);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");

        for (registry, there) in [("docker.io", true), ("docker.io", false), ("ghcr.io", true), ("quay.io", false)] {
            let erased = erase(registry, Some(&path), &environment).await.unwrap();
            assert_eq!(erased.is_some(), there, "{registry}");
        }
        assert_eq!(read(&path)["auths"], json!({"ghcr.io/acme": {"auth": "Ym90Og==", "identitytoken": "it"}}));
    }

    #[tokio::test]
    async fn a_link_stays_a_link_and_a_broken_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, environment) = (dir.path().join("real"), dir.path().join("link"), Environment::default());
        std::fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        keep("a.io", &bot("pw", SecretKind::Password), Some(&link), &environment).await.unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&real)["auths"]["a.io"]["auth"], json!("Ym90OnB3"));
        for text in ["[]", "{\"auths\": \"s3cret\"}", "{"] {
            std::fs::write(&real, text).unwrap();
            let error = keep("a.io", &bot("pw", SecretKind::Password), Some(&link), &environment).await.unwrap_err();
            assert!(error.to_string().contains("left as it is") && !error.to_string().contains("s3cret"), "{error}");
            assert_eq!(std::fs::read_to_string(&real).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_missing_is_told_and_nothing_is_written_in_its_stead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        for config in [json!({"credsStore": "of-nobody"}), json!({"credHelpers": {"https://a.io": "of-nobody"}})] {
            std::fs::write(&path, config.to_string()).unwrap();
            for registry in ["a.io", "a.io/acme"] {
                let kept = bot("s3cret", SecretKind::Password);
                let error = keep(registry, &kept, Some(&path), &Environment::default()).await.unwrap_err();
                assert!(error.to_string().contains("docker-credential-of-nobody can't be run"), "{error}");
            }
            assert_eq!(read(&path), config);
        }
    }
}
