//! Google's registries.

use super::*;

const KEY: &str = include_str!("../service-account.pem");

/// Whether an assertion is signed by the key, and its claims.
fn claims(form: &str) -> serde_json::Value {
    let pairs: HashMap<_, _> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    assert_eq!(pairs["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let (signed, signature) = pairs["assertion"].rsplit_once('.').unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (key, file) = (write(dir.path(), "key.pem", KEY), write(dir.path(), "signature", ""));
    std::fs::write(&file, URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let text = write(dir.path(), "signed", signed);
    let args = ["dgst", "-sha256", "-prverify", &key, "-signature", &file, &text];
    let verified = std::process::Command::new("openssl").args(args).output().expect("this test needs openssl");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn google() -> Fake {
    Fake::new(|asked| match line(asked) {
        "POST /token" => reply(200, &[], r#"{"access_token":"ya29","expires_in":3599,"token_type":"Bearer"}"#),
        "GET /computeMetadata/v1/instance/service-accounts/default/token"
            if asked.header("metadata-flavor") == Some("Google") =>
        {
            reply(200, &[], r#"{"access_token":"ya29","expires_in":1000}"#)
        }
        _ => reply(404, &[], ""),
    })
    .await
}

#[tokio::test]
async fn google_is_asked_with_a_signed_assertion_a_users_login_or_the_metadata() {
    let (fake, dir) = (google().await, tempfile::tempdir().unwrap());
    let service = format!("http://{}/token", fake.addr);
    let account = json!({"type": "service_account", "client_email": "bot@acme.iam", "private_key": KEY, "private_key_id": "k1", "token_uri": service});
    let account = write(dir.path(), "account.json", &account.to_string());
    let login =
        json!({"type": "authorized_user", "client_id": "id", "client_secret": "s3cret", "refresh_token": "s3cret2"});
    let login = write(dir.path(), "login.json", &login.to_string());
    let with = |file: &str| GoogleSettings { key_file: Some(file.into()), endpoint: None };
    let at = |endpoint: &str| GoogleSettings { key_file: None, endpoint: Some(endpoint.to_owned()) };
    for (label, variables, settings, origin) in [
        ("the key in the configuration", vec![], with(&account), "service account bot@acme.iam"),
        (
            "the key in the environment",
            vec![("GOOGLE_APPLICATION_CREDENTIALS", account.clone())],
            at(&service),
            "service account bot@acme.iam",
        ),
        ("a user's login", vec![("GOOGLE_APPLICATION_CREDENTIALS", login)], at(&service), "a user's login"),
        (
            "the metadata",
            vec![("GCE_METADATA_HOST", fake.addr.to_string())],
            GoogleSettings::default(),
            "the instance's service account",
        ),
    ] {
        let found = who("europe-docker.pkg.dev", Some(Provider::Google(settings)), &environment(&variables)).await;
        let found = found.unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.secret.expose_secret()), ("oauth2accesstoken", "ya29"), "{label}");
        assert!(found.origin.contains(origin), "{label}: {}", found.origin);
        let asked = fake.asked();
        let form = String::from_utf8_lossy(&asked.last().unwrap().body).into_owned();
        if origin.contains("bot") {
            let claims = claims(&form);
            assert_eq!(
                (claims["iss"].as_str(), claims["aud"].as_str()),
                (Some("bot@acme.iam"), Some(service.as_str()))
            );
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
        } else if origin.contains("user") {
            assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=s3cret2"), "{form}");
        }
    }
}

#[tokio::test]
async fn a_key_of_googles_that_is_none_is_told_and_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    for (label, text, words) in [
        ("no JSON", "s3cret".to_owned(), "is no key of a service account"),
        ("another kind", json!({"type": "external_account", "x": "s3cret"}).to_string(), "neither a service account's key"),
        ("no PEM", json!({"type": "service_account", "client_email": "a", "private_key": "s3cret"}).to_string(), "no usable private key"),
        ("an address without TLS", json!({"type": "service_account", "client_email": "a", "private_key": KEY, "token_uri": "http://evil.example/"}).to_string(), "not https"),
        ("empty", String::new(), "is empty"),
    ] {
        let settings = GoogleSettings { key_file: Some(write(dir.path(), "key.json", &text).into()), endpoint: None };
        let error = who("gcr.io", Some(Provider::Google(settings)), &environment(&[])).await.unwrap_err();
        assert!(error.message.contains(words) && !format!("{error:?}").contains("s3cret"), "{label}: {error}");
    }
}
