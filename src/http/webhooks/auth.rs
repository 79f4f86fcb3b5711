//! How a delivery shows that it is authentic, and whether it does.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::Sha256;

use super::fetch::Library;
use super::id_token::IdTokenRules;
use super::sender::{Facts, Hash, Proof, Signing};
use super::sns_proof::{self, TopicArn};
use crate::http::EmptySecret;
use crate::http::auth::{SecretHash, bearer};

/// How a delivery shows that it is authentic.
#[derive(Debug, Clone)]
pub enum HookAuth {
    /// A header holds this: as it is, after `Bearer`, or as the password of `Basic`.
    Token {
        /// The secret.
        secret: SecretString,
        /// The header, if it is not the one in which this sender has its secret.
        header: Option<HeaderName>,
    },
    /// A header holds the HMAC of the body under this key, as this sender makes it.
    Hmac(SecretString),
    /// The address ends in this: `/hooks/<id>/<secret>`.
    Url(SecretString),
    /// `Authorization` holds an ID token.
    IdToken(Box<IdTokenRules>),
    /// The message is signed by Amazon SNS and of one of these topics.
    Sns(Vec<TopicArn>),
}

impl HookAuth {
    /// The kind of proof.
    pub fn proof(&self) -> Proof {
        match self {
            Self::Token { .. } => Proof::Token,
            Self::Hmac(_) => Proof::Hmac,
            Self::Url(_) => Proof::Url,
            Self::IdToken(_) => Proof::IdToken,
            Self::Sns(_) => Proof::Sns,
        }
    }
}

impl Proof {
    /// Stable name; also the key in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Hmac => "hmac_secret",
            Self::Url => "url_secret",
            Self::IdToken => "id_token",
            Self::Sns => "topic_arn",
        }
    }
}

/// Whether a delivery is authentic. The reasons are for the log; the sender never learns them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Authentic,
    Refused(&'static str),
    /// It can't be found out now.
    Undecided(String),
}

/// The proof of a receiver, ready to be compared.
pub(super) enum Checker {
    Token(HeaderName, SecretHash),
    Hmac(Box<HmacKey>, Signing),
    Url(SecretHash),
    IdToken(Box<IdTokenRules>),
    Sns(Vec<TopicArn>),
}

pub(super) enum HmacKey {
    Sha256(Hmac<Sha256>),
    Sha1(Hmac<Sha1>),
}

impl Checker {
    pub(super) fn new(auth: &HookAuth, facts: &Facts) -> Result<Self, EmptySecret> {
        Ok(match auth {
            HookAuth::Token { secret, header } => {
                let usual = HeaderName::from_static(facts.token_header);
                Self::Token(header.clone().unwrap_or(usual), SecretHash::new(secret)?)
            }
            HookAuth::Hmac(secret) => {
                SecretHash::new(secret)?;
                Self::Hmac(Box::new(HmacKey::new(secret, facts.signing.hash)), facts.signing)
            }
            HookAuth::Url(secret) => Self::Url(SecretHash::new(secret)?),
            HookAuth::IdToken(rules) => Self::IdToken(rules.clone()),
            HookAuth::Sns(topics) => Self::Sns(topics.clone()),
        })
    }

    /// Whether the secret is a part of the address.
    pub(super) fn is_in_url(&self) -> bool {
        matches!(self, Self::Url(_))
    }

    /// What can be said before the body is there; `None`: not yet known.
    pub(super) fn by_head(&self, in_url: Option<&str>, headers: &HeaderMap) -> Option<Verdict> {
        let (right, told) = match self {
            Self::Url(secret) => (
                in_url.is_some_and(|given| secret.matches(given.as_bytes())),
                "the address does not end in this receiver's secret",
            ),
            Self::Token(name, secret) => {
                (has_token(name, secret, headers), "the header with the secret is missing or wrong")
            }
            Self::Hmac(..) | Self::IdToken(_) | Self::Sns(_) => return None,
        };
        Some(if right { Verdict::Authentic } else { Verdict::Refused(told) })
    }

    /// The whole verdict.
    pub(super) async fn check(
        &self,
        in_url: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
        library: &Library,
    ) -> Verdict {
        match self {
            Self::Token(..) | Self::Url(_) => {
                self.by_head(in_url, headers).unwrap_or(Verdict::Refused("there is no proof"))
            }
            Self::Hmac(key, signing) => key.check(signing, headers, body),
            Self::IdToken(rules) => rules.check(headers, library).await,
            Self::Sns(topics) => sns_proof::check(topics, body, library).await,
        }
    }
}

/// Every form is compared, so that the time tells nothing.
fn has_token(name: &HeaderName, secret: &SecretHash, headers: &HeaderMap) -> bool {
    let whole = headers.get(name).is_some_and(|given| secret.matches(given.as_bytes()));
    if *name != AUTHORIZATION {
        return whole;
    }
    let token = bearer(headers).is_some_and(|given| secret.matches(given));
    let password = basic_password(headers).is_some_and(|given| secret.matches(&given));
    whole | token | password
}

/// The password of a `Basic` authorization: the only way of some senders, whatever user they send with it.
fn basic_password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(6)?;
    let decoded = scheme.eq_ignore_ascii_case(b"basic ").then(|| STANDARD.decode(rest.trim_ascii()).ok())??;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

impl HmacKey {
    fn new(secret: &SecretString, hash: Hash) -> Self {
        let key = secret.expose_secret().as_bytes();
        let any = "HMAC takes keys of any length";
        match hash {
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).expect(any)),
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).expect(any)),
        }
    }

    /// The signature of a body, in hex.
    pub(super) fn sign(&self, body: &[u8]) -> String {
        match self {
            Self::Sha256(key) => hex::encode(key.clone().chain_update(body).finalize().into_bytes()),
            Self::Sha1(key) => hex::encode(key.clone().chain_update(body).finalize().into_bytes()),
        }
    }

    fn check(&self, signing: &Signing, headers: &HeaderMap, body: &[u8]) -> Verdict {
        let given = signing.headers.iter().filter_map(|name| headers.get(*name));
        let given = given.filter_map(|value| hex::decode(value.to_str().ok()?.strip_prefix(signing.prefix)?).ok());
        let mut given = given.peekable();
        if given.peek().is_none() {
            return Verdict::Refused("there is no signature");
        }
        let mut right = |signature: Vec<u8>| match self {
            Self::Sha256(key) => key.clone().chain_update(body).verify_slice(&signature).is_ok(),
            Self::Sha1(key) => key.clone().chain_update(body).verify_slice(&signature).is_ok(),
        };
        if given.any(&mut right) { Verdict::Authentic } else { Verdict::Refused("the signature is not the body's") }
    }
}

/// What a delivery has to carry to be authentic, as far as it can be made here: an ending of the address, headers.
pub(super) fn proof_of(auth: &HookAuth, facts: &Facts, body: &[u8]) -> (Option<String>, Vec<(HeaderName, String)>) {
    match auth {
        HookAuth::Token { secret, header } => {
            let name = header.clone().unwrap_or(HeaderName::from_static(facts.token_header));
            let bearer = if name == AUTHORIZATION { "Bearer " } else { "" };
            (None, vec![(name, format!("{bearer}{}", secret.expose_secret()))])
        }
        HookAuth::Hmac(secret) => {
            let signature = HmacKey::new(secret, facts.signing.hash).sign(body);
            let name = facts.signing.headers.first().copied().unwrap_or("x-signature");
            (None, vec![(HeaderName::from_static(name), format!("{}{signature}", facts.signing.prefix))])
        }
        HookAuth::Url(secret) => (Some(secret.expose_secret().to_owned()), Vec::new()),
        HookAuth::IdToken(_) | HookAuth::Sns(_) => (None, Vec::new()),
    }
}
