//! Azure's registries.

use super::*;

fn jwt(life: i64) -> String {
    let claims = json!({"exp": chrono::Utc::now().timestamp() + life}).to_string();
    format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
}

/// Azure's authority, its metadata, and a registry with its exchange and its token service.
async fn azure() -> Fake {
    let own: Arc<Mutex<Option<std::net::SocketAddr>>> = Arc::default();
    let addr = own.clone();
    let fake = Fake::new(move |asked| {
        let form = String::from_utf8_lossy(&asked.body).into_owned();
        let has = |words: &[&str]| words.iter().all(|words| form.contains(words) || asked.line.contains(words));
        let entra = || reply(200, &[], r#"{"access_token":"entra","expires_in":"3599"}"#);
        match line(asked) {
            "POST /tenant/oauth2/v2.0/token" if has(&["client_secret=s3cret", "client_id=principal"]) => entra(),
            "POST /tenant/oauth2/v2.0/token" if has(&["client_assertion=federated", "jwt-bearer"]) => entra(),
            "GET /metadata/identity/oauth2/token" if asked.header("metadata") == Some("true") => entra(),
            "GET /msi" if asked.header("x-identity-header") == Some("header") => entra(),
            "POST /oauth2/exchange" if has(&["grant_type=access_token", "access_token=entra"]) => {
                reply(200, &[], json!({"refresh_token": jwt(10_800)}).to_string())
            }
            "POST /oauth2/token" if has(&["grant_type=refresh_token", "refresh_token=e30."]) => {
                reply(200, &[], r#"{"access_token":"acr"}"#)
            }
            "HEAD /v2/shop/manifests/1" if asked.header("authorization") == Some("Bearer acr") => {
                crate::registry::tests::fake::found(asked, &crate::registry::tests::fake::digest("one"))
            }
            "HEAD /v2/shop/manifests/1" => {
                let own = addr.lock().unwrap().unwrap();
                let challenge = format!(r#"Bearer realm="http://{own}/oauth2/token",service="{own}""#);
                reply(401, &[("www-authenticate", &challenge)], "")
            }
            _ => reply(401, &[], r#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#),
        }
    })
    .await;
    *own.lock().unwrap() = Some(fake.addr);
    fake
}

#[tokio::test]
async fn azure_is_asked_as_principal_or_managed_identity_and_its_token_is_exchanged_twice() {
    let (fake, dir) = (azure().await, tempfile::tempdir().unwrap());
    let (base, registry) = (format!("http://{}", fake.addr), fake.addr.to_string());
    let principal = AzureSettings {
        tenant_id: Some("tenant".to_owned()),
        client_id: Some("principal".to_owned()),
        client_secret: Some(Given::Here("s3cret".to_owned().into())),
        endpoint: Some(base.clone()),
    };
    let variables = [
        ("AZURE_TENANT_ID", "tenant".to_owned()),
        ("AZURE_CLIENT_ID", "principal".to_owned()),
        ("AZURE_AUTHORITY_HOST", format!("{base}/")),
    ];
    let secret = [("AZURE_CLIENT_SECRET", "s3cret".to_owned())];
    let federated = [("AZURE_FEDERATED_TOKEN_FILE", write(dir.path(), "token", "federated"))];
    let instance = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", base.clone())];
    let app = [("IDENTITY_ENDPOINT", format!("{base}/msi")), ("IDENTITY_HEADER", "header".to_owned())];
    for (label, variables, settings, origin) in [
        ("a principal in the configuration", vec![], principal, "service principal principal"),
        (
            "a principal in the environment",
            [&variables[..], &secret].concat(),
            AzureSettings::default(),
            "service principal principal",
        ),
        (
            "a workload's identity",
            [&variables[..], &federated].concat(),
            AzureSettings::default(),
            "service principal principal",
        ),
        ("the managed identity", instance.to_vec(), AzureSettings::default(), "the managed identity"),
        (
            "a managed identity by name",
            instance.to_vec(),
            AzureSettings { client_id: Some("own".to_owned()), ..AzureSettings::default() },
            "managed identity own",
        ),
        ("an app service's", app.to_vec(), AzureSettings::default(), "the managed identity"),
    ] {
        let client = client(&[(registry.as_str(), Some(Provider::Azure(settings)))], &environment(&variables));
        let repository = fake.repository("shop");
        let found = client.pull_auth(&repository).await.unwrap().unwrap();
        assert_eq!(found.kind, SecretKind::IdentityToken, "{label}");
        assert!(found.origin.contains(origin), "{label}: {}", found.origin);
        client.resolve(&repository, &"1".parse().unwrap(), None).await.unwrap();
        let exchanges = fake.lines().iter().filter(|line| line.contains("exchange")).count();
        assert_eq!(exchanges, 1, "{label}: kept for pull and poll");
    }
}

#[tokio::test]
async fn what_azure_refuses_is_told_in_its_words() {
    let fake = azure().await;
    let settings = AzureSettings {
        tenant_id: Some("tenant".to_owned()),
        client_id: Some("principal".to_owned()),
        client_secret: Some(Given::Here("wr0ng".to_owned().into())),
        endpoint: Some(format!("http://{}", fake.addr)),
    };
    let registry = fake.addr.to_string();
    let error = who(&registry, Some(Provider::Azure(settings.clone())), &environment(&[])).await.unwrap_err();
    for words in ["provider azure", "service principal principal", "401", "AADSTS7000215"] {
        assert!(error.message.contains(words), "{words}: {error}");
    }
    assert!(!format!("{error:?}").contains("wr0ng"));
    let settings = AzureSettings { tenant_id: None, ..settings };
    let error = who(&registry, Some(Provider::Azure(settings)), &environment(&[])).await.unwrap_err();
    assert!(error.message.contains("tenant_id"), "{error}");
}
