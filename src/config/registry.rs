//! Registries: who we are to them, and how they are reached.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::model::Repository;
use crate::registry::{AwsSettings, AzureSettings, ExecSettings, Given, GoogleSettings, Provider, RegistryConfig};

use super::app::split;
use super::errors::Report;
use super::file::RegistryFile;
use super::units::period;

/// Every provider.
const PROVIDERS: [&str; 7] = ["ecr", "ecr-public", "google", "azure", "ghcr", "digitalocean", "exec"];

pub(super) fn registry(name: &str, mut file: RegistryFile, report: &mut Report) -> RegistryConfig {
    let path = format!("registries.{name}");
    check_name(name, &file, &path, report);
    let provider = provider(&mut file, name, &path, report);
    // An empty password is how a variable without a value looks: whoever has none goes without.
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let has_password = is_given(&file.password) || file.password_file.is_some();
    if file.username.is_none() && has_password {
        report.add(&path, "`username` is missing");
    }
    if file.password.is_some() && file.password_file.is_some() {
        report.add(&path, "a registry has `password` or `password_file`, not both");
    }
    if file.username.is_some() && file.password.is_none() && file.password_file.is_none() && file.provider.is_none() {
        report.add(&path, "`password` or `password_file` is missing");
    }
    let (insecure, http) = (file.insecure.unwrap_or_default(), file.http.unwrap_or_default());
    check_way(name, &file, (insecure, http), &path, report);
    RegistryConfig {
        username: file.username.filter(|_| has_password),
        password: file.password.filter(|p| !p.is_empty()).map(SecretString::from),
        password_file: file.password_file.map(PathBuf::from),
        provider,
        ca_file: file.ca_file.map(PathBuf::from),
        client_cert_file: file.client_cert_file.map(PathBuf::from),
        client_key_file: file.client_key_file.map(PathBuf::from),
        insecure,
        http,
        mirrors: file.mirrors,
        aliases: file.aliases,
        max_concurrent: file.max_concurrent.map(|n| n as usize),
    }
}

/// How it is reached.
fn check_way(name: &str, file: &RegistryFile, (insecure, http): (bool, bool), path: &str, report: &mut Report) {
    if http && (insecure || file.ca_file.is_some() || file.client_cert_file.is_some()) {
        report.add(path, "`http` is without TLS: leave out `insecure`, `ca_file` and `client_cert_file`, or `http`");
    }
    if insecure && file.ca_file.is_some() {
        report.add(path, "with `insecure` no certificate is looked at, and `ca_file` does nothing: choose one");
    }
    if file.client_key_file.is_some() && file.client_cert_file.is_none() {
        report.add(path, "`client_cert_file` is missing");
    }
    for (key, names) in [("mirrors", &file.mirrors), ("aliases", &file.aliases)] {
        for given in names.iter().filter(|given| given.is_empty() || given.contains('/') || **given == name) {
            report
                .add(&format!("{path}.{key}"), format!("{given:?} must be another host's name, such as `cache:5000`"));
        }
    }
}

/// A registry's name, or that and the beginning of repositories' names.
fn check_name(name: &str, file: &RegistryFile, path: &str, report: &mut Report) {
    let (host, below) = name.split_once('/').map_or((name, None), |(host, below)| (host, Some(below)));
    let parsed: Result<Repository, _> = format!("{}/x", name.trim_end_matches('/')).parse();
    if !parsed.is_ok_and(|parsed| parsed.registry() == host)
        || below.is_some_and(|below| below.is_empty() || below.ends_with('/'))
    {
        let hint = "must be a registry's name, such as `ghcr.io`, or that and the beginning of repositories' names, such \
                    as `ghcr.io/acme` or `docker.io/acme`";
        return report.add(path, hint);
    }
    if below.is_none() {
        return;
    }
    let of_hosts = [
        ("ca_file", file.ca_file.is_some()),
        ("client_cert_file", file.client_cert_file.is_some()),
        ("client_key_file", file.client_key_file.is_some()),
        ("insecure", file.insecure.is_some()),
        ("http", file.http.is_some()),
        ("mirrors", !file.mirrors.is_empty()),
        ("aliases", !file.aliases.is_empty()),
        ("max_concurrent", file.max_concurrent.is_some()),
    ];
    for (key, _) in of_hosts.into_iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` is of the whole registry: move it to registries.\"{host}\"");
        report.add(&format!("{path}.{key}"), message);
    }
    if file.username.is_none() && file.provider.is_none() {
        report.add(path, "says nothing: give `username` and `password`, or `provider`");
    }
}

/// Notes every key that its provider does not know.
fn check_keys(file: &RegistryFile, path: &str, report: &mut Report) {
    let given = file.provider.as_deref();
    let (aws, tokens) = (&["ecr", "ecr-public"][..], &["ghcr", "digitalocean"][..]);
    for (key, is_given, providers) in [
        ("token", file.token.is_some(), tokens),
        ("token_file", file.token_file.is_some(), tokens),
        ("region", file.region.is_some(), &["ecr"][..]),
        ("profile", file.profile.is_some(), aws),
        ("key_file", file.key_file.is_some(), &["google"]),
        ("tenant_id", file.tenant_id.is_some(), &["azure"]),
        ("client_id", file.client_id.is_some(), &["azure"]),
        ("client_secret", file.client_secret.is_some(), &["azure"]),
        ("client_secret_file", file.client_secret_file.is_some(), &["azure"]),
        ("command", file.command.is_some(), &["exec"]),
        ("timeout", file.timeout.is_some(), &["exec"]),
        ("endpoint", file.endpoint.is_some(), &["ecr", "ecr-public", "google", "azure"]),
    ] {
        if is_given && !given.is_some_and(|given| providers.contains(&given)) {
            let known = providers.iter().map(|name| format!("`provider: {name}`")).collect::<Vec<_>>().join(" or ");
            report.add(&format!("{path}.{key}"), format!("`{key}` belongs to {known}"));
        }
    }
    let allowed = match given {
        None => return,
        Some("ghcr") => &["username"][..],
        Some(_) => &[],
    };
    for (key, is_given) in [
        ("username", file.username.is_some()),
        ("password", file.password.is_some()),
        ("password_file", file.password_file.is_some()),
    ] {
        if is_given && !allowed.contains(&key) {
            report.add(&format!("{path}.{key}"), format!("give `{key}` or `provider`, not both"));
        }
    }
}

/// Takes out of the file what is the provider's.
fn provider(file: &mut RegistryFile, name: &str, path: &str, report: &mut Report) -> Option<Provider> {
    let known = file.provider.as_deref().is_none_or(|given| PROVIDERS.contains(&given));
    if !known {
        report.add(&format!("{path}.provider"), format!("must be one of {}", PROVIDERS.join(", ")));
        return None;
    }
    check_keys(file, path, report);
    let endpoint = endpoint(file.endpoint.take(), path, report);
    let kind = file.provider.clone()?;
    match kind.as_str() {
        "ecr" | "ecr-public" => {
            let (region, profile) = (file.region.take(), file.profile.take());
            let settings = AwsSettings { region, profile, endpoint };
            Some(if kind == "ecr" { Provider::Ecr(settings) } else { Provider::EcrPublic(settings) })
        }
        "google" => {
            let key_file = file.key_file.take().map(PathBuf::from);
            Some(Provider::Google(GoogleSettings { key_file, endpoint }))
        }
        "azure" => Some(Provider::Azure(azure(file, endpoint, path, report))),
        "exec" => exec(file, path, report),
        // GitHub takes any user with a token; DigitalOcean wants the token there too.
        _ => {
            let default = (kind == "ghcr").then(|| "tagboat".to_owned());
            let username = file.username.take().or(default);
            let token = (file.token.take(), file.token_file.take());
            let token = given(path, "token", token, report);
            if token.is_none() {
                let advice = format!(
                    "`token` or `token_file` is missing, or go without `provider` to use `tagboat login {name}`"
                );
                report.add(path, advice);
            }
            Some(Provider::Token { username, token: token? })
        }
    }
}

fn azure(file: &mut RegistryFile, endpoint: Option<String>, path: &str, report: &mut Report) -> AzureSettings {
    let secret = (file.client_secret.take(), file.client_secret_file.take());
    let client_secret = given(path, "client_secret", secret, report);
    let (tenant_id, client_id) = (file.tenant_id.take(), file.client_id.take());
    if client_secret.is_some() {
        for (key, value) in [("tenant_id", &tenant_id), ("client_id", &client_id)] {
            if value.is_none() {
                report.add(path, format!("`{key}` is missing: a service principal has one besides its secret"));
            }
        }
    }
    AzureSettings { tenant_id, client_id, client_secret, endpoint }
}

fn exec(file: &mut RegistryFile, path: &str, report: &mut Report) -> Option<Provider> {
    let at = format!("{path}.command");
    let patience = file.timeout.take();
    let patience = patience.and_then(|text| report.take(&format!("{path}.timeout"), period(&text)));
    let Some(command) = file.command.take() else {
        report.add(path, "`command` is missing: `provider: exec` runs it with `get` as its last argument");
        return None;
    };
    let mut words = split(command, &at, report)?.into_iter();
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        report.add(&at, "must name a program");
        return None;
    };
    Some(Provider::Exec(ExecSettings { program: PathBuf::from(program), arguments: words.collect(), patience }))
}

/// A secret given here or in a file. Empty is as good as not given, and told by whoever needs it.
fn given(path: &str, key: &str, (here, file): (Option<String>, Option<String>), report: &mut Report) -> Option<Given> {
    if here.is_some() && file.is_some() {
        report.add(&format!("{path}.{key}"), format!("give `{key}` or `{key}_file`, not both"));
    }
    let here = here.filter(|text| !text.is_empty()).map(|text| Given::Here(SecretString::from(text)));
    here.or_else(|| file.map(|file| Given::File(PathBuf::from(file))))
}

/// Secrets are sent there.
fn endpoint(text: Option<String>, path: &str, report: &mut Report) -> Option<String> {
    let text = text?;
    let is_address =
        text.parse::<url::Url>().is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    if !is_address {
        report.add(
            &format!("{path}.endpoint"),
            format!("{text:?} is no address; write it like `https://api.example.com`"),
        );
    }
    Some(text)
}
