//! cosign's second form, the default since its version 3: a sigstore bundle that refers to the image, with a DSSE
//! envelope around an in-toto statement whose subject is the image's digest.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::{Digest, PublicKey, Referrer, SignatureRule};

use super::keys::signer;
use super::signature::{Flaw, carries};

/// Versions 0.1 and 0.2 differ in what they say about transparency logs, and cosign never attached them to images.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

const PAYLOAD: &str = "application/vnd.in-toto+json";

/// That a statement signs the image, and does not merely say something about it.
const SIGNS: &str = "https://sigstore.dev/cosign/sign/v1";

/// What a referring manifest says about the bundle within.
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    #[serde(default)]
    verification_material: Map<String, Value>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    #[serde(default)]
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(default)]
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate: String,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<Map<String, Value>>,
}

/// Whether what refers to an image may be a bundle.
pub(super) fn may_be(referrer: &Referrer) -> bool {
    referrer.artifact_type.as_deref().is_none_or(|kind| kind == BUNDLE)
}

/// The bundles of a referring manifest that may be signatures; the error says what is wrong with it.
pub(super) fn read(manifest: &[u8]) -> Result<Vec<Digest>, String> {
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    if manifest.annotations.get(PREDICATE).is_some_and(|predicate| predicate != SIGNS) {
        return Ok(Vec::new());
    }
    let layers = manifest.layers.into_iter().filter(|layer| layer.media_type == BUNDLE);
    Ok(layers.map(|layer| layer.digest).collect())
}

/// Holds a bundle against the rule; the key that made it. `None` when it is about something else, such as an
/// attestation.
pub(super) fn verify<'k>(
    bundle: &[u8],
    digest: &Digest,
    rule: &'k SignatureRule,
) -> Option<Result<&'k PublicKey, Flaw>> {
    let Ok(bundle) = serde_json::from_slice::<Bundle>(bundle) else { return Some(Err(Flaw::Malformed)) };
    let Some(envelope) = bundle.dsse_envelope.filter(|_| bundle.media_type == BUNDLE) else {
        return Some(Err(Flaw::Malformed));
    };
    let Some(payload) = decode(&envelope.payload) else { return Some(Err(Flaw::Malformed)) };
    // Read before it is verified only to leave out what does not claim to be a signature.
    let statement = serde_json::from_slice::<Statement>(&payload).ok();
    if statement.as_ref().is_some_and(|statement| statement.predicate != SIGNS) {
        return None;
    }
    let keyless =
        ["certificate", "x509CertificateChain"].iter().any(|key| bundle.verification_material.contains_key(*key));
    Some(judge(&envelope, &payload, keyless, statement, digest, rule))
}

fn judge<'k>(
    envelope: &Envelope,
    payload: &[u8],
    keyless: bool,
    statement: Option<Statement>,
    digest: &Digest,
    rule: &'k SignatureRule,
) -> Result<&'k PublicKey, Flaw> {
    let message = encoded(&envelope.payload_type, payload);
    // A bundle's envelope has exactly one signature (sigstore bundle format).
    let [signature] = envelope.signatures.as_slice() else { return Err(Flaw::Malformed) };
    let signature = decode(&signature.sig).ok_or(Flaw::Malformed)?;
    let foreign = if keyless { Flaw::Keyless } else { Flaw::OtherKey };
    let key = signer(&rule.keys, &message, &signature).ok_or(foreign)?;
    let statement = statement.filter(|s| STATEMENTS.contains(&s.kind.as_str()) && envelope.payload_type == PAYLOAD);
    let statement = statement.ok_or(Flaw::Malformed)?;
    let (algorithm, hex) = digest.as_str().split_once(':').unwrap_or_default();
    let names = |subject: &&Subject| subject.digest.get(algorithm).is_some_and(|named| named == hex);
    let Some(subject) = statement.subject.iter().find(names) else {
        let other = statement.subject.first().and_then(|subject| subject.digest.iter().next());
        return Err(Flaw::OtherDigest(other.map_or("nothing".to_owned(), |(kind, hex)| format!("{kind}:{hex}"))));
    };
    let none = Map::new();
    carries(subject.annotations.as_ref().unwrap_or(&none), rule)?;
    Ok(key)
}

/// DSSE's "pre-authentication encoding": what is really signed.
pub(super) fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// DSSE allows either alphabet.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}
