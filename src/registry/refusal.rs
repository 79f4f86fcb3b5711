//! What a failure is called, and how it is told to a person.

use std::error::Error;
use std::sync::atomic::Ordering;

use chrono::Utc;
use secrecy::SecretString;

use crate::model::{Credentials, Repository, SecretKind};
use crate::ports::{RegistryError, RegistryErrorKind, Source};

use super::backoff::Trouble;
use super::host::{Answer, Host};
use super::quota::retry_after;

/// How rustls calls what the other side does not like.
const ALERT: &str = "received fatal alert";

impl Host {
    /// An error about a repository of this registry.
    pub(super) fn error(
        &self,
        kind: RegistryErrorKind,
        repository: &Repository,
        words: &str,
        source: Option<Source>,
    ) -> RegistryError {
        RegistryError {
            kind,
            message: format!("registry {}, {}: {words}", self.name, repository.path()),
            retry_after: None,
            source,
        }
    }

    /// The error that an answer is. `what` is what was asked for: `manifests/latest`, "its token service".
    pub(super) async fn failed_answer(&self, repository: &Repository, what: &str, answer: &Answer) -> RegistryError {
        let text = String::from_utf8_lossy(&answer.body);
        let said = said(&text);
        let status = answer.status.as_u16();
        let words =
            if said.is_empty() { format!("{what}: {status}") } else { format!("{what}: {status}, it says \"{said}\"") };
        let asked = retry_after(&answer.headers, &text, Utc::now());
        let kind = match status {
            404 => RegistryErrorKind::NotFound,
            429 => RegistryErrorKind::RateLimited,
            // GitHub's "secondary rate limit" is a 403.
            403 if asked.is_some() || said.to_ascii_lowercase().contains("rate limit") => {
                RegistryErrorKind::RateLimited
            }
            401 | 403 => return self.refused(repository, &words).await,
            500..=599 => RegistryErrorKind::Server,
            _ => RegistryErrorKind::Protocol,
        };
        RegistryError { retry_after: asked, ..self.error(kind, repository, &words, None) }
    }

    /// Not let in: says who we were, what the registry said and what to do; never the secret.
    pub(super) async fn refused(&self, repository: &Repository, words: &str) -> RegistryError {
        let found = self.finder.find(repository).await;
        let who = match (&found.credentials, &found.problem) {
            (Some(used), _) => named(used),
            (None, Some(problem)) => format!("no credentials were used, because {problem}"),
            (None, None) => format!(
                "no credentials were used: add registries.\"{}\".username and password, or run `tagboat login {}`",
                self.name, self.name
            ),
        };
        self.error(RegistryErrorKind::Unauthorized, repository, &format!("{words}; {who}"), None)
    }

    /// The error that no answer is.
    pub(super) fn broken(&self, repository: &Repository, error: reqwest::Error) -> RegistryError {
        let error = error.without_url();
        if let Some(tls) = find_tls(&error) {
            let words = format!("no trusted connection to it ({tls}); {}", self.tls_hint(tls));
            return self.error(RegistryErrorKind::Tls, repository, &words, None);
        }
        // With TLS 1.3 a certificate of ours is refused after the handshake, and that comes as words.
        if let Some(alert) = causes(&error).map(ToString::to_string).find(|words| words.starts_with(ALERT)) {
            let words = format!("no trusted connection to it ({alert}); {}", self.certificate_hint());
            return self.error(RegistryErrorKind::Tls, repository, &words, None);
        }
        // Or it does not come: whoever hangs up while we speak may cut off their own last words.
        let hung_up = error.is_request() && !error.is_connect() && !error.is_timeout();
        let words = match hung_up && !self.plain && !self.has_answered.load(Ordering::Relaxed) {
            true if self.config.client_cert_file.is_some() => {
                "it hung up without an answer; does it accept the certificate in client_cert_file?".to_owned()
            }
            true => format!("it hung up without an answer; {}", self.certificate_hint()),
            false if error.is_timeout() => "it did not answer in time".to_owned(),
            false => "it can't be reached".to_owned(),
        };
        self.error(RegistryErrorKind::Unreachable, repository, &words, Some(Box::new(error)))
    }

    fn certificate_hint(&self) -> String {
        if self.config.client_cert_file.is_some() {
            return "it does not accept the certificate in client_cert_file".to_owned();
        }
        format!("if it asks for a certificate of ours, set registries.\"{}\".client_cert_file", self.name)
    }

    fn tls_hint(&self, error: &rustls::Error) -> String {
        use rustls::CertificateError as C;
        match (error, &self.config.ca_file) {
            (rustls::Error::AlertReceived(_), _) => self.certificate_hint(),
            (rustls::Error::InvalidMessage(_), _) => {
                format!("if it speaks plain HTTP, set registries.\"{}\".http", self.name)
            }
            (rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }), _) => {
                "renew its certificate, or set this host's clock".to_owned()
            }
            (rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }), _) => {
                "refer to it by a name that its certificate has".to_owned()
            }
            (_, Some(path)) => format!("ca_file {} does not vouch for it", path.display()),
            (_, None) => format!(
                "if its certificate is from an authority of your own, name that in registries.\"{}\".ca_file",
                self.name
            ),
        }
    }
}

fn named(used: &Credentials) -> String {
    let from = &used.origin;
    match used.kind {
        SecretKind::IdentityToken => {
            format!("the identity token from {from} was used: is it still valid, and may it pull here?")
        }
        SecretKind::RegistryToken => {
            format!("the registry token from {from} was used: is it still valid, and may it pull here?")
        }
        SecretKind::Password if from.starts_with("provider ") => {
            format!(
                "user {:?} from {from} was used: is it still valid, and may it read this repository?",
                used.username
            )
        }
        SecretKind::Password => {
            format!("user {:?} from {from} was used: is the password right, and may it pull here?", used.username)
        }
    }
}

/// Who must wait because of an error.
pub(super) fn trouble(error: &RegistryError) -> Option<Trouble> {
    match error.kind {
        RegistryErrorKind::RateLimited => Some(Trouble::RateLimited),
        RegistryErrorKind::Server => Some(Trouble::Server),
        RegistryErrorKind::Unreachable => {
            let source = error.source.as_deref().and_then(|source| source.downcast_ref::<reqwest::Error>());
            Some(if source.is_some_and(reqwest::Error::is_connect) { Trouble::Connection } else { Trouble::Silence })
        }
        _ => None,
    }
}

/// Two secrets are the same.
pub(super) fn same(one: &SecretString, other: &SecretString) -> bool {
    use secrecy::ExposeSecret;
    use subtle::ConstantTimeEq;
    one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
}

/// The registry's own words, from the error document of the specification or as they are, in one short line.
pub(super) fn said(body: &str) -> String {
    let document: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = document.as_ref().and_then(|d| d.pointer("/errors/0"));
    let words = match error {
        Some(error) => {
            let text = |key: &str| error.get(key).and_then(|v| v.as_str()).unwrap_or_default();
            format!("{} {}", text("code"), text("message"))
        }
        None => body.to_owned(),
    };
    let line: String = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// An error and what lies beneath it. `source` of an `io::Error` skips the error that it carries.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause: &&'e (dyn Error + 'static)| {
        let carried = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        carried.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source())
    })
}

/// What lies beneath an error, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

fn find_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_become_one_short_line() {
        assert_eq!(said(r#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#), "DENIED no way");
        assert_eq!(said(&"x".repeat(999)).len(), 200);
    }
}
