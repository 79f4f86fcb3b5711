//! `hooks:`, its form and what no schema can say about it.

use std::collections::BTreeMap;

use axum::http::HeaderName;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use crate::http::webhooks::{FieldPath, Fields, HookAuth, HookReceiver, IdTokenRules, Sender, TopicArn};

use super::Hooks;
use super::convert::secret;
use super::errors::Report;
use super::words::Words;

/// Registry webhooks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HooksFile {
    /// Where they are received, as soon as there is a receiver.
    pub(super) listen: Option<String>,
    /// Receivers by id: `POST /hooks/<id>`.
    pub(super) receivers: BTreeMap<String, ReceiverFile>,
}

/// A receiver. `tagboat hook new SENDER` makes one, with a fresh secret and where to paste it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReceiverFile {
    /// What sends to it: `acr`, `alibaba`, `distribution`, `dockerhub`, `ecr`, `eventgrid`, `generic` (a CI job), `gitea`,
    /// `github`, `gitlab`, `google`, `harbor`, `jfrog`, `msr`, `nexus`, `quay`, `sns` or `zot`; see docs/WEBHOOKS.md.
    pub(super) sender: Option<String>,
    /// Must be sent in the header in which this sender has its secret, usually as `Authorization: Bearer <token>`.
    pub(super) token: Option<String>,
    /// A file that holds it.
    pub(super) token_file: Option<String>,
    /// The name of that header, for senders in which it can be chosen.
    pub(super) token_header: Option<String>,
    /// The key with which the sender signs the body.
    pub(super) hmac_secret: Option<String>,
    /// A file that holds it.
    pub(super) hmac_secret_file: Option<String>,
    /// The end of the address, for senders that can prove themselves by nothing else: `POST /hooks/<id>/<url_secret>`.
    pub(super) url_secret: Option<String>,
    /// A file that holds it.
    pub(super) url_secret_file: Option<String>,
    /// The sender shows an ID token (OpenID Connect) as `Authorization: Bearer <token>`.
    pub(super) id_token: Option<IdTokenFile>,
    /// The topic, or topics, of Amazon SNS whose signed messages are accepted.
    pub(super) topic_arn: Option<Words>,
    /// The registry that repositories without a host belong to.
    pub(super) default_host: Option<String>,
    /// The names under which pushers or the sender know a registry → the name that the apps' images have.
    pub(super) aliases: BTreeMap<String, String>,
    /// `generic` only: where the body has the repository, such as `$.image.name` or `pushes[*].repository`.
    pub(super) repository: Option<String>,
    /// `generic` only: where the body has the tag.
    pub(super) tag: Option<String>,
}

/// Which ID tokens are accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IdTokenFile {
    /// Who issues them, such as `https://token.actions.githubusercontent.com`; for `google` it is known.
    pub(super) issuer: Option<String>,
    /// For whom they must be issued: what the sender is configured to ask for. One, or several.
    pub(super) audience: Option<Words>,
    /// The account that they must belong to.
    pub(super) email: Option<String>,
    /// Claims that they must have, each with its value or several; `*` stands for any characters.
    pub(super) claims: BTreeMap<String, Words>,
}

/// Google's issuer of ID tokens.
const GOOGLE: &str = "https://accounts.google.com";

/// A secret in an address is all that keeps others out.
const SHORTEST_URL_SECRET: usize = 16;

pub(super) fn hooks(file: HooksFile, report: &mut Report) -> Option<Hooks> {
    let receivers: Vec<HookReceiver> =
        file.receivers.into_iter().filter_map(|(id, one)| receiver(id, one, report)).collect();
    if receivers.is_empty() {
        return None;
    }
    let listen = report.take("hooks.listen", file.listen.unwrap_or_default().parse())?;
    Some(Hooks { listen, receivers })
}

fn receiver(id: String, mut file: ReceiverFile, report: &mut Report) -> Option<HookReceiver> {
    let path = format!("hooks.receivers.{id}");
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
        report.add(&path, "a receiver's id is part of an address: letters, digits, `-`, `_` and `.`");
    }
    let Some(name) = file.sender.take() else {
        report.add(&path, "`sender` is missing: what sends here? `tagboat hook new` lists the senders");
        return None;
    };
    let sender = report.take(&format!("{path}.sender"), name.parse::<Sender>());
    let auth = auth(&path, sender, &mut file, report);
    let fields = fields(&path, sender, &file, report);
    for (name, place) in &file.aliases {
        at_a_registry(&format!("{path}.aliases.{name}"), place, report);
    }
    if let Some(host) = &file.default_host {
        at_a_registry(&format!("{path}.default_host"), host, report);
    } else if file.aliases.is_empty() && sender.is_some_and(|sender| !sender.names_registry()) {
        let message =
            format!("{name} does not say which registry it is; add `default_host`, such as registry.example.com");
        report.add(&path, message);
    }
    Some(HookReceiver {
        id,
        sender: sender?,
        auth: auth?,
        default_host: file.default_host,
        aliases: file.aliases,
        fields: fields?,
    })
}

/// Something that a repository's path can be put behind.
fn at_a_registry(path: &str, place: &str, report: &mut Report) {
    let parsed = format!("{place}/x").parse::<crate::model::Repository>();
    let same = parsed.is_ok_and(|repository| repository.to_string() == format!("{place}/x"));
    if !same || place == "docker.io/library" {
        report.add(
            path,
            format!("{place:?} must be a registry as your apps' images name it, such as registry.example.com:5000"),
        );
    }
}

fn auth(path: &str, sender: Option<Sender>, file: &mut ReceiverFile, report: &mut Report) -> Option<HookAuth> {
    let before = report.problems.len();
    let token = secret(path, "token", file.token.take(), file.token_file.take(), report);
    let hmac = secret(path, "hmac_secret", file.hmac_secret.take(), file.hmac_secret_file.take(), report);
    let in_url = secret(path, "url_secret", file.url_secret.take(), file.url_secret_file.take(), report);
    if let Some(given) = &in_url {
        let given = given.expose_secret();
        if given.len() < SHORTEST_URL_SECRET
            || !given.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        {
            let least = SHORTEST_URL_SECRET;
            report.add(
                &format!("{path}.url_secret"),
                format!("is part of an address: at least {least} letters, digits, `-`, `_`, `.` or `~`"),
            );
        }
    }
    let header = file.token_header.take().and_then(|name| {
        if token.is_none() {
            report.add(&format!("{path}.token_header"), "is of no use without `token`");
        }
        report.take(&format!("{path}.token_header"), name.parse::<HeaderName>())
    });
    let id_token = file.id_token.take().and_then(|rules| id_token(&format!("{path}.id_token"), sender, rules, report));
    let topics = file.topic_arn.take().and_then(|words| topics(&format!("{path}.topic_arn"), words, report));
    let given = [
        token.map(|secret| HookAuth::Token { secret, header }),
        hmac.map(HookAuth::Hmac),
        in_url.map(HookAuth::Url),
        id_token.map(|rules| HookAuth::IdToken(Box::new(rules))),
        topics.map(HookAuth::Sns),
    ];
    let mut given: Vec<HookAuth> = given.into_iter().flatten().collect();
    let sender = sender?;
    let known = sender.proofs().iter().map(|proof| format!("`{}`", proof.label())).collect::<Vec<_>>().join(" or ");
    match (given.pop(), given.is_empty()) {
        (Some(_), false) => report.add(path, format!("a receiver has one proof, not several: {known}")),
        (Some(auth), true) if sender.proofs().contains(&auth.proof()) => return Some(auth),
        (Some(auth), true) => {
            let message = format!("{} can't prove itself by `{}`; use {known}", sender.label(), auth.proof().label());
            report.add(path, message);
        }
        (None, _) if report.problems.len() > before => {}
        (None, _) => report.add(path, format!("a receiver needs a secret or another proof: {known}")),
    }
    None
}

fn texts(words: Words) -> Vec<String> {
    match words {
        Words::Text(text) => vec![text],
        Words::List(list) => list,
    }
}

fn topics(path: &str, words: Words, report: &mut Report) -> Option<Vec<TopicArn>> {
    let texts = texts(words);
    if texts.is_empty() {
        report.add(path, "must name a topic: anyone can have SNS sign messages of others");
        return None;
    }
    texts.into_iter().map(|text| report.take(path, text.parse())).collect()
}

fn id_token(path: &str, sender: Option<Sender>, file: IdTokenFile, report: &mut Report) -> Option<IdTokenRules> {
    let google = (sender == Some(Sender::Google)).then(|| GOOGLE.to_owned());
    let issuer_claim = file.issuer.or(google).unwrap_or_default();
    let issuer = issuer_claim.parse::<Url>().ok().filter(|url| url.scheme() == "https" && url.has_host());
    if issuer.is_none() {
        report
            .add(&format!("{path}.issuer"), "must be the https address of who issues the tokens, as it stands in them");
    }
    let audience = file.audience.map(texts).unwrap_or_default();
    if audience.is_empty() || audience.iter().any(|text| text.trim().is_empty()) {
        report.add(&format!("{path}.audience"), "must be what the sender asks for; a token for others proves nothing");
    }
    let mut claims = BTreeMap::new();
    for (name, values) in file.claims {
        let values = texts(values);
        if values.is_empty() || values.iter().any(|value| value.trim_matches('*').trim().is_empty()) {
            report.add(&format!("{path}.claims.{name}"), "must be the value, or the values, that the claim may have");
        }
        claims.insert(name, values);
    }
    let email = file.email.filter(|email| !email.trim().is_empty());
    if email.is_none() && sender == Some(Sender::Google) {
        report.add(
            &format!("{path}.email"),
            "must be the service account of the subscription: every customer of Google gets tokens",
        );
    } else if email.is_none() && claims.is_empty() {
        let message = "needs `claims` or `email`, such as claims: {repository: acme/shop}: every customer of the issuer gets tokens";
        report.add(path, message);
    }
    Some(IdTokenRules { issuer: issuer?, issuer_claim, audience, email, claims })
}

fn fields(path: &str, sender: Option<Sender>, file: &ReceiverFile, report: &mut Report) -> Option<Fields> {
    let mut one = |key: &str, text: &Option<String>| -> Option<FieldPath> {
        let text = text.as_ref()?;
        if sender.is_some_and(|sender| sender != Sender::Generic) {
            report.add(&format!("{path}.{key}"), "is only for `sender: generic`; the others' bodies are known");
        }
        report.take(&format!("{path}.{key}"), text.parse())
    };
    let fields = Fields { repository: one("repository", &file.repository), tag: one("tag", &file.tag) };
    if fields.tag.is_some() && file.repository.is_none() {
        report.add(&format!("{path}.tag"), "needs `repository`: where the body has that");
    }
    Some(fields)
}
