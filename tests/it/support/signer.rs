//! Signs images as cosign does, with a key made on the spot.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tagboat::model::Digest;

use super::Registry;
use super::image::blob;
use super::registry::client;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// A key pair.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap())
    }

    /// The public key as `cosign.pub` has it.
    pub(crate) fn pem(&self) -> String {
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let spki = STANDARD.encode([head, self.0.public_key().as_ref().to_vec()].concat());
        let (first, second) = spki.split_at(64);
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.0.sign(&SystemRandom::new(), message).unwrap())
    }

    /// "Simple signing" under `sha256-….sig`: signs `claimed`, and is attached to `digest`. `tamper` changes what is
    /// pushed after it was signed.
    pub(crate) async fn simple(
        &self,
        registry: &Registry,
        repository: &str,
        digest: &Digest,
        claimed: &Digest,
        tamper: bool,
    ) {
        let payload = json!({"critical": {"identity": {"docker-reference": format!("{}/{repository}", registry.host())},
            "image": {"docker-manifest-digest": claimed}, "type": "cosign container image signature"},
            "optional": null});
        let signature = self.sign(payload.to_string().as_bytes());
        let mut payload = payload;
        if tamper {
            payload["optional"] = json!({"branch": "main"});
        }
        let bytes = payload.to_string().into_bytes();
        let layer = blob(registry, repository, &bytes).await;
        let config = blob(registry, repository, b"{}").await;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config},
            "layers": [{"mediaType": SIMPLE, "size": bytes.len(), "digest": layer,
                "annotations": {"dev.cosignproject.cosign/signature": signature}}]});
        let tag = format!("{}.sig", digest.as_str().replace(':', "-"));
        put(registry, repository, &tag, MANIFEST, &manifest).await;
    }

    /// A bundle that refers to the image, listed under `sha256-…` as for a registry without the Referrers API.
    pub(crate) async fn bundle(&self, registry: &Registry, repository: &str, digest: &Digest) {
        let (kind, hex) = ("application/vnd.in-toto+json", digest.as_str().trim_start_matches("sha256:"));
        let statement = json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": hex}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {}})
        .to_string();
        let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        let bundle = json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": {"payload": STANDARD.encode(&statement), "payloadType": kind,
                "signatures": [{"sig": self.sign(message.as_bytes())}]}});
        let bytes = bundle.to_string().into_bytes();
        let layer = blob(registry, repository, &bytes).await;
        let config = blob(registry, repository, b"{}").await;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": config},
            "layers": [{"mediaType": BUNDLE, "size": bytes.len(), "digest": layer}],
            "annotations": {"dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1"},
            "subject": {"mediaType": MANIFEST, "size": 1, "digest": digest}});
        let text = manifest.to_string();
        let place = Digest::of(text.as_bytes());
        put(registry, repository, place.as_str(), MANIFEST, &manifest).await;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "size": text.len(), "digest": place, "artifactType": BUNDLE}]});
        put(registry, repository, &digest.as_str().replace(':', "-"), INDEX, &index).await;
    }
}

async fn put(registry: &Registry, repository: &str, reference: &str, kind: &str, document: &Value) {
    let url = format!("http://{}/v2/{repository}/manifests/{reference}", registry.host());
    let put = client().put(url).header("content-type", kind).body(document.to_string()).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
}
