//! Google's registries: an access token is the password.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Duration;

use crate::model::{Credentials, SecretKind};

use super::Environment;
use super::environment::{ask, form, safe_url};
use super::lease::{Lease, Source};
use super::password::read_secret;

/// The user that goes with an access token.
const USER: &str = "oauth2accesstoken";

/// What the token may do; what the account may do is less.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

const METADATA: &str = "metadata.google.internal";

/// Who to be; found out when it is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoogleSettings {
    /// The JSON key of a service account; `None`: what Google's own tools would take.
    pub key_file: Option<PathBuf>,
    /// The token service; `None`: the key's.
    pub endpoint: Option<String>,
}

/// It.
#[derive(Debug)]
pub(super) struct Google {
    settings: GoogleSettings,
    environment: Environment,
}

/// What Google's tools write.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum KeyFile {
    ServiceAccount {
        client_email: String,
        private_key: SecretString,
        private_key_id: Option<String>,
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: SecretString,
        refresh_token: SecretString,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    expires_in: Option<u64>,
}

/// A registry of Google's.
pub(super) fn is_google(registry: &str) -> bool {
    registry == "gcr.io" || registry.ends_with(".gcr.io") || registry.ends_with("-docker.pkg.dev")
}

impl Google {
    pub(super) fn new(settings: &GoogleSettings, environment: &Environment) -> Self {
        Self { settings: settings.clone(), environment: environment.clone() }
    }

    /// The key that is named, or that gcloud has left here.
    fn key_file(&self) -> Option<PathBuf> {
        let named = self.settings.key_file.clone();
        let named = named.or_else(|| self.environment.path("GOOGLE_APPLICATION_CREDENTIALS"));
        let gclouds = || self.environment.home(".config/gcloud/application_default_credentials.json");
        named.or_else(|| gclouds().filter(|path| path.exists()))
    }

    async fn by_key(&self, path: &Path) -> Result<Lease, String> {
        let place = path.display();
        let text = read_secret("key_file", path).await?;
        let key: KeyFile = serde_json::from_str(text.expose_secret())
            .map_err(|_| format!("{place} is no key of a service account"))?;
        let usual = "https://oauth2.googleapis.com/token";
        let (pairs, origin, service): (Vec<(&str, SecretString)>, _, _) = match key {
            KeyFile::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
                let service = self.settings.endpoint.clone().or(token_uri).unwrap_or_else(|| usual.to_owned());
                let assertion = assertion(&client_email, &private_key, private_key_id.as_deref(), &service)
                    .map_err(|why| format!("{place} {why}"))?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned();
                let pairs = vec![("grant_type", grant.into()), ("assertion", assertion)];
                (pairs, format!("service account {client_email} ({place})"), service)
            }
            KeyFile::AuthorizedUser { client_id, client_secret, refresh_token } => {
                let pairs = vec![
                    ("grant_type", "refresh_token".to_owned().into()),
                    ("client_id", client_id.into()),
                    ("client_secret", client_secret),
                    ("refresh_token", refresh_token),
                ];
                let service = self.settings.endpoint.clone().unwrap_or_else(|| usual.to_owned());
                (pairs, format!("a user's login ({place})"), service)
            }
            KeyFile::Other => {
                return Err(format!(
                    "{place} is neither a service account's key nor a user's login, and nothing else is known"
                ));
            }
        };
        let url = safe_url("Google's token service", &service)?;
        let whom = format!("Google's token service, asked as {origin},");
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
        let request = form(self.environment.far()?.post(url), &pairs);
        Ok(lease(ask(&whom, request).await?.document(&whom)?, &origin))
    }

    async fn by_metadata(&self) -> Result<Lease, String> {
        let whom = "Google's metadata server";
        let host = self.environment.get("GCE_METADATA_HOST").unwrap_or_else(|| METADATA.to_owned());
        let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
        let request = self.environment.near()?.get(url).header("metadata-flavor", "Google");
        let said = ask(whom, request)
            .await
            .map_err(|why| format!("there is no key_file, GOOGLE_APPLICATION_CREDENTIALS is not set, and {why}"))?;
        Ok(lease(said.document(whom)?, "the instance's service account"))
    }
}

#[async_trait]
impl Source for Google {
    async fn ask(&self) -> Result<Lease, String> {
        let lease = match self.key_file() {
            Some(path) => self.by_key(&path).await,
            None => self.by_metadata().await,
        };
        lease.map_err(|why| format!("provider google: {why}"))
    }
}

fn lease(answer: Answer, origin: &str) -> Lease {
    let (username, secret) = (USER.to_owned(), answer.access_token);
    let origin = format!("provider google as {origin}");
    let life = Some(Duration::from_secs(answer.expires_in.unwrap_or(3600).min(86_400)));
    Lease { credentials: Credentials { username, secret, kind: SecretKind::Password, origin }, life }
}

/// A JWT that the account has signed (RFC 7523), good for an hour, which is the most that Google takes.
fn assertion(email: &str, key: &SecretString, id: Option<&str>, audience: &str) -> Result<SecretString, &'static str> {
    let unusable = "holds no usable private key";
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).map_err(|_| unusable)?;
    let key = match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(unusable),
    };
    let key = key.map_err(|_| unusable)?;
    let now = chrono::Utc::now().timestamp();
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": id});
    let claims = json!({"iss": email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + 3600});
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).map_err(|_| unusable)?;
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
