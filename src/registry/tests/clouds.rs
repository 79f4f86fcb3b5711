//! The clouds' ways to credentials, against services whose answers are written here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::ExposeSecret;
use serde_json::json;

use super::fake::{Asked, Fake, Notes, Reply, reply};
use crate::metrics::Metrics;
use crate::model::{Credentials, SecretKind};
use crate::ports::{Registry, RegistryError};
use crate::registry::{
    AwsSettings, AzureSettings, Client, Config, Environment, ExecSettings, Given, GoogleSettings, Provider,
    RegistryConfig,
};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn environment(variables: &[(&str, String)]) -> Environment {
    let map: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Environment::new(move |name| map.get(name).cloned())
}

fn client(entries: &[(&str, Option<Provider>)], environment: &Environment) -> Client {
    let registries = entries
        .iter()
        .filter_map(|(name, provider)| {
            let provider = Some(provider.clone()?);
            Some(((*name).to_owned(), RegistryConfig { provider, ..RegistryConfig::default() }))
        })
        .collect();
    let config = Config { registries, docker_config: Some("/nowhere".into()), environment: environment.clone() };
    Client::new(config, Metrics::new(), Arc::new(Notes::default()))
}

async fn who(
    registry: &str,
    provider: Option<Provider>,
    environment: &Environment,
) -> Result<Option<Credentials>, RegistryError> {
    client(&[(registry, provider)], environment).pull_auth(&format!("{registry}/shop").parse().unwrap()).await
}

fn line(asked: &Asked) -> &str {
    asked.line.split('?').next().unwrap_or_default()
}

/// Everything of AWS at one address: metadata, container credentials, STS and ECR.
async fn aws() -> Fake {
    Fake::new(|asked| match line(asked) {
        "PUT /latest/api/token" => reply(200, &[], "imds"),
        "GET /latest/meta-data/iam/security-credentials/"
            if asked.header("x-aws-ec2-metadata-token") == Some("imds") =>
        {
            reply(200, &[], "shop-role\n")
        }
        "GET /latest/meta-data/iam/security-credentials/shop-role" => reply(
            200,
            &[],
            json!({"Code": "Success", "AccessKeyId": "AKROLE", "SecretAccessKey": "s3cret", "Token": "session"})
                .to_string(),
        ),
        "GET /task" if asked.header("authorization") == Some("task-token") => reply(
            200,
            &[],
            json!({"AccessKeyId": "AKTASK", "SecretAccessKey": "s3cret", "Token": "session"}).to_string(),
        ),
        "POST /sts" => {
            let form = String::from_utf8_lossy(&asked.body).into_owned();
            assert!(form.contains("WebIdentityToken=jwt-token") && form.contains("RoleArn=arn%3Aaws"), "{form}");
            reply(
                200,
                &[],
                "<A><B><Credentials><AccessKeyId>AKWEB</AccessKeyId><SecretAccessKey>s3cret</SecretAccessKey>\
                 <SessionToken>session</SessionToken></Credentials></B></A>",
            )
        }
        "POST /" => ecr(asked),
        _ => reply(404, &[], ""),
    })
    .await
}

fn ecr(asked: &Asked) -> Reply {
    let token = STANDARD.encode("AWS:ecr-password");
    let ends = chrono::Utc::now().timestamp() as f64 + 43_200.5;
    assert_eq!((asked.header("content-type"), &asked.body[..]), (Some("application/x-amz-json-1.1"), &b"{}"[..]));
    let data = json!({"authorizationToken": token, "expiresAt": ends});
    match asked.header("x-amz-target").unwrap() {
        "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken" => {
            reply(200, &[], json!({"authorizationData": [data]}).to_string())
        }
        "SpencerFrontendService.GetAuthorizationToken" => {
            reply(200, &[], json!({"authorizationData": data}).to_string())
        }
        other => panic!("{other}"),
    }
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn aws_is_asked_as_whoever_the_surroundings_say_we_are() {
    let (fake, dir) = (aws().await, tempfile::tempdir().unwrap());
    let base = format!("http://{}", fake.addr);
    let keys = [("AWS_ACCESS_KEY_ID", "AKENV".to_owned()), ("AWS_SECRET_ACCESS_KEY", "s3cret".to_owned())];
    let profiles = write(
        dir.path(),
        "credentials",
        "[default]\naws_access_key_id=AKDEFAULT\naws_secret_access_key=s3cret\n[ci]\naws_access_key_id=AKCI\naws_secret_access_key=s3cret\naws_session_token=session",
    );
    let of_profiles = [("AWS_SHARED_CREDENTIALS_FILE", profiles.clone())];
    let web = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", write(dir.path(), "jwt", "jwt-token\n")),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web".to_owned()),
        ("AWS_ENDPOINT_URL_STS", format!("{base}/sts")),
    ];
    let task = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{base}/task")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "task-token".to_owned()),
    ];
    let instance = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", base.clone())];
    for (label, variables, profile, id, origin) in [
        ("the environment", [&keys[..], &of_profiles].concat(), None, "AKENV", "the environment"),
        (
            "a web identity",
            [&web[..], &of_profiles].concat(),
            None,
            "AKWEB",
            "the web identity as arn:aws:iam::1:role/web",
        ),
        ("the usual profile", of_profiles.to_vec(), None, "AKDEFAULT", "profile \"default\""),
        ("a profile that is named", [&keys[..], &of_profiles].concat(), Some("ci"), "AKCI", "profile \"ci\""),
        ("a container", [&task[..], &instance].concat(), None, "AKTASK", "the container's role"),
        ("an instance", instance.to_vec(), None, "AKROLE", "the instance's role shop-role"),
    ] {
        for (service, region, made) in [
            ("ecr", "eu-west-1", (|settings| Provider::Ecr(settings)) as fn(AwsSettings) -> Provider),
            ("ecr-public", "us-east-1", |settings| Provider::EcrPublic(settings)),
        ] {
            let settings = AwsSettings {
                profile: profile.map(str::to_owned),
                endpoint: Some(base.clone()),
                ..AwsSettings::default()
            };
            let found = who(ECR, Some(made(settings)), &environment(&variables)).await.unwrap().unwrap();
            assert_eq!((found.username.as_str(), found.secret.expose_secret()), ("AWS", "ecr-password"), "{label}");
            assert!(found.origin.contains(origin) && found.origin.contains(service), "{label}: {}", found.origin);
            let asked = fake.asked();
            let signed = asked.last().unwrap().header("authorization").unwrap().to_owned();
            let scope = format!("Credential={id}/");
            assert!(signed.contains(&scope) && signed.contains(&format!("/{region}/{service}/")), "{label}: {signed}");
            let has_session = asked.last().unwrap().header("x-amz-security-token") == Some("session");
            assert_eq!(has_session, !matches!(id, "AKENV" | "AKDEFAULT"), "{label}");
        }
    }
}

#[tokio::test]
async fn what_aws_lacks_or_refuses_is_told_with_its_place_and_without_secrets() {
    let refusing = Fake::new(|asked| match line(asked) {
        "POST /" => {
            reply(400, &[], r#"{"__type":"UnrecognizedClientException","message":"The security token is invalid."}"#)
        }
        _ => reply(404, &[], ""),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let base = format!("http://{}", refusing.addr);
    let sso = write(dir.path(), "config", "[profile ci]\nsso_session = corp\n");
    let keys = [("AWS_ACCESS_KEY_ID", "AKENV".to_owned()), ("AWS_SECRET_ACCESS_KEY", "s3cret".to_owned())];
    let settings = AwsSettings { endpoint: Some(base.clone()), ..AwsSettings::default() };
    for (label, variables, settings, words) in [
        ("refused", keys.to_vec(), settings.clone(), &["the environment", "400", "security token is invalid"][..]),
        ("half a key", keys[1..].to_vec(), settings.clone(), &["AWS_ACCESS_KEY_ID is not"]),
        (
            "single sign-on",
            vec![("AWS_CONFIG_FILE", sso), ("AWS_PROFILE", "ci".to_owned())],
            settings.clone(),
            &["sso_session", "provider: exec"],
        ),
        (
            "no such profile",
            vec![("HOME", "/nowhere".to_owned()), ("AWS_PROFILE", "x".to_owned())],
            settings.clone(),
            &["/nowhere/.aws/credentials"],
        ),
        (
            "disabled",
            vec![("AWS_EC2_METADATA_DISABLED", "true".to_owned())],
            settings.clone(),
            &["AWS_EC2_METADATA_DISABLED"],
        ),
        (
            "no metadata",
            vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", base.clone())],
            settings.clone(),
            &["no keys in the environment", "answered 404"],
        ),
        (
            "a container's service elsewhere",
            vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/".to_owned())],
            settings.clone(),
            &["not https"],
        ),
        (
            "an endpoint without TLS",
            keys.to_vec(),
            AwsSettings { endpoint: Some("http://api.example/".to_owned()), ..settings.clone() },
            &["not https"],
        ),
    ] {
        let error = who(ECR, Some(Provider::Ecr(settings)), &environment(&variables)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        for words in ["provider ecr", ECR].iter().chain(words) {
            assert!(text.contains(words), "{label}: {words}: {text}");
        }
        assert!(!text.contains("s3cret"), "{label}: {text}");
    }
}

#[tokio::test]
async fn a_registrys_name_brings_its_cloud_when_nobody_else_knows_it() {
    let fake = aws().await;
    let base = format!("http://{}", fake.addr);
    let with_keys = environment(&[
        ("AWS_ACCESS_KEY_ID", "AKENV".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s3cret".to_owned()),
        ("AWS_ENDPOINT_URL_ECR", base.clone()),
    ]);
    let found = who(ECR, None, &with_keys).await.unwrap().unwrap();
    assert_eq!(found.secret.expose_secret(), "ecr-password");
    // Without an identity we go as nobody, as if nothing had been tried.
    let nowhere = environment(&[("AWS_EC2_METADATA_DISABLED", "true".to_owned())]);
    assert!(who(ECR, None, &nowhere).await.unwrap().is_none());

    let dir = tempfile::tempdir().unwrap();
    let path =
        write(dir.path(), "config.json", &json!({"auths": {ECR: {"username": "u", "password": "p"}}}).to_string());
    let config = Config { docker_config: Some(path.into()), environment: with_keys, ..Config::default() };
    let client = Client::new(config, Metrics::new(), Arc::new(Notes::default()));
    let found = client.pull_auth(&format!("{ECR}/shop").parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(found.username, "u", "what is written down counts first");
}

#[tokio::test]
async fn many_pulls_make_one_question_to_the_cloud() {
    let fake = aws().await;
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", fake.addr))];
    let settings = AwsSettings { endpoint: Some(format!("http://{}", fake.addr)), ..AwsSettings::default() };
    let client = client(&[(ECR, Some(Provider::Ecr(settings)))], &environment(&variables));
    for path in ["a", "b", "a"] {
        client.pull_auth(&format!("{ECR}/{path}").parse().unwrap()).await.unwrap().unwrap();
    }
    assert_eq!(fake.lines().len(), 4, "three of the metadata, one of ECR");
}

const KEY: &str = include_str!("service-account.pem");

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
                super::fake::found(asked, &super::fake::digest("one"))
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

#[tokio::test]
async fn tokens_programs_and_organisations_each_have_their_way() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let program = write(
        dir.path(),
        "program",
        "#!/bin/sh\nread s; echo \"{\\\"Username\\\":\\\"$1\\\",\\\"Secret\\\":\\\"$2 $s\\\",\\\"ExpiresIn\\\":60}\"\n",
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let token = |username: Option<&str>, token: &str| {
        let token = Given::Here(token.to_owned().into());
        Some(Provider::Token { username: username.map(str::to_owned), token })
    };
    let exec = ExecSettings { program: program.into(), arguments: vec!["first".to_owned()], patience: None };
    let entries = [
        ("ghcr.io", token(Some("tagboat"), "ghp")),
        ("ghcr.io/acme", token(Some("acme-bot"), "ghp2")),
        ("registry.digitalocean.com", token(None, "dop")),
        ("a.io", Some(Provider::Exec(exec))),
        ("docker.io/acme", token(Some("hub"), "dckr")),
    ];
    let client = client(&entries, &environment(&[]));
    for (repository, expected) in [
        ("ghcr.io/other/shop", Some(("tagboat", "ghp"))),
        ("ghcr.io/acme/shop", Some(("acme-bot", "ghp2"))),
        ("ghcr.io/acmecorp/shop", Some(("tagboat", "ghp"))),
        ("registry.digitalocean.com/acme/shop", Some(("dop", "dop"))),
        ("a.io/shop", Some(("first", "get a.io"))),
        ("acme/shop", Some(("hub", "dckr"))),
        ("shop", None),
    ] {
        let found = loop {
            // Another test's fork may still hold the script open for writing.
            match client.pull_auth(&repository.parse().unwrap()).await {
                Err(error) if error.message.contains("busy") => tokio::task::yield_now().await,
                found => break found.unwrap(),
            }
        };
        let found = found.as_ref().map(|found| (found.username.as_str(), found.secret.expose_secret()));
        assert_eq!(found, expected, "{repository}");
    }
}
