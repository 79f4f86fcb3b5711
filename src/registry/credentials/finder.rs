//! Which source is asked for a repository, and what came of it.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::SecretString;
use tokio::time::{Duration, Instant};

use crate::model::{Credentials, Repository};
use crate::registry::refusal::same;
use crate::registry::{Config, RegistryConfig};

use super::Given;
use super::docker_files::DockerFiles;
use super::lease::Renewed;
use super::password::Password;
use super::provider::{Provider, Way};

/// What a token service has refused is not shown to it again for so long: services lock users out.
const REFUSED: Duration = Duration::from_secs(60);

/// A cloud that nobody has asked for and that does not know us is left alone for so long: most who use its public images
/// are elsewhere.
const ABSENT: Duration = Duration::from_secs(300);

/// So many refused secrets are remembered of one registry.
const REMEMBERED: usize = 16;

/// What was found. Without credentials we go anonymously, as docker does; the problem is told if that is refused.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct Found {
    pub(in crate::registry) credentials: Option<Credentials>,
    pub(in crate::registry) problem: Option<String>,
    /// The configuration says who we are: without that nothing is asked.
    pub(in crate::registry) is_configured: bool,
}

/// Finds the credentials for the repositories of one registry.
#[derive(Debug)]
pub(in crate::registry) struct Finder {
    registry: String,
    /// What else it is called: somebody may have logged in by that name.
    aliases: Vec<String>,
    /// What the configuration has: for which repositories, and how it is asked; the longest scope first.
    configured: Vec<(String, Way)>,
    files: DockerFiles,
    suggested: Option<(&'static str, Renewed)>,
    announced: AtomicBool,
    refused: Mutex<Vec<(SecretString, Instant)>>,
}

impl Finder {
    /// For a registry by its name in references. `plain`: it is spoken to without TLS.
    pub(in crate::registry) fn new(registry: &str, plain: bool, config: &Config) -> Self {
        let environment = &config.environment;
        let mut configured: Vec<(String, Way)> = entries(config, registry)
            .filter_map(|(name, settings)| Some((name.clone(), way(settings, registry, plain, config)?)))
            .collect();
        configured.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let suggested = Provider::suggested(registry).and_then(|(name, provider)| {
            match provider.way(registry, plain, environment) {
                Way::Renewed(way) => Some((name, way.with_pause(ABSENT))),
                Way::Password(_) => None,
            }
        });
        let files = DockerFiles::new(config.docker_config.as_deref(), environment);
        let (announced, refused) = (AtomicBool::default(), Mutex::default());
        let aliases = config.registries.get(registry).map(|own| own.aliases.clone()).unwrap_or_default();
        Self { registry: registry.to_owned(), aliases, configured, files, suggested, announced, refused }
    }

    /// The credentials for a repository, if there are any.
    pub(in crate::registry) async fn find(&self, repository: &Repository) -> Found {
        let Some(repository) = &self.ours(repository) else { return Found::default() };
        if let Some(way) = self.configured(repository) {
            let got = match way {
                Way::Password(password) => password.get().await,
                Way::Renewed(renewed) => renewed.get().await,
            };
            return Found { is_configured: true, ..told(got.map(Some)) };
        }
        let mut found = told(self.files.find(repository).await);
        for alias in self.aliases.iter().filter_map(|alias| called(repository, alias)) {
            if found.credentials.is_none() {
                let other = told(self.files.find(&alias).await);
                found = Found { problem: found.problem.or(other.problem), ..other };
            }
        }
        match &self.suggested {
            Some((name, way)) if found.credentials.is_none() => self.by_name(name, way, found.problem).await,
            _ => found,
        }
    }

    /// Nobody else knows the registry: its cloud may.
    async fn by_name(&self, name: &str, way: &Renewed, problem: Option<String>) -> Found {
        match way.get().await {
            Ok(credentials) => {
                if !self.announced.swap(true, Ordering::Relaxed) {
                    let (registry, source) = (&self.registry, &credentials.origin);
                    tracing::info!(
                        registry,
                        source,
                        "nothing says who we are to this registry; by its name it is asked as provider {name}"
                    );
                }
                Found { credentials: Some(credentials), ..Found::default() }
            }
            Err(why) => {
                let suggested = format!("its name suggests provider {name}, but {why}");
                let problem = problem.map_or(suggested.clone(), |first| format!("{first}, and {suggested}"));
                Found { problem: Some(problem), ..Found::default() }
            }
        }
    }

    /// What was found was refused: whoever said it is asked anew the next time.
    pub(in crate::registry) async fn forget(&self, repository: &Repository) {
        let Some(repository) = &self.ours(repository) else { return };
        match self.configured(repository) {
            Some(Way::Renewed(renewed)) => renewed.doubt().await,
            Some(Way::Password(_)) => {}
            None => {
                self.files.doubt().await;
                if let Some((_, way)) = &self.suggested {
                    way.doubt().await;
                }
            }
        }
    }

    /// A token service did not accept it.
    pub(in crate::registry) fn remember_refused(&self, secret: SecretString) {
        let mut refused = self.refused.lock().expect("no holder panics");
        refused.retain(|(_, until)| Instant::now() < *until);
        if refused.len() == REMEMBERED {
            refused.remove(0);
        }
        refused.push((secret, Instant::now() + REFUSED));
    }

    /// It did not accept this a moment ago.
    pub(in crate::registry) fn was_refused(&self, used: &Credentials) -> bool {
        let refused = self.refused.lock().expect("no holder panics");
        refused.iter().any(|(secret, until)| Instant::now() < *until && same(secret, &used.secret))
    }

    /// A repository as it is called at this registry: a mirror is asked for those of others. `None`: no reference can
    /// name one here, so that nothing is said of who we are; above all not to whoever is called `cache` what is for
    /// `docker.io/cache/…`.
    fn ours<'a>(&self, repository: &'a Repository) -> Option<Cow<'a, Repository>> {
        if repository.registry() == self.registry {
            return Some(Cow::Borrowed(repository));
        }
        called(repository, &self.registry).map(Cow::Owned)
    }

    fn configured(&self, repository: &Repository) -> Option<&Way> {
        let whole = repository.to_string();
        let found = self.configured.iter().find(|(name, _)| scope_of(&whole, name).is_some());
        found.map(|(_, way)| way)
    }
}

/// A repository's name if its registry were this one, if that can be written.
fn called(repository: &Repository, registry: &str) -> Option<Repository> {
    let named: Repository = format!("{registry}/{}", repository.path()).parse().ok()?;
    (named.registry() == registry).then_some(named)
}

/// Two configurations say the same of who we are to a registry.
pub(in crate::registry) fn same_entries(one: &Config, other: &Config, registry: &str) -> bool {
    let told = |config| entries(config, registry).filter(|(_, settings)| says_who(settings));
    told(one).map(who).eq(told(other).map(who))
}

fn says_who(settings: &RegistryConfig) -> bool {
    settings.provider.is_some() || settings.username.is_some()
}

fn who<'a>(
    (name, settings): (&'a String, &'a RegistryConfig),
) -> (&'a String, Option<&'a String>, Option<Given>, Option<&'a Provider>) {
    (name, settings.username.as_ref(), given(settings), settings.provider.as_ref())
}

fn given(settings: &RegistryConfig) -> Option<Given> {
    let here = settings.password.clone().map(Given::Here);
    here.or_else(|| settings.password_file.clone().map(Given::File))
}

/// The entries of the configuration that concern a registry: its own, and those of its repositories.
fn entries<'a>(config: &'a Config, registry: &'a str) -> impl Iterator<Item = (&'a String, &'a RegistryConfig)> {
    config.registries.iter().filter(move |(name, _)| scope_of(name, registry).is_some())
}

/// The rest of a name below a scope: `acme/shop` of `ghcr.io/acme/shop` below `ghcr.io`.
fn scope_of<'a>(name: &'a str, scope: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(scope)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn way(settings: &RegistryConfig, registry: &str, plain: bool, config: &Config) -> Option<Way> {
    if let Some(provider) = &settings.provider {
        return Some(provider.way(registry, plain, &config.environment));
    }
    let username = settings.username.clone()?;
    Some(Way::Password(Password { username: Some(username), secret: given(settings) }))
}

fn told(result: Result<Option<Credentials>, String>) -> Found {
    match result {
        Ok(credentials) => Found { credentials, ..Found::default() },
        Err(problem) => Found { problem: Some(problem), ..Found::default() },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn whoever_logged_in_by_another_name_of_the_registry_is_known() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, r#"{{"auths": {{"registry:5000": {{"username": "bot", "password": "x"}}}}}}"#).unwrap();
        let own = RegistryConfig { aliases: vec!["hub".into(), "registry:5000".into()], ..RegistryConfig::default() };
        let registries = [("registry.example.com".to_owned(), own)].into();
        let config = Config { registries, docker_config: Some(file.path().to_owned()), ..Config::default() };
        let finder = Finder::new("registry.example.com", false, &config);
        let found = finder.find(&"registry.example.com/shop".parse().unwrap()).await;
        assert_eq!(found.credentials.unwrap().username, "bot");
    }

    #[tokio::test]
    async fn a_mirror_gets_its_own_credentials_and_never_another_registrys() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let auth = |registry: &str| format!("\"{registry}\": {{\"username\": \"{registry}\", \"password\": \"x\"}}");
        write!(file, "{{\"auths\": {{{}, {}}}}}", auth("docker.io"), auth("mirror:5000")).unwrap();
        let config = Config { docker_config: Some(file.path().to_owned()), ..Config::default() };
        let repository: Repository = "docker.io/library/shop".parse().unwrap();
        for (asked, told) in [
            ("docker.io", Some("docker.io")),
            ("mirror:5000", Some("mirror:5000")),
            ("other:5000", None),
            // `cache/library/shop` is one of Docker Hub's.
            ("cache", None),
        ] {
            let found = Finder::new(asked, false, &config).find(&repository).await;
            assert_eq!(found.credentials.map(|used| used.username).as_deref(), told, "{asked}");
        }
    }
}
