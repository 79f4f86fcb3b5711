//! The keys that AWS puts within reach of an instance (IMDSv2) or a container (ECS, EKS).

use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::registry::credentials::Environment;
use crate::registry::credentials::environment::{ask, safe_url};
use crate::registry::credentials::password::read_secret;

use super::signing::Keys;

/// The instance's metadata service.
const INSTANCE: &str = "http://169.254.169.254";

/// ECS's service for tasks.
const TASK: &str = "http://169.254.170.2";

/// Both services answer in this form.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: Option<String>,
    secret_access_key: Option<SecretString>,
    token: Option<SecretString>,
}

impl Answer {
    fn keys(self, origin: String) -> Result<Keys, String> {
        match (self.access_key_id, self.secret_access_key) {
            (Some(id), Some(secret)) => Ok(Keys { id, secret, session: self.token, origin }),
            _ => Err(format!("{origin} gave no keys")),
        }
    }
}

/// A container's, where its environment says that there are some.
pub(super) async fn container(environment: &Environment) -> Option<Result<Keys, String>> {
    let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{TASK}{path}"));
    let place = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI").or(relative)?;
    Some(container_at(environment, &place).await)
}

async fn container_at(environment: &Environment, place: &str) -> Result<Keys, String> {
    let whom = "AWS's container credentials service";
    let url = safe_url(whom, place)?;
    let token = match environment.path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => Some(read_secret("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &path).await?),
        None => environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(SecretString::from),
    };
    let client = if url.scheme() == "https" { environment.far()? } else { environment.near()? };
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.header("authorization", token.expose_secret());
    }
    let answer: Answer = ask(whom, request).await?.document(whom)?;
    answer.keys("the container's role".to_owned())
}

/// The instance's role.
pub(super) async fn instance(environment: &Environment) -> Result<Keys, String> {
    let whom = "the instance's metadata service";
    if environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(format!("{whom} is disabled by AWS_EC2_METADATA_DISABLED"));
    }
    let base = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE.to_owned());
    let base = safe_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", &base)?;
    let client = environment.near()?;
    let place = |path: &str| base.join(path).map_err(|_| format!("{base} is no address of a service"));
    let request = client.put(place("/latest/api/token")?).header("x-aws-ec2-metadata-token-ttl-seconds", "300");
    let token = text(ask(whom, request).await?.well(whom)?, whom)?;
    let get = |url| client.get(url).header("x-aws-ec2-metadata-token", token.expose_secret());
    let roles = place("/latest/meta-data/iam/security-credentials/")?;
    let said = ask(whom, get(roles.clone())).await?;
    if said.status == StatusCode::NOT_FOUND {
        return Err("the instance has no role: attach one that may read the registry".to_owned());
    }
    let role = text(said.well(whom)?, whom)?;
    let role = role.expose_secret().lines().next().unwrap_or_default().trim().to_owned();
    let url = roles.join(&role).map_err(|_| format!("{whom} named a role that is no name"))?;
    let answer: Answer = ask(whom, get(url)).await?.document(whom)?;
    answer.keys(format!("the instance's role {role}"))
}

fn text(body: Vec<u8>, whom: &str) -> Result<SecretString, String> {
    let text = String::from_utf8(body).map_err(|_| format!("{whom} answered with something else than expected"))?;
    Ok(SecretString::from(text.trim().to_owned()))
}
