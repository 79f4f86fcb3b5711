//! Azure's registries: a token of Microsoft Entra is exchanged for the registry's own refresh token, which the registry's
//! token service then takes as it takes an identity token.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::Duration;

use crate::model::{Credentials, SecretKind};

use super::environment::{ask, form, safe_url};
use super::helper::until;
use super::lease::{Lease, Source};
use super::password::read_secret;
use super::{Environment, Given};

/// Whom the token is for: registries of every cloud take this audience, also those that refuse that of the ARM API.
const AUDIENCE: &str = "https://containerregistry.azure.net";

/// The instance's metadata service.
const INSTANCE: &str = "http://169.254.169.254";

/// A refresh token lasts so long where it does not say it itself (ACR's documentation).
const LIFE: Duration = Duration::from_secs(3 * 3600);

/// Who to be; what is not said is taken from the variables of Azure's own tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzureSettings {
    /// The directory; `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// The service principal, or the managed identity where there are several; `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// The service principal's secret; `AZURE_CLIENT_SECRET`. Without one it is a managed identity.
    pub client_secret: Option<Given>,
    /// The authority; `None`: `https://login.microsoftonline.com`, or `AZURE_AUTHORITY_HOST`.
    pub endpoint: Option<String>,
}

/// It, for one registry.
#[derive(Debug)]
pub(super) struct Acr {
    settings: AzureSettings,
    registry: String,
    plain: bool,
    environment: Environment,
}

#[derive(Deserialize)]
struct Access {
    access_token: SecretString,
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: SecretString,
}

/// A registry of Azure's.
pub(super) fn is_acr(registry: &str) -> bool {
    [".azurecr.io", ".azurecr.cn", ".azurecr.us"].iter().any(|end| registry.ends_with(end))
}

impl Acr {
    pub(super) fn new(settings: &AzureSettings, registry: &str, plain: bool, environment: &Environment) -> Self {
        Self { settings: settings.clone(), registry: registry.to_owned(), plain, environment: environment.clone() }
    }

    fn setting(&self, given: Option<&String>, variable: &str) -> Option<String> {
        given.cloned().or_else(|| self.environment.get(variable))
    }

    /// A token of the directory, and what messages call who has it.
    async fn access(&self) -> Result<(SecretString, String), String> {
        let client = self.setting(self.settings.client_id.as_ref(), "AZURE_CLIENT_ID");
        let secret = match &self.settings.client_secret {
            Some(given) => Some(given.read("client_secret_file").await?),
            None => self.environment.get("AZURE_CLIENT_SECRET").map(SecretString::from),
        };
        let federated = self.environment.path("AZURE_FEDERATED_TOKEN_FILE");
        let tenant = self.setting(self.settings.tenant_id.as_ref(), "AZURE_TENANT_ID");
        let proof = match (secret, federated) {
            (Some(secret), _) => vec![("client_secret", secret)],
            (None, Some(path)) => vec![
                ("client_assertion", read_secret("AZURE_FEDERATED_TOKEN_FILE", &path).await?),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned().into()),
            ],
            (None, None) => return self.managed(client.as_deref()).await,
        };
        match (tenant, client) {
            (Some(tenant), Some(client)) => self.principal(&tenant, &client, &proof).await,
            _ => Err("a service principal has a tenant_id and a client_id besides its secret".to_owned()),
        }
    }

    async fn principal(
        &self,
        tenant: &str,
        client: &str,
        proof: &[(&str, SecretString)],
    ) -> Result<(SecretString, String), String> {
        let authority = self.setting(self.settings.endpoint.as_ref(), "AZURE_AUTHORITY_HOST");
        let authority = authority.unwrap_or_else(|| "https://login.microsoftonline.com".to_owned());
        let url =
            safe_url("Azure's authority", &format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/')))?;
        let scope = format!("{AUDIENCE}/.default");
        let mut pairs = vec![("grant_type", "client_credentials"), ("client_id", client), ("scope", scope.as_str())];
        pairs.extend(proof.iter().map(|(name, value)| (*name, value.expose_secret())));
        let origin = format!("service principal {client}");
        let whom = format!("Azure's authority, asked as {origin},");
        let request = form(self.environment.far()?.post(url), &pairs);
        let access: Access = ask(&whom, request).await?.document(&whom)?;
        Ok((access.access_token, origin))
    }

    /// The identity that the instance, or the app service, was given.
    async fn managed(&self, client: Option<&str>) -> Result<(SecretString, String), String> {
        let whom = "Azure's managed identity service";
        let own = self.environment.get("IDENTITY_ENDPOINT").zip(self.environment.get("IDENTITY_HEADER"));
        let host = self.environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or_else(|| INSTANCE.to_owned());
        let place = match &own {
            Some((place, _)) => place.clone(),
            None => format!("{}/metadata/identity/oauth2/token", host.trim_end_matches('/')),
        };
        let mut url = safe_url(whom, &place)?;
        let version = if own.is_some() { "2019-08-01" } else { "2018-02-01" };
        url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", AUDIENCE);
        if let Some(client) = client {
            url.query_pairs_mut().append_pair("client_id", client);
        }
        let request = self.environment.near()?.get(url);
        let request = match own {
            Some((_, header)) => request.header("x-identity-header", header),
            None => request.header("metadata", "true"),
        };
        let said = ask(whom, request).await;
        let access: Access = said.map_err(|why| format!("no client_secret is set, and {why}"))?.document(whom)?;
        let origin = client.map_or_else(|| "the managed identity".to_owned(), |id| format!("managed identity {id}"));
        Ok((access.access_token, origin))
    }

    /// The registry's own refresh token.
    async fn exchange(&self) -> Result<Lease, String> {
        let (access, origin) = self.access().await?;
        let scheme = if self.plain { "http" } else { "https" };
        let url = format!("{scheme}://{}/oauth2/exchange", self.registry);
        let mut pairs = vec![("grant_type", "access_token"), ("service", self.registry.as_str())];
        pairs.push(("access_token", access.expose_secret()));
        let tenant = self.setting(self.settings.tenant_id.as_ref(), "AZURE_TENANT_ID");
        pairs.extend(tenant.iter().map(|tenant| ("tenant", tenant.as_str())));
        let client = if self.plain { self.environment.near()? } else { self.environment.far()? };
        let request = form(client.post(url), &pairs);
        let whom = format!("{}, asked to exchange the token of {origin},", self.registry);
        let refresh: Refresh = ask(&whom, request).await?.document(&whom)?;
        let (username, secret) = (String::new(), refresh.refresh_token);
        let life = Some(life(secret.expose_secret()).unwrap_or(LIFE));
        let origin = format!("provider azure as {origin}");
        Ok(Lease { credentials: Credentials { username, secret, kind: SecretKind::IdentityToken, origin }, life })
    }
}

#[async_trait]
impl Source for Acr {
    async fn ask(&self) -> Result<Lease, String> {
        self.exchange().await.map_err(|why| format!("provider azure: {why}"))
    }
}

/// What a JWT says of its own end. It is not verified: the registry does that.
fn life(token: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    until(chrono::DateTime::from_timestamp(claims.exp, 0)?)
}
