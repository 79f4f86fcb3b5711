//! Keys and the signatures they make: ECDSA on P-256 and P-384, Ed25519, RSA with PKCS #1 v1.5 and PSS.

use ed25519_dalek::{Signature, VerifyingKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use sha2::{Digest as _, Sha512};
use webpki::{Error, RawPublicKeyEntity, ring};

use crate::model::PublicKey;

/// Every algorithm that a key may be used with. cosign uses SHA-256 for all of them, newer versions a larger hash with a
/// larger key.
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 11] = [
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA512,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    ring::ECDSA_P256_SHA384,
];

/// The `SubjectPublicKeyInfo` of RSA keys of 2048 and 8192 bits has 294 and 1062 bytes; anything larger than the curves'
/// and smaller than that is an RSA key that is too short.
const RSA: std::ops::RangeInclusive<usize> = 290..=1100;

/// An Ed25519 key is its 32 bytes behind these (RFC 8410, 4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A P-384 key has 120 bytes.
const LARGEST_CURVE: usize = 128;

/// Reads the public keys of a PEM text; `name` is where it is from.
///
/// # Errors
/// A sentence that says what is there instead of a key that can be used, and what would be right.
pub fn read_keys(name: &str, pem: &[u8]) -> Result<Vec<PublicKey>, String> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("PRIVATE KEY-----") {
        return Err(format!(
            "{name} holds a private key, which belongs to whoever signs; give its public key, cosign.pub"
        ));
    }
    if text.contains("BEGIN CERTIFICATE-----") {
        let words = "holds a certificate: keyless signatures can't be verified; give the public key of a key pair";
        return Err(format!("{name} {words}"));
    }
    let found: Result<Vec<SubjectPublicKeyInfoDer<'_>>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{name} is no PEM ({error:?})"))?;
    if found.is_empty() {
        return Err(format!("{name} holds no `-----BEGIN PUBLIC KEY-----`; `cosign public-key` prints one"));
    }
    let key = |spki: SubjectPublicKeyInfoDer<'_>| {
        let key = PublicKey { name: name.to_owned(), spki: spki.as_ref().to_vec() };
        usable(&key).map(|()| key)
    };
    found.into_iter().map(key).collect()
}

/// Whether there is an algorithm for a key.
fn usable(key: &PublicKey) -> Result<(), String> {
    let spki = SubjectPublicKeyInfoDer::from(key.spki.as_slice());
    let name = &key.name;
    let entity = RawPublicKeyEntity::try_from(&spki).map_err(|_| format!("{name} holds a key that makes no sense"))?;
    // No signature is as good as a wrong one, and tells whether the key is at least of the right kind.
    let fits = |algorithm: &&dyn SignatureVerificationAlgorithm| {
        matches!(entity.verify_signature(*algorithm, b"", b""), Err(Error::InvalidSignatureForPublicKey))
    };
    if !ALGORITHMS.iter().any(fits) {
        return Err(format!("{name} holds a key that is neither ECDSA P-256 or P-384, nor Ed25519, nor RSA"));
    }
    if key.spki.len() > LARGEST_CURVE && !RSA.contains(&key.spki.len()) {
        return Err(format!("{name} holds an RSA key that has not between 2048 and 8192 bits"));
    }
    Ok(())
}

/// Whether a key has signed a message.
pub(super) fn has_signed(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let spki = SubjectPublicKeyInfoDer::from(key.spki.as_slice());
    let Ok(entity) = RawPublicKeyEntity::try_from(&spki) else { return false };
    ALGORITHMS.iter().any(|algorithm| entity.verify_signature(*algorithm, message, signature).is_ok())
        || has_signed_prehashed(key, message, signature)
}

/// Ed25519ph (RFC 8032, 5.1): cosign 3 signs "simple signing" payloads so, because a transparency log that knows only
/// the hash can check that; cosign 2 signs them as they are.
fn has_signed_prehashed(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let verified = || {
        let point: [u8; 32] = key.spki.strip_prefix(&ED25519)?.try_into().ok()?;
        let key = VerifyingKey::from_bytes(&point).ok()?;
        let signature = Signature::from_slice(signature).ok()?;
        key.verify_prehashed_strict(Sha512::new_with_prefix(message), None, &signature).ok()
    };
    verified().is_some()
}

/// The first of the keys that has signed a message.
pub(super) fn signer<'k>(keys: &'k [PublicKey], message: &[u8], signature: &[u8]) -> Option<&'k PublicKey> {
    keys.iter().find(|key| has_signed(key, message, signature))
}
