//! cosign's first form: a manifest under `sha256-<digest>.sig` whose layers are "simple signing" payloads, each with its
//! signature in an annotation.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::model::{Digest, PublicKey, SignatureRule};

use super::keys::signer;
use super::signature::{Flaw, carries};

const LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";

/// What the payload says that it is (sigstore's `pkg/signature/payload`).
const TYPE: &str = "cosign container image signature";

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A signature, and where the payload is that it signs.
pub(super) struct Signed {
    pub(super) payload: Digest,
    signature: String,
    keyless: bool,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// The signatures of a manifest; the error says what is wrong with it.
pub(super) fn read(manifest: &[u8]) -> Result<Vec<Signed>, String> {
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    let layers = manifest.layers.into_iter().filter(|layer| layer.media_type == LAYER);
    let signed = layers.filter_map(|mut layer| {
        let signature = layer.annotations.remove(SIGNATURE)?;
        Some(Signed { payload: layer.digest, signature, keyless: layer.annotations.contains_key(CERTIFICATE) })
    });
    Ok(signed.collect())
}

impl Signed {
    /// Holds it against the rule; the key that made it.
    pub(super) fn verify<'k>(
        &self,
        payload: &[u8],
        digest: &Digest,
        rule: &'k SignatureRule,
    ) -> Result<&'k PublicKey, Flaw> {
        let signature = STANDARD.decode(self.signature.trim()).map_err(|_| Flaw::Malformed)?;
        let foreign = if self.keyless { Flaw::Keyless } else { Flaw::OtherKey };
        // Nothing in the payload is believed before this.
        let key = signer(&rule.keys, payload, &signature).ok_or(foreign)?;
        let payload: Payload = serde_json::from_slice(payload).map_err(|_| Flaw::Malformed)?;
        if payload.critical.kind != TYPE {
            return Err(Flaw::Malformed);
        }
        if payload.critical.image.digest != digest.as_str() {
            return Err(Flaw::OtherDigest(payload.critical.image.digest));
        }
        carries(&payload.optional.unwrap_or_default(), rule)?;
        Ok(key)
    }
}
