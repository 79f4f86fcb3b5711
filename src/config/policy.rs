//! `policy` of an app, over that of the defaults → its gates.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

use crate::decide::window;
use crate::model::{Bearer, Env, Gates, PublicKey, ScanRule, Scanner, SignatureRule, Window};
use crate::verify::read_keys;

use super::convert::secret;
use super::errors::Report;
use super::units::{duration, period};
use super::words::{Scalar, Words};

/// Turns off what the defaults ask for.
const NONE: &str = "none";

/// No window.
const ALWAYS: &str = "always";

/// What may stand in braces in a scanner's command.
const FACTS: [&str; 6] = ["app", "reference", "repository", "digest", "tag", "platform"];

/// What must be true of a version before it is deployed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyFile {
    /// When versions may change: `Mon-Fri 09:00-17:00 Europe/Berlin`, one or a list; `always`. Without a zone, `timezone`
    /// counts.
    pub(super) window: Option<Words>,
    /// A version must have been known for so long.
    pub(super) soak: Option<String>,
    /// A person must approve of each version: `tagboat approve APP`.
    pub(super) approve: Option<bool>,
    /// Who must have signed it, or `none`.
    pub(super) verify: Option<VerifyFile>,
    /// What must have scanned it, or `none`.
    pub(super) scan: Option<ScanFile>,
}

/// Signatures.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum VerifyFile {
    /// `none`
    Word(String),
    /// How.
    Rules(VerifyRules),
}

/// How signatures are verified.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VerifyRules {
    /// By cosign, with a key; a list is a list of keys.
    pub(super) cosign: Option<CosignFile>,
}

/// Signatures that cosign makes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum CosignFile {
    /// The keys alone.
    Keys(Vec<String>),
    /// The keys and more.
    Rules(CosignRules),
}

/// Which of cosign's signatures count.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CosignRules {
    /// Files of public keys, or the PEM texts themselves; one of them must have signed. To rotate a key, have both here
    /// for a while.
    pub(super) keys: Vec<String>,
    /// What the signature must say, as given to `cosign sign -a`.
    pub(super) annotations: BTreeMap<String, Scalar>,
    /// A version without a signature is merely early for so long.
    pub(super) deadline: Option<String>,
}

/// A scan.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ScanFile {
    /// `none`
    Word(String),
    /// How.
    Rules(ScanRules),
}

/// How a version is scanned: by `exec` or by `http`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScanRules {
    /// A program on this host.
    pub(super) exec: Option<ExecFile>,
    /// A service.
    pub(super) http: Option<ScanHttpFile>,
    /// One scan may take so long.
    pub(super) timeout: Option<String>,
    /// A verdict holds for so long; then the version is scanned again.
    pub(super) fresh: Option<String>,
}

/// A program that scans.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExecFile {
    /// The program and its arguments; `{reference}`, `{repository}`, `{digest}`, `{tag}`, `{platform}` and `{app}` are
    /// replaced. There is no shell.
    pub(super) command: Option<Words>,
    /// Set in its environment: the place for secrets, which everybody on the host could read in arguments.
    pub(super) env: BTreeMap<String, Scalar>,
    /// Exit codes that mean no. 0 means yes, 75 later, and every other that it failed.
    pub(super) deny: Option<Vec<i32>>,
}

/// A service that scans.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScanHttpFile {
    /// Where it is asked by POST.
    pub(super) url: Option<String>,
    /// Sent as `Authorization: Bearer <token>`.
    pub(super) token: Option<String>,
    /// A file that holds it.
    pub(super) token_file: Option<String>,
}

/// Takes a policy, each key from the app or else from the defaults.
pub(super) fn gates(
    own: Option<&PolicyFile>,
    defaults: Option<&PolicyFile>,
    zone: Option<&str>,
    path: &str,
    report: &mut Report,
) -> Option<Gates> {
    let before = report.problems.len();
    let windows = pick(own, defaults, |policy| policy.window.as_ref());
    let windows = windows.map(|words| windows_of(words, zone, &format!("{path}.window"), report)).unwrap_or_default();
    let soak = pick(own, defaults, |policy| policy.soak.as_ref());
    let soak = soak.map_or(Some(Duration::ZERO), |text| report.take(&format!("{path}.soak"), duration(text)));
    let approve = pick(own, defaults, |policy| policy.approve.as_ref()).copied().unwrap_or_default();
    let verify = pick(own, defaults, |policy| policy.verify.as_ref());
    let signatures = verify.and_then(|verify| signatures(verify, &format!("{path}.verify"), report));
    let scan = pick(own, defaults, |policy| policy.scan.as_ref());
    let scan = scan.and_then(|scan| scanner(scan, &format!("{path}.scan"), report));
    let gates = Gates { windows, soak: soak?, approve, signatures, scan };
    // An app without the gate that was meant would be worse than none.
    (report.problems.len() == before).then_some(gates)
}

fn pick<'a, T>(
    own: Option<&'a PolicyFile>,
    defaults: Option<&'a PolicyFile>,
    of: fn(&'a PolicyFile) -> Option<&'a T>,
) -> Option<&'a T> {
    own.and_then(of).or(defaults.and_then(of))
}

fn windows_of(words: &Words, zone: Option<&str>, path: &str, report: &mut Report) -> Vec<Window> {
    let texts = match words {
        Words::Text(text) if text == ALWAYS => return Vec::new(),
        Words::Text(text) => std::slice::from_ref(text),
        Words::List(texts) if texts.is_empty() => {
            report.add(path, "an empty list is never; for no window write `always`");
            return Vec::new();
        }
        Words::List(texts) => texts,
    };
    let name = zone.unwrap_or("UTC");
    let unknown = |_| format!("{name:?} is no time zone; write it like `Europe/Berlin`");
    let Some(zone) = report.take(path, name.parse().map_err(unknown)) else { return Vec::new() };
    texts.iter().filter_map(|text| report.take(path, window::parse(text, zone))).collect()
}

fn signatures(file: &VerifyFile, path: &str, report: &mut Report) -> Option<SignatureRule> {
    let cosign = match file {
        VerifyFile::Word(word) if word == NONE => return None,
        VerifyFile::Word(word) => {
            report.add(path, format!("{word:?} must be `none`, or `{{cosign: {{keys: [cosign.pub]}}}}`"));
            return None;
        }
        VerifyFile::Rules(rules) => rules.cosign.as_ref(),
    };
    let rules = match cosign {
        Some(CosignFile::Keys(keys)) => &CosignRules { keys: keys.clone(), ..CosignRules::default() },
        Some(CosignFile::Rules(rules)) => rules,
        None => {
            report.add(
                path,
                "`cosign` is missing: `{cosign: {keys: [cosign.pub]}}`; to ask for no signature write `none`",
            );
            return None;
        }
    };
    let at = format!("{path}.cosign");
    let mut keys: Vec<PublicKey> = Vec::new();
    for (index, text) in rules.keys.iter().enumerate() {
        let place = format!("{at}.keys[{index}]");
        keys.extend(report.take(&place, key(text, index)).unwrap_or_default());
    }
    if rules.keys.is_empty() {
        let message = "has no key, and keyless signatures can't be verified: give the public key, `keys: [cosign.pub]`";
        report.add(&format!("{at}.keys"), message);
    }
    let deadline = rules.deadline.as_deref().unwrap_or("15m");
    let deadline = report.take(&format!("{at}.deadline"), duration(deadline))?;
    let annotations = rules.annotations.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
    (!keys.is_empty()).then_some(SignatureRule { keys, annotations, deadline })
}

/// A file, or a PEM text.
fn key(text: &str, index: usize) -> Result<Vec<PublicKey>, String> {
    if text.trim_start().starts_with("-----BEGIN") {
        return read_keys(&format!("key {}", index + 1), text.as_bytes());
    }
    let pem = std::fs::read(text).map_err(|error| format!("{text} can't be read: {error}"))?;
    read_keys(text, &pem)
}

fn scanner(file: &ScanFile, path: &str, report: &mut Report) -> Option<ScanRule> {
    let rules = match file {
        ScanFile::Word(word) if word == NONE => return None,
        ScanFile::Word(word) => {
            report.add(
                path,
                format!(
                    "{word:?} must be `none`, or `{{exec: {{command: [\u{2026}]}}}}`, or `{{http: {{url: \u{2026}}}}}`"
                ),
            );
            return None;
        }
        ScanFile::Rules(rules) => rules,
    };
    let timeout = report.take(&format!("{path}.timeout"), period(rules.timeout.as_deref().unwrap_or("5m")));
    let fresh = report.take(&format!("{path}.fresh"), period(rules.fresh.as_deref().unwrap_or("24h")));
    let by = match (&rules.exec, &rules.http) {
        (Some(exec), None) => program(exec, &format!("{path}.exec"), report),
        (None, Some(http)) => service(http, &format!("{path}.http"), report),
        _ => {
            report.add(path, "a scan is made by `exec` or by `http`: one of them, and not both");
            None
        }
    };
    Some(ScanRule { by: by?, timeout: timeout?, fresh: fresh? })
}

fn program(file: &ExecFile, path: &str, report: &mut Report) -> Option<Scanner> {
    let at = format!("{path}.command");
    let command = match &file.command {
        Some(Words::List(list)) => Some(list.clone()),
        Some(Words::Text(text)) => {
            let open = || format!("{text:?} has a quote that is not closed");
            report.take(&at, shlex::split(text).ok_or_else(open))
        }
        None => Some(Vec::new()),
    }?;
    if command.first().is_none_or(|program| program.is_empty()) {
        report.add(&at, "is missing: the program and its arguments, such as `[grype, \"registry:{reference}\"]`");
    }
    for name in command.iter().flat_map(|argument| braced(argument)).filter(|name| !FACTS.contains(name)) {
        report.add(&at, format!("{{{name}}} is not known; there are {{{}}}", FACTS.join("}, {")));
    }
    let deny = file.deny.clone().unwrap_or_else(|| vec![1]);
    if let Some(code) = deny.iter().find(|code| !(1..=255).contains(*code) || **code == 75) {
        report.add(&format!("{path}.deny"), format!("{code} can't mean no: 0 means yes, 75 later; 1 to 255 there are"));
    }
    let env = Env(file.env.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect());
    Some(Scanner::Exec { command, env, deny })
}

/// The names that stand in braces.
fn braced(text: &str) -> Vec<&str> {
    let parts = text.split('{').skip(1);
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name)).filter(is_name).collect()
}

fn service(file: &ScanHttpFile, path: &str, report: &mut Report) -> Option<Scanner> {
    let token = secret(path, "token", file.token.clone(), file.token_file.clone(), report);
    let at = format!("{path}.url");
    let text = file.url.as_deref().unwrap_or_default();
    let wrong = || format!("{text:?} must be an address such as `https://scanner.example.com/gate`");
    let url = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = report.take(&at, url.ok_or_else(wrong))?;
    if !url.username().is_empty() || url.password().is_some() {
        report.add(&at, "must hold no user and no password; use `token`");
    }
    Some(Scanner::Http { url, token: token.map(|token: SecretString| Bearer(token)) })
}

/// What a container's labels ask for in a way that would let through what the defaults would not. Labels may come from an
/// image, and an image must not say what it has to pass.
pub(super) fn loosened(own: &PolicyFile, defaults: &PolicyFile) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let soak = |policy: &PolicyFile| policy.soak.as_deref().and_then(|text| duration(text).ok());
    let file = "is given in the file's defaults, and an image's labels must not change it";
    if own.scan.is_some() {
        found.push(("policy.scan", "is for the file: what an image says about itself must not run or ask anything"));
    }
    let verified = matches!(&defaults.verify, Some(VerifyFile::Rules(_)));
    let windowed = match &defaults.window {
        None => false,
        Some(Words::Text(text)) => text != ALWAYS,
        Some(Words::List(_)) => true,
    };
    if own.verify.is_some() && verified {
        found.push(("policy.verify", file));
    }
    if own.window.is_some() && windowed {
        found.push(("policy.window", file));
    }
    if own.approve == Some(false) && defaults.approve == Some(true) {
        found.push(("policy.approve", file));
    }
    if soak(own).zip(soak(defaults)).is_some_and(|(own, defaults)| own < defaults) {
        found.push(("policy.soak", "is less than the file's defaults, which labels can't undercut"));
    }
    found
}
