//! `tagboat login` and `logout`. A secret is never an argument: those can be read by everyone on the host.

use std::io::{self, IsTerminal, Read};

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::args::{LoginFlags, LogoutFlags};
use super::exit::{Exit, Failure};
use super::out::{Out, Tone, safe};
use super::secret::{ask, ask_secret};
use crate::app::{self, LoginError};
use crate::model::{Credentials, Repository, SecretKind};
use crate::registry::{Kept, Verdict};

/// A password is not longer.
const LONGEST: u64 = 64 << 10;

pub(super) fn login(out: &mut Out, flags: &LoginFlags, json: bool) -> Result<Exit, Failure> {
    let registry = name(&flags.registry)?;
    let credentials = credentials(&registry, flags)?;
    let (verdict, kept) = app::login(&flags.file.config, &registry, &credentials).map_err(failed)?;
    if json {
        let verified = verdict == Verdict::Accepted;
        out.json(&json!({"registry": registry, "username": credentials.username, "verified": verified, "kept": place(&kept)}))?;
        return Ok(Exit::Done);
    }
    match verdict {
        Verdict::Accepted => out.line(Tone::Good, &format!("{registry} lets {} in", safe(&credentials.username)))?,
        Verdict::NotAsked => {
            let text = format!("{registry} lets anyone in without asking: whether the password is right is not known");
            out.line(Tone::Warning, &text)?;
        }
    }
    out.line(Tone::Plain, &format!("kept {}", place(&kept)))?;
    if matches!(kept, Kept::InFile(_)) {
        let hint = "it is not encrypted there, as with `docker login`; a helper (`credsStore`) would do that";
        out.line(Tone::Quiet, hint)?;
    }
    Ok(Exit::Done)
}

pub(super) fn logout(out: &mut Out, flags: &LogoutFlags, json: bool) -> Result<Exit, Failure> {
    let registry = name(&flags.registry)?;
    let kept = app::logout(&registry).map_err(failed)?;
    if json {
        out.json(&json!({"registry": registry, "erased": kept.as_ref().map(place)}))?;
        return Ok(Exit::Done);
    }
    match kept {
        Some(kept) => out.line(Tone::Good, &format!("erased what was kept for {registry} {}", place(&kept)))?,
        None => out.line(Tone::Plain, &format!("nothing was kept for {registry}"))?,
    }
    Ok(Exit::Done)
}

fn failed(error: LoginError) -> Failure {
    let exit = if matches!(error, LoginError::Unusable(app::Error::Config(_))) { Exit::Usage } else { Exit::Failed };
    Failure::new(exit, error)
}

fn place(kept: &Kept) -> String {
    match kept {
        Kept::InFile(path) => format!("in {}", path.display()),
        Kept::WithHelper { helper, file } => format!("with {helper}, which {} names", file.display()),
    }
}

/// A registry's name, or that and an organisation, as references have it.
fn name(text: &str) -> Result<String, Failure> {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let bare = bare.trim_end_matches('/');
    let bare = if matches!(bare, "index.docker.io/v1" | "index.docker.io" | "registry-1.docker.io") {
        "docker.io"
    } else {
        bare
    };
    let host = bare.split('/').next().unwrap_or_default();
    let parsed: Result<Repository, _> = format!("{bare}/x").parse();
    match parsed {
        Ok(repository) if repository.registry() == host => Ok(bare.to_owned()),
        _ => Err(Failure::usage(format!(
            "{text:?} is no name of a registry; write it like `ghcr.io`, `registry.example.com:5000` or `ghcr.io/acme`"
        ))),
    }
}

fn credentials(registry: &str, flags: &LoginFlags) -> Result<Credentials, Failure> {
    let username = match (&flags.username, flags.token) {
        (Some(username), _) => Some(username.clone()),
        (None, true) => token_user(registry)?,
        (None, false) if flags.password_stdin => {
            return Err(Failure::usage("--password-stdin needs --username, or --token for a token that is its own"));
        }
        (None, false) => Some(ask(&format!("user at {registry}: "))?),
    };
    let what = if flags.token { "token" } else { "password" };
    let secret = match flags.password_stdin {
        true => from_stdin()?,
        false if !io::stdin().is_terminal() => {
            return Err(Failure::usage(format!(
                "this is no terminal to type a {what} at: give it with --password-stdin"
            )));
        }
        false => ask_secret(&format!("{what}: "))?,
    };
    if secret.expose_secret().is_empty() {
        return Err(Failure::usage(format!("the {what} is empty")));
    }
    let username = username.unwrap_or_else(|| secret.expose_secret().to_owned());
    let origin = "the command line".to_owned();
    Ok(Credentials { username, secret, kind: SecretKind::Password, origin })
}

/// The user that goes with a token. `None`: the token itself.
fn token_user(registry: &str) -> Result<Option<String>, Failure> {
    let host = registry.split('/').next().unwrap_or(registry);
    Ok(Some(match host {
        "docker.io" => {
            return Err(Failure::usage("Docker Hub wants your own name beside an access token: give --username"));
        }
        "registry.digitalocean.com" => return Ok(None),
        "quay.io" => "$oauthtoken".to_owned(),
        "gcr.io" => "oauth2accesstoken".to_owned(),
        host if host.ends_with(".gcr.io") || host.ends_with("-docker.pkg.dev") => "oauth2accesstoken".to_owned(),
        host if host.ends_with(".azurecr.io") => "00000000-0000-0000-0000-000000000000".to_owned(),
        // GitHub, GitLab, Gitea and others take any.
        _ => "token".to_owned(),
    }))
}

fn from_stdin() -> Result<SecretString, Failure> {
    let mut text = String::new();
    io::stdin().lock().take(LONGEST).read_to_string(&mut text)?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}
