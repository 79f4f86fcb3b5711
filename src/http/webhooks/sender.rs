//! The senders and what there is to know about each, by name.

use super::reading::Read;
use super::senders::{
    acr, alibaba, distribution, dockerhub, ecr, eventgrid, generic, gitea, github, gitlab, google, harbor, jfrog, msr,
    nexus, quay, sns, zot,
};
use crate::model::{Digest, Repository, Tag};

/// What sends to a receiver; `sender:` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described in its file below `senders`")]
pub enum Sender {
    DockerHub,
    GitHub,
    GitLab,
    Quay,
    Harbor,
    Distribution,
    Gitea,
    Acr,
    EventGrid,
    Ecr,
    Sns,
    Google,
    JFrog,
    Nexus,
    Zot,
    Alibaba,
    Msr,
    Generic,
}

/// How a sender can prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It sends a header that is configured at it.
    Token,
    /// It signs the body with a shared key.
    Hmac,
    /// It can do nothing but call the address that it was given: the secret is a part of that.
    Url,
    /// It sends a token signed by an identity provider.
    IdToken,
    /// It signs with the key of Amazon SNS.
    Sns,
}

/// Where a shared-key signature stands, and how it is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signing {
    pub(super) headers: &'static [&'static str],
    /// What stands before the hex digits.
    pub(super) prefix: &'static str,
    pub(super) hash: Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    /// What a sender does that knows no better; as a key of an HMAC it is not broken (RFC 6151, RFC 6194).
    Sha1,
}

/// GitHub's way, which others have taken over.
pub(super) const X_HUB: Signing =
    Signing { headers: &["x-signature", "x-hub-signature-256"], prefix: "sha256=", hash: Hash::Sha256 };

/// Everything about a sender.
pub(super) struct Facts {
    pub(super) label: &'static str,
    /// Its name as people write it.
    pub(super) title: &'static str,
    pub(super) read: Read,
    /// The best one first; that is what `hook new` makes.
    pub(super) proofs: &'static [Proof],
    /// The header that its token is in, unless another is configured.
    pub(super) token_header: &'static str,
    pub(super) signing: Signing,
    /// Whether a delivery tells, or lets find out, which registry it is about.
    pub(super) names_registry: bool,
    /// How the names of the registries end that it sends for, if nobody runs it but its maker.
    pub(super) homes: &'static [&'static str],
    /// Whether it may announce a tag before the registry says what it points to.
    pub(super) early: bool,
    /// Where to paste what; `{url}` and `{secret}` are filled in.
    pub(super) guide: &'static str,
    pub(super) sample: fn(&Subject) -> Sample,
}

impl Facts {
    /// What most senders have.
    pub(super) const COMMON: Self = Self {
        label: "",
        title: "",
        read: generic::read,
        proofs: &[Proof::Url],
        token_header: "authorization",
        signing: X_HUB,
        names_registry: true,
        homes: &[],
        early: false,
        guide: "",
        sample: generic::sample,
    };
}

/// What a sample announces.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// What the tag points to now.
    pub digest: Digest,
    /// The id of the delivery, for senders that have one.
    pub id: String,
}

/// A delivery as its sender makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its headers, without those that prove it.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: String,
}

impl Sample {
    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self { headers: vec![("content-type", "application/json".into())], body: body.to_string() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }
}

impl Sender {
    /// Every one, by label.
    pub const ALL: [Self; 18] = [
        Self::Acr,
        Self::Alibaba,
        Self::Distribution,
        Self::DockerHub,
        Self::Ecr,
        Self::EventGrid,
        Self::Generic,
        Self::Gitea,
        Self::GitHub,
        Self::GitLab,
        Self::Google,
        Self::Harbor,
        Self::JFrog,
        Self::Msr,
        Self::Nexus,
        Self::Quay,
        Self::Sns,
        Self::Zot,
    ];

    pub(super) fn facts(self) -> &'static Facts {
        match self {
            Self::DockerHub => &dockerhub::FACTS,
            Self::GitHub => &github::FACTS,
            Self::GitLab => &gitlab::FACTS,
            Self::Quay => &quay::FACTS,
            Self::Harbor => &harbor::FACTS,
            Self::Distribution => &distribution::FACTS,
            Self::Gitea => &gitea::FACTS,
            Self::Acr => &acr::FACTS,
            Self::EventGrid => &eventgrid::FACTS,
            Self::Ecr => &ecr::FACTS,
            Self::Sns => &sns::FACTS,
            Self::Google => &google::FACTS,
            Self::JFrog => &jfrog::FACTS,
            Self::Nexus => &nexus::FACTS,
            Self::Zot => &zot::FACTS,
            Self::Alibaba => &alibaba::FACTS,
            Self::Msr => &msr::FACTS,
            Self::Generic => &generic::FACTS,
        }
    }

    /// Stable name: in the configuration, in metrics, in the API.
    pub fn label(self) -> &'static str {
        self.facts().label
    }

    /// Its name as people write it.
    pub fn title(self) -> &'static str {
        self.facts().title
    }

    /// How it can prove itself, the best way first.
    pub fn proofs(self) -> &'static [Proof] {
        self.facts().proofs
    }

    /// Whether its deliveries tell which registry they are about; else `default_host` or an alias must.
    pub fn names_registry(self) -> bool {
        self.facts().names_registry
    }

    /// Whether images of this registry are what it sends about: its own, or, if anybody can run it, those that are no other
    /// sender's own.
    pub fn is_for(self, registry: &str) -> bool {
        let is_home = |sender: Self| sender.facts().homes.iter().any(|end| registry.ends_with(end));
        is_home(self) || (self.facts().homes.is_empty() && !Self::ALL.into_iter().any(is_home))
    }

    /// Where to paste what, with `{url}` and `{secret}` to be filled in.
    pub fn guide(self) -> &'static str {
        self.facts().guide
    }

    /// A delivery that announces this.
    pub fn sample(self, subject: &Subject) -> Sample {
        (self.facts().sample)(subject)
    }
}

impl std::str::FromStr for Sender {
    type Err = UnknownSender;

    fn from_str(text: &str) -> Result<Self, UnknownSender> {
        let by_other_name = match text {
            "forgejo" => Some(Self::Gitea),
            "dtr" => Some(Self::Msr),
            _ => None,
        };
        let known = by_other_name.or_else(|| Self::ALL.into_iter().find(|sender| sender.label() == text));
        known.ok_or_else(|| {
            let labels: Vec<_> = Self::ALL.iter().map(|sender| sender.label()).collect();
            let similar = labels.iter().map(|label| (strsim::jaro_winkler(text, label), *label));
            let best = similar.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= 0.75);
            let meant = best.map_or(String::new(), |(_, label)| format!("did you mean `{label}`? "));
            UnknownSender { given: text.to_owned(), hint: format!("{meant}senders are {}", labels.join(", ")) }
        })
    }
}

/// A sender that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no sender {given:?}; {hint}")]
pub struct UnknownSender {
    given: String,
    hint: String,
}
