//! Keys in every form.

use super::*;

#[test]
fn what_openssl_signs_with_rsa_is_verified_with_either_padding() {
    let (message, key) = (fixture("openssl/message"), key("rsa"));
    for name in ["pkcs1-sha256", "pkcs1-sha384", "pkcs1-sha512", "pss-sha256", "pss-sha384", "pss-sha512"] {
        let signature = STANDARD.decode(fixture(&format!("openssl/{name}"))).unwrap();
        assert!(has_signed(&key, &message, &signature), "{name}");
        assert!(!has_signed(&key, b"another", &signature), "{name}");
    }
}

#[test]
fn an_ed25519_key_made_here_is_taken() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let head = hex::decode("302a300506032b6570032100").unwrap();
    let spki = [head, pair.public_key().as_ref().to_vec()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki));
    let key = read_keys("ed", pem.as_bytes()).unwrap().remove(0);
    assert!(has_signed(&key, b"x", pair.sign(b"x").as_ref()) && !has_signed(&key, b"y", pair.sign(b"x").as_ref()));
}

#[test]
fn what_is_no_key_is_told_with_what_would_be() {
    let p256 = String::from_utf8(fixture("cosign/p256.pub")).unwrap();
    assert_eq!(read_keys("two", format!("{p256}{p256}").as_bytes()).unwrap().len(), 2, "several in one file");
    let garbled = p256.replace("MFkw", "MFkx");
    for (label, pem, wanted) in [
        ("nothing", String::new(), "holds no `-----BEGIN PUBLIC KEY-----`"),
        ("rubbish", "hello".into(), "holds no `-----BEGIN PUBLIC KEY-----`"),
        ("private", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA==\n".into(), "give its public key"),
        ("certificate", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".into(), "keyless"),
        ("no DER", garbled, "a key that makes no sense"),
        ("short RSA", String::from_utf8(fixture("openssl/rsa1024.pub")).unwrap(), "2048 and 8192 bits"),
        ("P-521", String::from_utf8(fixture("openssl/p521.pub")).unwrap(), "neither ECDSA P-256 or P-384"),
        ("cut", p256.replace("-----END", "--END"), "is no PEM"),
    ] {
        let told = read_keys("ci.pub", pem.as_bytes()).unwrap_err();
        assert!(told.contains(wanted) && told.starts_with("ci.pub "), "{label}: {told}");
    }
}
