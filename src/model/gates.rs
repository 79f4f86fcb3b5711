//! What must be true of a version before it is deployed, and what was found out about one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{AppName, Digest, Env, Platform, Repository, Tag, Time};

/// What an app asks of a version that has not served yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gates {
    /// When versions may change; always when there is none.
    pub windows: Vec<Window>,
    /// A version must have been known for so long.
    pub soak: Duration,
    /// A person must approve of it.
    pub approve: bool,
    /// Somebody known must have signed it.
    pub signatures: Option<SignatureRule>,
    /// A scanner must allow it.
    pub scan: Option<ScanRule>,
}

impl Gates {
    /// True when there is anything to ask for.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Hours of some days of the week, by the wall clock of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// As it was written.
    pub text: String,
    /// Monday first.
    pub days: [bool; 7],
    /// Minutes after midnight.
    pub from: u16,
    /// Minutes after midnight, up to 1440; not after `from` means on the next day.
    pub to: u16,
    /// Whose wall clock.
    pub zone: chrono_tz::Tz,
}

/// Which signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureRule {
    /// One of them must have signed; never empty.
    pub keys: Vec<PublicKey>,
    /// What the signature must say besides, all of it.
    pub annotations: BTreeMap<String, String>,
    /// A version without a signature is merely early for so long.
    pub deadline: Duration,
}

/// A key that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its file, or its place in the configuration.
    pub name: String,
    /// `SubjectPublicKeyInfo`, DER.
    pub spki: Vec<u8>,
}

/// How a version is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRule {
    /// By whom.
    pub by: Scanner,
    /// One scan may take so long.
    pub timeout: Duration,
    /// A verdict holds for so long; then it is asked for again.
    pub fresh: Duration,
}

/// What scans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanner {
    /// A program on this host.
    Exec {
        /// The program and its arguments; never empty.
        command: Vec<String>,
        /// Set in its environment.
        env: Env,
        /// Exit codes that mean no.
        deny: Vec<i32>,
    },
    /// A service.
    Http {
        /// It is asked by POST.
        url: url::Url,
        /// Sent as `Authorization: Bearer …`.
        token: Option<Bearer>,
    },
}

/// A secret that tells whether it is the same as another, and nothing else.
#[derive(Debug, Clone)]
pub struct Bearer(pub SecretString);

impl PartialEq for Bearer {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Bearer {}

/// What is to be scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanSubject {
    /// For this app.
    pub app: AppName,
    /// Where it is.
    pub repository: Repository,
    /// Its digest.
    pub digest: Digest,
    /// The tag that points to it, if it was found by one.
    pub tag: Option<Tag>,
    /// What of it will run.
    pub platform: Platform,
}

/// What was found of a version's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureVerdict {
    /// One counts.
    Verified {
        /// Which, and whose.
        by: String,
    },
    /// There is none.
    Missing,
    /// There are some, and none counts.
    Invalid {
        /// Why not.
        message: String,
    },
    /// It could not be found out.
    Unreachable {
        /// Why.
        message: String,
    },
}

impl SignatureVerdict {
    /// Stable name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Verified { .. } => "verified",
            Self::Missing => "missing",
            Self::Invalid { .. } => "invalid",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

/// What a scanner said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanVerdict {
    /// It may be deployed.
    Allowed,
    /// It may not.
    Denied {
        /// Why.
        reason: String,
    },
    /// Not known yet.
    Later {
        /// Why.
        reason: String,
    },
    /// The scanner itself failed.
    Failed {
        /// How.
        message: String,
    },
}

impl ScanVerdict {
    /// Stable name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied { .. } => "denied",
            Self::Later { .. } => "later",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A verdict, and how often it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked<T> {
    /// The last one.
    pub verdict: T,
    /// When it was given.
    pub at: Time,
    /// Looks in a row with this kind of verdict, from 1.
    pub count: u32,
}

/// What was found out about one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Of its signatures.
    pub signature: Option<Looked<SignatureVerdict>>,
    /// By scanning it.
    pub scan: Option<Looked<ScanVerdict>>,
}

/// Something to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// Whether it is signed.
    Signature,
    /// What the scanner says.
    Scan,
}

impl Check {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Scan => "scan",
        }
    }
}

/// A person's word that a version may be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// This version.
    pub digest: Digest,
    /// Who, as they called themselves.
    pub by: String,
    /// When.
    pub at: Time,
}

/// What holds a version back, by its own name in status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// It has no signature yet, or its signatures were not looked at yet.
    SignaturePending,
    /// It has no signature, and should have one by now.
    SignatureMissing,
    /// None of its signatures counts.
    SignatureInvalid,
    /// Its signatures could not be read.
    SignatureUnreachable,
    /// It is being scanned, or the scanner asked for patience.
    ScanPending,
    /// The scanner said no.
    ScanDenied,
    /// The scanner failed.
    ScanFailed,
    /// Nobody has approved of it.
    Approval,
    /// It is too young.
    Soak,
    /// It is not the hour.
    Window,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SignaturePending,
        Self::SignatureMissing,
        Self::SignatureInvalid,
        Self::SignatureUnreachable,
        Self::ScanPending,
        Self::ScanDenied,
        Self::ScanFailed,
        Self::Approval,
        Self::Soak,
        Self::Window,
    ];

    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::SignaturePending => "signature_pending",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureInvalid => "signature_invalid",
            Self::SignatureUnreachable => "signature_unreachable",
            Self::ScanPending => "scan_pending",
            Self::ScanDenied => "scan_denied",
            Self::ScanFailed => "scan_failed",
            Self::Approval => "approval",
            Self::Soak => "soak",
            Self::Window => "window",
        }
    }

    /// A signature would open it.
    pub fn wants_signature(self) -> bool {
        use Gate::{SignatureInvalid, SignatureMissing, SignaturePending, SignatureUnreachable};
        matches!(self, SignaturePending | SignatureMissing | SignatureInvalid | SignatureUnreachable)
    }

    /// Somebody may have tampered with it, or forgotten something: a person should look.
    pub fn is_alarming(self) -> bool {
        matches!(self, Self::SignatureMissing | Self::SignatureInvalid | Self::ScanDenied)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
