//! What the configuration can say besides a user and a password, and what a registry's name suggests.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::registry::refusal::same;

use super::aws::{AwsSettings, Ecr, EcrPublic, ecr_host};
use super::azure::{Acr, AzureSettings, is_acr};
use super::exec::{Exec, ExecSettings};
use super::google::{Google, GoogleSettings, is_google};
use super::lease::{Renewed, Source};
use super::{Environment, password::Password};

/// A secret in the configuration, or in a file that is read anew at each use.
#[derive(Debug, Clone)]
pub enum Given {
    /// Itself.
    Here(SecretString),
    /// Its file.
    File(PathBuf),
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(one), Self::Here(other)) => same(one, other),
            (Self::File(one), Self::File(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Given {}

/// Who knows the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Amazon's private registries (12 hours).
    Ecr(AwsSettings),
    /// Amazon's public registry, which lets anyone in, and more often who is known (12 hours).
    EcrPublic(AwsSettings),
    /// Google Artifact Registry and Container Registry (1 hour).
    Google(GoogleSettings),
    /// Azure Container Registry (3 hours).
    Azure(AzureSettings),
    /// A token that is its own password: GitHub's registry takes any user with it; `None` is DigitalOcean's form, whose
    /// user is the token too.
    Token {
        /// The user.
        username: Option<String>,
        /// The token.
        token: Given,
    },
    /// A program.
    Exec(ExecSettings),
}

/// How one entry of the configuration is asked.
#[derive(Debug)]
pub(super) enum Way {
    Password(Password),
    Renewed(Renewed),
}

impl Provider {
    /// It, for a registry. `plain`: that is spoken to without TLS.
    pub(super) fn way(&self, registry: &str, plain: bool, environment: &Environment) -> Way {
        let source: Box<dyn Source> = match self {
            Self::Token { username, token } => {
                return Way::Password(Password { username: username.clone(), secret: Some(token.clone()) });
            }
            Self::Ecr(settings) => Box::new(Ecr::new(settings, registry, environment)),
            Self::EcrPublic(settings) => Box::new(EcrPublic::new(settings, environment)),
            Self::Google(settings) => Box::new(Google::new(settings, environment)),
            Self::Azure(settings) => Box::new(Acr::new(settings, registry, plain, environment)),
            Self::Exec(settings) => Box::new(Exec::new(settings, registry)),
        };
        Way::Renewed(Renewed::new(source))
    }

    /// The cloud that a registry's name belongs to, where one is let in by who one is there.
    pub fn suggested(registry: &str) -> Option<(&'static str, Self)> {
        if ecr_host(registry).is_some() {
            return Some(("ecr", Self::Ecr(AwsSettings::default())));
        }
        if is_google(registry) {
            return Some(("google", Self::Google(GoogleSettings::default())));
        }
        is_acr(registry).then(|| ("azure", Self::Azure(AzureSettings::default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_name_suggests_its_cloud() {
        for (registry, cloud) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", Some("ecr")),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Some("ecr")),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("ecr")),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", Some("ecr")),
            ("123.dkr.ecr.eu-west-1.amazonaws.com", None),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.io", None),
            ("public.ecr.aws", None),
            ("europe-docker.pkg.dev", Some("google")),
            ("gcr.io", Some("google")),
            ("eu.gcr.io", Some("google")),
            ("evilgcr.io", None),
            ("acme.azurecr.io", Some("azure")),
            ("acme.azurecr.cn", Some("azure")),
            ("azurecr.io.evil.com", None),
            ("ghcr.io", None),
            ("docker.io", None),
        ] {
            assert_eq!(Provider::suggested(registry).map(|(name, _)| name), cloud, "{registry}");
        }
    }
}
