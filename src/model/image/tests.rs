use super::*;

#[test]
fn references_are_normalised_as_docker_does() {
    for (given, wanted) in [
        ("shop", "docker.io/library/shop:latest"),
        ("acme/shop:1", "docker.io/acme/shop:1"),
        ("app:42", "docker.io/library/app:42"),
        ("localhost:5000/shop:v1", "localhost:5000/shop:v1"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
        ("ghcr.io/acme/shop", "ghcr.io/acme/shop:latest"),
    ] {
        assert_eq!(given.parse::<ImageRef>().unwrap().to_string(), wanted, "{given}");
    }
}

proptest::proptest! {
    #[test]
    fn references_are_read_as_oci_distribution_reads_them(
        text in "(([a-z]{1,3}\\.[a-z]{1,3}|localhost|[a-z]{1,4})(:[0-9]{1,4})?/)?[a-z0-9._-]{1,6}(/[a-z0-9._-]{1,5})?(:[A-Za-z0-9._-]{1,5})?",
    ) {
        // In a host's place the other parser takes underscores, which distribution/reference does not.
        let host = text.split_once('/').map_or("", |(first, _)| first);
        proptest::prop_assume!(!(host.contains('_') && host.contains(['.', ':'])));
        let ours = text.parse::<ImageRef>();
        let theirs = oci_distribution::Reference::try_from(text.as_str());
        if let (Ok(ours), Ok(theirs)) = (&ours, &theirs) {
            proptest::prop_assert_eq!(ours.repository.registry(), theirs.registry());
            proptest::prop_assert_eq!(ours.repository.path(), theirs.repository());
        }
        proptest::prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?} {:?}", text, ours, theirs);
    }
}

#[test]
fn a_digest_pins_even_beside_a_tag() {
    let hex = "a".repeat(64);
    let image: ImageRef = format!("shop:v1@sha256:{hex}").parse().unwrap();
    assert_eq!(image.to_string(), format!("docker.io/library/shop@sha256:{hex}"));
}

#[test]
fn rubbish_is_refused_by_name() {
    for given in ["", "Shop", "a b", "shop:", "shop@sha256:12", "sh op:latest"] {
        let error = given.parse::<ImageRef>().unwrap_err().to_string();
        let named = error.contains(&format!("{given:?}")) || error.contains("digest") || error.contains("tag");
        assert!(named, "{error}");
    }
    assert!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>().is_err());
    assert!(".x".parse::<Tag>().is_err());
}
