//! Signatures by cosign, by OpenSSL and by keys made here, whole and damaged in every part.

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::bundle::encoded;
use super::keys::{has_signed, read_keys};
use super::signature::look;
use crate::model::{Digest, PublicKey, Referrer, Repository, SignatureRule, SignatureVerdict, Version};
use crate::ports::{Artifacts, RegistryError, RegistryErrorKind};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNS: &str = "https://sigstore.dev/cosign/sign/v1";

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn key(name: &str) -> PublicKey {
    read_keys(name, &fixture(&format!("cosign/{name}.pub"))).unwrap().remove(0)
}

/// What a registry has beside an image.
#[derive(Debug, Clone, Default)]
struct Shelf {
    documents: BTreeMap<String, Vec<u8>>,
    referrers: Vec<Referrer>,
    /// What it can't give.
    broken: BTreeSet<String>,
}

impl Shelf {
    fn give(&self, what: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        if self.broken.contains(what) {
            let (kind, message) = (RegistryErrorKind::Unreachable, format!("no route to {what}"));
            return Err(RegistryError { kind, message, retry_after: None, source: None });
        }
        Ok(self.documents.get(what).cloned())
    }

    fn put(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.documents.insert(digest.to_string(), bytes.to_vec());
        digest
    }

    /// A `.sig` manifest with these payloads and signatures.
    fn simple(mut self, digest: &Digest, signed: &[(Value, Vec<u8>)]) -> Self {
        let layers: Vec<Value> = signed
            .iter()
            .map(|(payload, signature)| {
                let payload = self.put(payload.to_string().as_bytes());
                json!({"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": 1, "digest": payload,
                    "annotations": {"dev.cosignproject.cosign/signature": STANDARD.encode(signature)}})
            })
            .collect();
        let manifest = json!({"schemaVersion": 2, "layers": layers}).to_string().into_bytes();
        self.documents.insert(digest.stand_in(".sig").to_string(), manifest);
        self
    }

    /// A bundle that refers to the image.
    fn bundle(mut self, bundle: &Value) -> Self {
        let bundle = self.put(bundle.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "artifactType": BUNDLE,
            "layers": [{"mediaType": BUNDLE, "digest": bundle, "size": 1}]});
        let digest = self.put(manifest.to_string().as_bytes());
        self.referrers.push(Referrer { digest, artifact_type: Some(BUNDLE.into()) });
        self
    }

    async fn look(&self, digest: &Digest, rule: &SignatureRule) -> SignatureVerdict {
        let repository: Repository = "registry.test/shop".parse().unwrap();
        look(self, &repository, digest, rule).await
    }
}

#[async_trait]
impl Artifacts for Shelf {
    async fn manifest_bytes(&self, _: &Repository, version: &Version) -> Result<Option<Vec<u8>>, RegistryError> {
        match version {
            Version::Tag(tag) => self.give(tag.as_str()),
            Version::Digest(digest) => self.give(digest.as_str()),
        }
    }

    async fn blob(&self, _: &Repository, digest: &Digest) -> Result<Option<Vec<u8>>, RegistryError> {
        self.give(digest.as_str())
    }

    async fn referrers(&self, _: &Repository, _: &Digest) -> Result<Vec<Referrer>, RegistryError> {
        self.give("referrers").map(|_| self.referrers.clone())
    }
}

/// What cosign made, in one of its forms or in both.
fn cosign(simple: bool, bundles: bool) -> (Digest, Shelf) {
    let digest: Digest = String::from_utf8(fixture("cosign/digest")).unwrap().trim().parse().unwrap();
    let mut shelf = Shelf::default();
    for entry in std::fs::read_dir(format!("{}/tests/fixtures/cosign/blobs", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        shelf.put(&bytes);
    }
    if simple {
        shelf.documents.insert(digest.stand_in(".sig").to_string(), fixture("cosign/signatures.json"));
    }
    if bundles {
        let index: Value = serde_json::from_slice(&fixture("cosign/referrers.json")).unwrap();
        let entries = index["manifests"].as_array().unwrap().iter();
        shelf.referrers = entries
            .map(|entry| Referrer {
                digest: entry["digest"].as_str().unwrap().parse().unwrap(),
                artifact_type: entry["artifactType"].as_str().map(str::to_owned),
            })
            .collect();
    }
    (digest, shelf)
}

fn rule(keys: Vec<PublicKey>, annotations: &[(&str, &str)]) -> SignatureRule {
    let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    SignatureRule { keys, annotations, deadline: Duration::from_secs(60) }
}

/// A key of our own.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &SystemRandom::new());
        Self(pair.unwrap())
    }

    fn public(&self) -> PublicKey {
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        PublicKey { name: "own.pub".into(), spki: [head, self.0.public_key().as_ref().to_vec()].concat() }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    fn payload(&self, payload: Value) -> (Value, Vec<u8>) {
        let signature = self.sign(payload.to_string().as_bytes());
        (payload, signature)
    }

    fn bundle(&self, statement: &Value) -> Value {
        let payload = statement.to_string();
        let signature = self.sign(&encoded("application/vnd.in-toto+json", payload.as_bytes()));
        json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": "x"}}, "dsseEnvelope": {
            "payload": STANDARD.encode(payload), "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": STANDARD.encode(signature)}]}})
    }
}

fn simple_payload(digest: &Digest, optional: &Value) -> Value {
    json!({"critical": {"identity": {"docker-reference": "registry.test/shop"},
        "image": {"docker-manifest-digest": digest}, "type": "cosign container image signature"}, "optional": optional})
}

fn statement(digest: &Digest, annotations: &Value) -> Value {
    let hex = digest.as_str().trim_start_matches("sha256:");
    json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": SIGNS, "predicate": {},
        "subject": [{"digest": {"sha256": hex}, "annotations": annotations}]})
}

#[tokio::test]
async fn what_cosign_signs_is_verified_with_every_kind_of_key_in_both_forms() {
    for (form, simple, bundles) in [("simple signing", true, false), ("bundle", false, true)] {
        let (digest, shelf) = cosign(simple, bundles);
        for name in ["p256", "p384", "rsa", "ed25519"] {
            let verdict = shelf.look(&digest, &rule(vec![key(name)], &[("branch", "main")])).await;
            assert_eq!(verdict, SignatureVerdict::Verified { by: format!("{name} ({form})") });
        }
        let both = rule(vec![Signer::new().public(), key("rsa")], &[]);
        assert_eq!(shelf.look(&digest, &both).await.label(), "verified", "{form}: one of several keys is enough");
        let other = shelf.look(&digest, &rule(vec![Signer::new().public()], &[])).await;
        assert_eq!(other.label(), "invalid", "{form}: another key");
        let annotated = shelf.look(&digest, &rule(vec![key("p256")], &[("branch", "next")])).await;
        let SignatureVerdict::Invalid { message } = annotated else { panic!("{annotated:?}") };
        assert!(message.contains("does not have the annotation \"branch\""), "{message}");
    }
}

#[tokio::test]
async fn no_signature_is_missing_and_no_answer_is_unreachable_unless_one_counts_all_the_same() {
    let (signer, digest) = (Signer::new(), Digest::of(b"image"));
    let trusted = rule(vec![signer.public()], &[]);
    assert_eq!(Shelf::default().look(&digest, &trusted).await, SignatureVerdict::Missing);
    let good = signer.payload(simple_payload(&digest, &Value::Null));
    let bad = Signer::new().payload(simple_payload(&digest, &Value::Null));
    for (label, payload, broken, wanted) in [
        ("no referrers, good", Some(&good), "referrers", "verified"),
        ("no referrers, bad", Some(&bad), "referrers", "unreachable"),
        ("no referrers, none", None, "referrers", "unreachable"),
        ("no tag, none", None, digest.stand_in(".sig").as_str(), "unreachable"),
        ("no payload", Some(&good), Digest::of(good.0.to_string().as_bytes()).as_str(), "unreachable"),
    ] {
        let mut shelf = Shelf::default();
        if let Some(payload) = payload {
            shelf = shelf.simple(&digest, std::slice::from_ref(payload));
        }
        shelf.broken.insert(broken.to_owned());
        assert_eq!(shelf.look(&digest, &trusted).await.label(), wanted, "{label}");
    }
    let broken = digest.stand_in(".sig").to_string();
    let shelf =
        Shelf { broken: [broken].into(), ..Shelf::default() }.bundle(&signer.bundle(&statement(&digest, &json!({}))));
    assert_eq!(shelf.look(&digest, &trusted).await.label(), "verified");
}

#[tokio::test]
async fn one_signature_must_have_everything() {
    let (signer, stranger, digest) = (Signer::new(), Signer::new(), Digest::of(b"image"));
    let wanted = rule(vec![signer.public()], &[("env", "prod"), ("team", "a")]);
    let other = Digest::of(b"another image");
    let all = json!({"env": "prod", "team": "a", "more": 1});
    let lists = |one: Value, two: Value| {
        let simple = Shelf::default().simple(&digest, &[signer.payload(one.clone()), stranger.payload(two.clone())]);
        (simple, one, two)
    };
    for (label, own, foreign, verdict) in [
        ("all of it", simple_payload(&digest, &all), simple_payload(&digest, &json!({})), "verified"),
        ("each a part", simple_payload(&digest, &json!({"env": "prod"})), simple_payload(&digest, &all), "invalid"),
        (
            "a number",
            simple_payload(&digest, &json!({"env": 1, "team": "a"})),
            simple_payload(&digest, &all),
            "invalid",
        ),
        ("another digest", simple_payload(&other, &all), simple_payload(&digest, &all), "invalid"),
    ] {
        assert_eq!(lists(own, foreign).0.look(&digest, &wanted).await.label(), verdict, "{label}");
    }
    for (label, own, foreign, verdict) in [
        ("all of it", statement(&digest, &all), statement(&digest, &json!({})), "verified"),
        ("each a part", statement(&digest, &json!({"env": "prod"})), statement(&digest, &all), "invalid"),
        ("another digest", statement(&other, &all), statement(&digest, &all), "invalid"),
    ] {
        let shelf = Shelf::default().bundle(&signer.bundle(&own)).bundle(&stranger.bundle(&foreign));
        assert_eq!(shelf.look(&digest, &wanted).await.label(), verdict, "bundle, {label}");
    }
}

#[tokio::test]
async fn a_signature_of_something_else_says_of_what() {
    let (signer, digest, other) = (Signer::new(), Digest::of(b"image"), Digest::of(b"another"));
    let trusted = rule(vec![signer.public()], &[]);
    let simple = Shelf::default().simple(&digest, &[signer.payload(simple_payload(&other, &Value::Null))]);
    let bundle = Shelf::default().bundle(&signer.bundle(&statement(&other, &json!({}))));
    for shelf in [simple, bundle] {
        let SignatureVerdict::Invalid { message } = shelf.look(&digest, &trusted).await else { panic!() };
        assert!(message.contains(&format!("signs {other}")), "{message}");
    }
}

#[tokio::test]
async fn what_refers_to_an_image_without_signing_it_is_no_signature() {
    let (signer, digest) = (Signer::new(), Digest::of(b"image"));
    let mut attestation = statement(&digest, &json!({}));
    attestation["predicateType"] = "https://slsa.dev/provenance/v1".into();
    let mut shelf = Shelf::default().bundle(&signer.bundle(&attestation));
    let sbom = shelf.put(b"{}");
    shelf.referrers.push(Referrer { digest: sbom.clone(), artifact_type: Some("application/spdx+json".into()) });
    shelf.referrers.push(Referrer { digest: sbom, artifact_type: None });
    let trusted = rule(vec![signer.public()], &[]);
    assert_eq!(shelf.look(&digest, &trusted).await, SignatureVerdict::Missing);
    let (digest, mut shelf) = cosign(false, true);
    let attested = |shelf: &Shelf, referrer: &Referrer| {
        String::from_utf8_lossy(&shelf.documents[referrer.digest.as_str()])
            .contains("cosign.sigstore.dev/attestation/v1")
    };
    let only: Vec<Referrer> = shelf.referrers.iter().filter(|referrer| attested(&shelf, referrer)).cloned().collect();
    assert_eq!(only.len(), 1);
    shelf.referrers = only;
    assert_eq!(shelf.look(&digest, &rule(vec![key("p256")], &[])).await, SignatureVerdict::Missing);
}

#[tokio::test]
async fn a_keyless_signature_is_said_to_be_one() {
    let (signer, digest) = (Signer::new(), Digest::of(b"image"));
    let mut bundle = Signer::new().bundle(&statement(&digest, &json!({})));
    bundle["verificationMaterial"] = json!({"certificate": {"rawBytes": "AA=="}});
    let shelf = Shelf::default().bundle(&bundle);
    let SignatureVerdict::Invalid { message } = shelf.look(&digest, &rule(vec![signer.public()], &[])).await else {
        panic!()
    };
    assert!(message.contains("is keyless, which can't be verified"), "{message}");
}

#[tokio::test]
async fn more_signatures_than_anyone_makes_are_not_all_looked_at() {
    let (signer, stranger, digest) = (Signer::new(), Signer::new(), Digest::of(b"image"));
    let mut many: Vec<(Value, Vec<u8>)> =
        (0..64).map(|_| stranger.payload(simple_payload(&digest, &Value::Null))).collect();
    many.push(signer.payload(simple_payload(&digest, &Value::Null)));
    let verdict = Shelf::default().simple(&digest, &many).look(&digest, &rule(vec![signer.public()], &[])).await;
    assert_eq!(verdict.label(), "invalid");
    many.swap(0, 64);
    let verdict = Shelf::default().simple(&digest, &many).look(&digest, &rule(vec![signer.public()], &[])).await;
    assert_eq!(verdict.label(), "verified");
}

#[tokio::test]
async fn a_change_of_any_byte_that_is_signed_is_found_out() {
    let (digest, shelf) = cosign(true, false);
    let payload = "sha256:6d53d24b962c4e1d54d0b6bdd05583bdba25b121c0321c483943860f80c510bb";
    for at in 0..shelf.documents[payload].len() {
        let mut shelf = shelf.clone();
        shelf.documents.get_mut(payload).unwrap()[at] ^= 1;
        let verdict = shelf.look(&digest, &rule(vec![key("p256")], &[])).await;
        assert_eq!(verdict.label(), "invalid", "byte {at} of the payload");
    }
    let signer = Signer::new();
    let trusted = rule(vec![signer.public()], &[]);
    let whole = signer.bundle(&statement(&digest, &json!({"a": "b"})));
    assert_eq!(Shelf::default().bundle(&whole).look(&digest, &trusted).await.label(), "verified");
    for place in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig", "/dsseEnvelope/payloadType", "/mediaType"]
    {
        let text = whole.pointer(place).unwrap().as_str().unwrap().to_owned();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let mut bundle = whole.clone();
            *bundle.pointer_mut(place).unwrap() = String::from_utf8(bytes).unwrap().into();
            let verdict = Shelf::default().bundle(&bundle).look(&digest, &trusted).await;
            assert_ne!(verdict.label(), "verified", "byte {at} of {place}");
        }
    }
    for signatures in [json!([]), json!([whole["dsseEnvelope"]["signatures"][0], {"sig": "AA=="}])] {
        let mut bundle = whole.clone();
        bundle["dsseEnvelope"]["signatures"] = signatures;
        assert_eq!(Shelf::default().bundle(&bundle).look(&digest, &trusted).await.label(), "invalid");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rubbish_is_never_a_signature_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[ -~]{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let digest = Digest::of(b"image");
        let trusted = rule(vec![key("p256")], &[]);
        let mut shelf = Shelf::default();
        shelf.documents.insert(digest.stand_in(".sig").to_string(), bytes.clone());
        let referrer = shelf.put(&bytes);
        shelf.referrers.push(Referrer { digest: referrer, artifact_type: Some(BUNDLE.into()) });
        let verdict = runtime.block_on(shelf.look(&digest, &trusted));
        prop_assert_ne!(verdict.label(), "verified");
        let bundle = json!({"mediaType": BUNDLE, "dsseEnvelope": {"payload": text, "payloadType": text,
            "signatures": [{"sig": text}]}});
        let verdict = runtime.block_on(Shelf::default().bundle(&bundle).look(&digest, &trusted));
        prop_assert_ne!(verdict.label(), "verified");
    }
}
