//! The clouds' ways to credentials, against services whose answers are written here.

mod azure;
mod google;

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
