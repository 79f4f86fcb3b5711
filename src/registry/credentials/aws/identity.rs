//! Who we are to AWS: the places where its own tools look, in their order.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;

use crate::registry::credentials::Environment;
use crate::registry::credentials::environment::{ask, form, safe_url};
use crate::registry::credentials::password::read_secret;

use super::near::{container, instance};
use super::profile::{Section, section, setting};
use super::signing::Keys;

/// A profile file is not longer.
const LONGEST: u64 = 1 << 20;

/// The environment, a web identity, the profile, the container's role, the instance's. With a profile that is named
/// only that one.
pub(super) async fn keys(profile: Option<&str>, region: &str, environment: &Environment) -> Result<Keys, String> {
    if let Some(name) = profile {
        let keys = from_profile(name, environment).await?;
        return keys.ok_or_else(|| format!("there is no profile {name:?} in {}", places(environment)));
    }
    if let Some(keys) = from_variables(environment)? {
        return Ok(keys);
    }
    if let Some(path) = environment.path("AWS_WEB_IDENTITY_TOKEN_FILE") {
        return web_identity(&path, region, environment).await;
    }
    let named = environment.get("AWS_PROFILE");
    match from_profile(named.as_deref().unwrap_or("default"), environment).await? {
        Some(keys) => return Ok(keys),
        None if named.is_some() => {
            return Err(format!("AWS_PROFILE names a profile that is not in {}", places(environment)));
        }
        None => {}
    }
    if let Some(keys) = container(environment).await {
        return keys;
    }
    let nowhere =
        |why| format!("there are no keys in the environment, in {} or for a container, and {why}", places(environment));
    instance(environment).await.map_err(nowhere)
}

/// The region that is set for the profile or for all.
pub(super) async fn region(profile: Option<&str>, environment: &Environment) -> Option<String> {
    let named = environment.get("AWS_REGION").or_else(|| environment.get("AWS_DEFAULT_REGION"));
    if profile.is_none() && named.is_some() {
        return named;
    }
    let of_environment = environment.get("AWS_PROFILE");
    let profile = profile.or(of_environment.as_deref()).unwrap_or("default");
    let section = read(&config_file(environment)?, profile).await.ok()??;
    setting(&section, "region").map(|region| region.expose_secret().to_owned()).or(named)
}

fn from_variables(environment: &Environment) -> Result<Option<Keys>, String> {
    let (id, secret) = (environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY"));
    match (id, secret) {
        (Some(id), Some(secret)) => {
            let session = environment.get("AWS_SESSION_TOKEN").map(SecretString::from);
            Ok(Some(Keys { id, secret: secret.into(), session, origin: "the environment".to_owned() }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not".to_owned()),
        (None, Some(_)) => Err("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not".to_owned()),
    }
}

fn credentials_file(environment: &Environment) -> Option<PathBuf> {
    environment.path("AWS_SHARED_CREDENTIALS_FILE").or_else(|| environment.home(".aws/credentials"))
}

fn config_file(environment: &Environment) -> Option<PathBuf> {
    environment.path("AWS_CONFIG_FILE").or_else(|| environment.home(".aws/config"))
}

fn places(environment: &Environment) -> String {
    let files = [credentials_file(environment), config_file(environment)];
    let names: Vec<String> = files.iter().flatten().map(|path| path.display().to_string()).collect();
    if names.is_empty() { "~/.aws (HOME is not set)".to_owned() } else { names.join(" and ") }
}

async fn from_profile(name: &str, environment: &Environment) -> Result<Option<Keys>, String> {
    let mut known = None;
    for path in [credentials_file(environment), config_file(environment)].into_iter().flatten() {
        let Some(section) = read(&path, name).await? else { continue };
        let value = |key: &str| setting(&section, key);
        if let (Some(id), Some(secret)) = (value("aws_access_key_id"), value("aws_secret_access_key")) {
            let origin = format!("profile {name:?} in {}", path.display());
            let (id, secret) = (id.expose_secret().to_owned(), secret.clone());
            return Ok(Some(Keys { id, secret, session: value("aws_session_token").cloned(), origin }));
        }
        known = known.or_else(|| foreign(&section).map(|key| (key, path)));
    }
    match known {
        Some((key, path)) => Err(format!(
            "profile {name:?} in {} has {key} and no keys, which tagboat does not follow; use `provider: exec` with \
             docker-credential-ecr-login, or keys",
            path.display()
        )),
        None => Ok(None),
    }
}

/// Ways to keys that are AWS's tools' own.
fn foreign(section: &Section) -> Option<&'static str> {
    ["sso_session", "sso_start_url", "role_arn", "credential_process", "login_session"]
        .into_iter()
        .find(|key| setting(section, key).is_some())
}

async fn read(path: &Path, profile: &str) -> Result<Option<Section>, String> {
    let failed = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).await.map_err(failed)?;
    Ok(section(&text, profile))
}

/// A token of another service (Kubernetes) for a role's keys.
async fn web_identity(path: &Path, region: &str, environment: &Environment) -> Result<Keys, String> {
    let whom = "AWS's security token service";
    let role = environment.get("AWS_ROLE_ARN").ok_or("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not")?;
    let session = environment.get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "tagboat".to_owned());
    let token = read_secret("AWS_WEB_IDENTITY_TOKEN_FILE", path).await?;
    let ending = if region.starts_with("cn-") { ".cn" } else { "" };
    let usual = format!("https://sts.{region}.amazonaws.com{ending}/");
    let url = safe_url("AWS_ENDPOINT_URL_STS", &environment.get("AWS_ENDPOINT_URL_STS").unwrap_or(usual))?;
    let pairs = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", &role),
        ("RoleSessionName", &session),
        ("WebIdentityToken", token.expose_secret()),
    ];
    let request = form(environment.far()?.post(url), &pairs);
    let body = ask(whom, request).await?.well(whom)?;
    let text = SecretString::from(String::from_utf8_lossy(&body).into_owned());
    let field = |name: &str| element(text.expose_secret(), name).map(str::to_owned);
    let missing = || format!("{whom} answered with something else than keys");
    Ok(Keys {
        id: field("AccessKeyId").ok_or_else(missing)?,
        secret: field("SecretAccessKey").ok_or_else(missing)?.into(),
        session: field("SessionToken").map(SecretString::from),
        origin: format!("the web identity as {role}"),
    })
}

/// The text of the first element of a name. The three that are asked for hold no markup and no entities.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.trim())
}
