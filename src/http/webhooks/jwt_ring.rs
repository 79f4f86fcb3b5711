//! The cryptography that `jsonwebtoken` leaves to others, by ring: verifying with public keys, and nothing else.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::signature::{
    self as algorithms, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use signature::{Error as Invalid, Verifier};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring what `jsonwebtoken` verifies with; may be called any number of times.
pub(super) fn install() {
    // A second time is refused, and the first is still in force.
    let _ = PROVIDER.install_default();
}

/// Signatures that identity providers make. Those with a shared key (HS256) are not among them: anyone who has the
/// public key could make one, if that were taken for the shared key.
pub(super) const ACCEPTED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let rsa = |method: &'static RsaParameters| (AlgorithmFamily::Rsa, Method::Rsa(method));
    let (family, method) = match algorithm {
        Algorithm::RS256 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => rsa(&algorithms::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => rsa(&algorithms::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => rsa(&algorithms::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => (AlgorithmFamily::Ec, Method::Bytes(&algorithms::ECDSA_P256_SHA256_FIXED)),
        Algorithm::ES384 => (AlgorithmFamily::Ec, Method::Bytes(&algorithms::ECDSA_P384_SHA384_FIXED)),
        Algorithm::EdDSA => (AlgorithmFamily::Ed, Method::Bytes(&algorithms::ED25519)),
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    if key.family() != family {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(ByRing { algorithm: *algorithm, method, key: key.clone() }))
}

enum Method {
    Rsa(&'static RsaParameters),
    Bytes(&'static dyn VerificationAlgorithm),
}

struct ByRing {
    algorithm: Algorithm,
    method: Method,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Invalid> {
        let verified = match (&self.method, self.key.kind()) {
            (Method::Rsa(method), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(method, message, signature)
            }
            (Method::Bytes(method), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(*method, key).verify(message, signature)
            }
            _ => return Err(Invalid::new()),
        };
        verified.map_err(|_| Invalid::new())
    }
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
