use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(value: &Value) -> DockerFile {
    DockerFile::parse(value.to_string().as_bytes()).unwrap()
}

/// What would be used of what is written alone.
fn found(file: &Value, repository: &str) -> Option<Result<(String, String, SecretKind), String>> {
    let file = parse(file);
    let hints = file.hints(&repository.parse().unwrap());
    let Hint::Written { key } = hints.iter().find(|hint| matches!(hint, Hint::Written { .. }))? else {
        return None;
    };
    let found = file.written(key, "config.json");
    Some(found.map(|c| (c.username, c.secret.expose_secret().to_owned(), c.kind)))
}

#[test]
fn every_field_of_an_entry_is_understood() {
    use SecretKind::{IdentityToken, Password, RegistryToken};
    for (label, entry, expected) in [
        // "bot:pw"
        ("auth", json!({"auth": "Ym90OnB3"}), Ok(("bot", "pw", Password))),
        // "bot:p:w"
        ("a colon in the password", json!({"auth": "Ym90OnA6dw=="}), Ok(("bot", "p:w", Password))),
        ("without padding", json!({"auth": "Ym90OnA6dw"}), Ok(("bot", "p:w", Password))),
        // "bot:pw\0\0"
        ("NULs", json!({"auth": "Ym90OnB3AAA="}), Ok(("bot", "pw", Password))),
        ("plain", json!({"username": "bot", "password": "pw"}), Ok(("bot", "pw", Password))),
        (
            "both: auth counts",
            json!({"auth": "Ym90OnB3", "username": "x", "password": "y"}),
            Ok(("bot", "pw", Password)),
        ),
        ("identity token", json!({"auth": "Ym90Og==", "identitytoken": "it"}), Ok(("", "it", IdentityToken))),
        ("registry token", json!({"registrytoken": "rt", "identitytoken": "it"}), Ok(("", "rt", RegistryToken))),
        (
            "other fields",
            json!({"auth": "Ym90OnB3", "email": "a@b", "serveraddress": "x", "new": [1]}),
            Ok(("bot", "pw", Password)),
        ),
        ("nulls", json!({"auth": "Ym90OnB3", "identitytoken": null}), Ok(("bot", "pw", Password))),
        ("no base64", json!({"auth": "%s3cret"}), Err("no base64")),
        // "s3cret"
        ("no colon", json!({"auth": "czNjcmV0"}), Err("no `:`")),
        ("no user", json!({"password": "s3cret"}), Err("no username")),
        ("a number", json!({"auth": 5}), Err("no texts")),
    ] {
        let file = json!({"auths": {"a.io": entry, "b.io": {"auth": "Ym90OnB3"}}});
        match (found(&file, "a.io/x").unwrap(), expected) {
            (Ok((user, secret, kind)), Ok(expected)) => {
                assert_eq!((user.as_str(), secret.as_str(), kind), expected, "{label}");
            }
            (Err(problem), Err(words)) => {
                assert!(problem.contains(words) && problem.contains("\"a.io\""), "{label}: {problem}");
                assert!(!problem.contains("s3cret"), "{label}: {problem}");
            }
            other => panic!("{label}: {other:?}"),
        }
        assert!(found(&file, "b.io/x").unwrap().is_ok(), "{label}: the neighbour is not spoilt");
    }
}

#[test]
fn the_longest_name_counts_and_other_spellings_mean_the_same() {
    let all = ["ghcr.io", "ghcr.io/acme", "ghcr.io/acme/shop", "ghcr.io/other"];
    for (label, keys, repository, expected) in [
        ("the whole", &all[..], "ghcr.io/acme/shop", Some("ghcr.io/acme/shop")),
        ("the organisation", &all[..], "ghcr.io/acme/blog", Some("ghcr.io/acme")),
        ("below", &all[..], "ghcr.io/acme/shop/web", Some("ghcr.io/acme/shop")),
        ("another organisation", &all[..], "ghcr.io/other/x", Some("ghcr.io/other")),
        ("no organisation of these", &all[..], "ghcr.io/third/x", Some("ghcr.io")),
        ("no part of a name", &all[1..], "ghcr.io/acmecorp/x", None),
        ("another host", &all[..], "quay.io/acme/shop", None),
        ("a port is another host", &["a.io:5000"], "a.io/x", None),
        ("a port", &["a.io:5000"], "a.io:5000/x", Some("a.io:5000")),
        ("a scheme", &["https://a.io"], "a.io/x", Some("https://a.io")),
        ("an API", &["https://a.io/v2/"], "a.io/x", Some("https://a.io/v2/")),
        ("an API without a scheme", &["a.io/v1/"], "a.io/x", Some("a.io/v1/")),
        ("upper case", &["A.io"], "a.io/x", Some("A.io")),
        ("docker hub", &[HUB], "shop", Some(HUB)),
        ("docker hub by name", &["docker.io"], "acme/shop", Some("docker.io")),
        ("docker hub's index", &["index.docker.io"], "acme/shop", Some("index.docker.io")),
        ("docker hub's API", &["registry-1.docker.io"], "acme/shop", Some("registry-1.docker.io")),
        ("an organisation of docker hub", &[HUB, "docker.io/acme"], "acme/shop", Some("docker.io/acme")),
    ] {
        let auths: serde_json::Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), json!({"username": key, "password": "p"}))).collect();
        let user = found(&json!({"auths": auths}), repository).map(|found| found.unwrap().0);
        assert_eq!(user.as_deref(), expected, "{label}");
    }
}

#[test]
fn helpers_come_before_what_is_written_and_only_where_they_are_named() {
    let helper = |suffix, server: &str| Hint::Helper { suffix, server: server.to_owned() };
    let file = parse(&json!({
        "auths": {
            "a.io": {"auth": "Ym90OnB3"}, "b.io": {}, "b.io/acme": {}, "ghcr.io/acme": {"auth": "Ym90OnB3"},
        },
        "credHelpers": {"https://b.io": "own"},
        "credsStore": "all",
    }));
    for (repository, expected) in [
        ("a.io/x", vec![helper("all", "a.io"), Hint::Written { key: "a.io" }]),
        ("b.io/acme/x", vec![helper("own", "b.io/acme"), helper("own", "https://b.io")]),
        ("ghcr.io/acme/x", vec![Hint::Written { key: "ghcr.io/acme" }, helper("all", "ghcr.io")]),
        ("shop", vec![helper("all", HUB)]),
    ] {
        assert_eq!(file.hints(&repository.parse().unwrap()), expected, "{repository}");
    }
}

#[test]
fn what_is_no_file_of_dockers_is_told_without_its_words() {
    for (text, words) in
        [("{", "line 1"), ("[\"s3cret\"]", "not what docker writes"), (r#"{"credsStore": 5}"#, "not what docker")]
    {
        let problem = DockerFile::parse(text.as_bytes()).unwrap_err();
        assert!(problem.contains(words) && !problem.contains("s3cret"), "{problem}");
    }
    for text in ["", "\n", "{}", r#"{"auths": null, "credHelpers": null, "credsStore": null, "detachKeys": "x"}"#] {
        assert!(DockerFile::parse(text.as_bytes()).unwrap().hints(&"a.io/x".parse().unwrap()).is_empty(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_user_and_password_survive_their_way_through_the_file(user in "[^:\0]{1,20}", password in "[^\0]{0,30}") {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let read = found(&json!({"auths": {"a.io": {"auth": auth}}}), "a.io/x").unwrap().unwrap();
        prop_assert_eq!(read, (user, password, SecretKind::Password));
    }

    #[test]
    fn rubbish_is_read_or_refused(text in "[ -~]{0,120}", key in "[ -~]{0,30}", auth in "[ -~]{0,30}") {
        let _ = DockerFile::parse(text.as_bytes());
        let _ = plain(&key);
        let file = json!({"auths": {&key: {"auth": auth}}, "credHelpers": {&key: "x"}, "credsStore": key});
        let _ = found(&file, "a.io/b/c");
    }

    #[test]
    fn what_is_plain_stays_as_it_is(key in "[ -~]{0,30}") {
        let once = plain(&key);
        // A second look may only take away more of what a person wrote twice.
        prop_assert!(plain(&once).len() <= once.len());
    }

    #[test]
    fn an_entry_is_only_ever_used_below_its_own_name(scope in "[a-z]{1,3}(/[a-z]{1,2}){0,2}", path in "[a-z]{1,2}(/[a-z]{1,2}){0,3}") {
        let key = format!("{scope}.io").replacen('/', ".io/", 1);
        let key = if scope.contains('/') { key.trim_end_matches(".io").to_owned() } else { key };
        let repository = format!("{}.io/{path}", scope.split('/').next().unwrap_or_default());
        let used = found(&json!({"auths": {&key: {"username": "u", "password": "p"}}}), &repository).is_some();
        prop_assert_eq!(used, format!("{repository}/").starts_with(&format!("{key}/")));
    }
}
