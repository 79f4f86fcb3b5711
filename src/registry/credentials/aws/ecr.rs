//! ECR's passwords.

use async_trait::async_trait;
use base64::Engine;
use chrono::Utc;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Duration;

use crate::model::{Credentials, SecretKind};
use crate::registry::credentials::Environment;
use crate::registry::credentials::environment::{ask, safe_url};
use crate::registry::credentials::lease::{Lease, Source};

use super::identity::{keys, region};
use super::signing::{Call, sign};

/// What an answer without an end lasts (ECR's documentation).
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// The public registry is served from this region alone.
const PUBLIC: &str = "us-east-1";

/// Who to be, and where to ask; everything is found out when it is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// `None`: that in the registry's name.
    pub region: Option<String>,
    /// A profile in `~/.aws`, and nothing else.
    pub profile: Option<String>,
    /// The API's address; `None`: the region's.
    pub endpoint: Option<String>,
}

/// A private registry.
#[derive(Debug)]
pub(in crate::registry::credentials) struct Ecr {
    settings: AwsSettings,
    registry: String,
    environment: Environment,
}

/// The public registry.
#[derive(Debug)]
pub(in crate::registry::credentials) struct EcrPublic {
    settings: AwsSettings,
    environment: Environment,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<T> {
    authorization_data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_token: SecretString,
    /// Seconds since 1970, with a fraction.
    expires_at: Option<f64>,
}

/// One request of the API.
struct Request<'a> {
    provider: &'static str,
    service: &'static str,
    target: &'static str,
    region: &'a str,
    endpoint: String,
}

/// What the name of a private registry says: its region, whether it is of the FIPS kind, and the domain's end.
pub(in crate::registry::credentials) fn ecr_host(registry: &str) -> Option<(&str, bool, &str)> {
    let (account, rest) = registry.split_once('.')?;
    let numbers = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !numbers(account) {
        return None;
    }
    let (fips, rest) = if let Some(rest) = rest.strip_prefix("dkr.ecr.").or_else(|| rest.strip_prefix("dkr-ecr.")) {
        (false, rest)
    } else {
        (true, rest.strip_prefix("dkr.ecr-fips.").or_else(|| rest.strip_prefix("dkr-ecr-fips."))?)
    };
    let (region, domain) = rest.split_once('.')?;
    let known = matches!(domain, "amazonaws.com" | "amazonaws.com.cn" | "on.aws" | "on.amazonwebservices.com.cn");
    (known && !region.is_empty()).then_some((region, fips, domain))
}

/// Where AWS's own tools are told to go.
fn endpoint(settings: &AwsSettings, environment: &Environment, variable: &str) -> Option<String> {
    settings.endpoint.clone().or_else(|| environment.get(variable)).or_else(|| environment.get("AWS_ENDPOINT_URL"))
}

impl Ecr {
    pub(in crate::registry::credentials) fn new(
        settings: &AwsSettings,
        registry: &str,
        environment: &Environment,
    ) -> Self {
        Self { settings: settings.clone(), registry: registry.to_owned(), environment: environment.clone() }
    }
}

impl EcrPublic {
    pub(in crate::registry::credentials) fn new(settings: &AwsSettings, environment: &Environment) -> Self {
        Self { settings: settings.clone(), environment: environment.clone() }
    }
}

#[async_trait]
impl Source for Ecr {
    async fn ask(&self) -> Result<Lease, String> {
        let host = ecr_host(&self.registry);
        let named = self.settings.region.clone().or_else(|| host.map(|(region, ..)| region.to_owned()));
        let region = match named {
            Some(region) => region,
            None => region(self.settings.profile.as_deref(), &self.environment).await.ok_or_else(|| {
                format!("{} names no region of AWS: set `region` beside `provider: ecr`", self.registry)
            })?,
        };
        let fips = if host.is_some_and(|(_, fips, _)| fips) { "ecr-fips" } else { "api.ecr" };
        let ending = if region.starts_with("cn-") { ".cn" } else { "" };
        let usual = || format!("https://{fips}.{region}.amazonaws.com{ending}/");
        let request = Request {
            provider: "ecr",
            service: "ecr",
            target: "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
            region: &region,
            endpoint: endpoint(&self.settings, &self.environment, "AWS_ENDPOINT_URL_ECR").unwrap_or_else(usual),
        };
        let (answer, origin) =
            request.send::<Answer<Vec<Authorization>>>(self.settings.profile.as_deref(), &self.environment).await?;
        let first = answer.authorization_data.into_iter().next();
        first.ok_or("ECR's API gave no password")?.lease(origin)
    }
}

#[async_trait]
impl Source for EcrPublic {
    async fn ask(&self) -> Result<Lease, String> {
        let usual = || format!("https://api.ecr-public.{PUBLIC}.amazonaws.com/");
        let request = Request {
            provider: "ecr-public",
            service: "ecr-public",
            target: "SpencerFrontendService.GetAuthorizationToken",
            region: PUBLIC,
            endpoint: endpoint(&self.settings, &self.environment, "AWS_ENDPOINT_URL_ECR_PUBLIC").unwrap_or_else(usual),
        };
        let (answer, origin) =
            request.send::<Answer<Authorization>>(self.settings.profile.as_deref(), &self.environment).await?;
        answer.authorization_data.lease(origin)
    }
}

impl Request<'_> {
    /// The answer, and what messages call who asked.
    async fn send<T: DeserializeOwned>(
        &self,
        profile: Option<&str>,
        environment: &Environment,
    ) -> Result<(T, String), String> {
        let told = |why: String| format!("provider {}: {why}", self.provider);
        let keys = keys(profile, self.region, environment).await.map_err(told)?;
        let url = safe_url("endpoint", &self.endpoint).map_err(told)?;
        let whom = format!("{}, asked with the keys of {},", url.host_str().unwrap_or_default(), keys.origin);
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", self.target)];
        let call = Call { service: self.service, region: self.region, url: &url, headers: &headers, body: "{}" };
        let mut request = environment.far().map_err(told)?.post(url.clone()).body("{}");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in sign(&call, &keys, Utc::now()) {
            let mut value = HeaderValue::from_str(value.expose_secret())
                .map_err(|_| told(format!("the keys of {} hold characters that can't be sent", keys.origin)))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let answer = ask(&whom, request).await.and_then(|said| said.document(&whom)).map_err(told)?;
        Ok((answer, format!("provider {} with the keys of {}", self.provider, keys.origin)))
    }
}

impl Authorization {
    /// `AWS:<password>` in base64.
    fn lease(self, origin: String) -> Result<Lease, String> {
        let nonsense = || format!("{origin} got something else than a password");
        let token = self.authorization_token.expose_secret();
        let pair = base64::engine::general_purpose::STANDARD.decode(token).map_err(|_| nonsense())?;
        let pair = SecretString::from(String::from_utf8(pair).map_err(|_| nonsense())?);
        let (username, password) = pair.expose_secret().split_once(':').ok_or_else(nonsense)?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a double")]
        let left = self.expires_at.map(|end| end - Utc::now().timestamp() as f64);
        let life = left.map_or(LIFE, |left| Duration::from_secs_f64(left.clamp(0.0, LIFE.as_secs_f64())));
        let (username, secret) = (username.to_owned(), SecretString::from(password.to_owned()));
        Ok(Lease {
            credentials: Credentials { username, secret, kind: SecretKind::Password, origin },
            life: Some(life),
        })
    }
}
