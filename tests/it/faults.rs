//! Registries that hang, fail, lie or are full: the others' checks are on time, and unknown is shown as unknown.

use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::any;
use tokio::net::TcpListener;

use crate::support::{Program, Setup};

/// A registry that answers everything with a status.
async fn answering(status: StatusCode) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = move || async move { (status, [("retry-after", "60")], "no") };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(any(answer))).await });
    port
}

/// A registry that accepts and says nothing.
async fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    port
}

/// A registry whose certificate nobody vouches for.
async fn untrusted() -> u16 {
    let made = rcgen::generate_simple_self_signed(["registry.test".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client breaks the handshake off: that is what is tried here.
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_registry_delays_no_other_and_is_shown_as_unknown() {
    let setup = Setup { every: "1s", ..Setup::new("faults") };
    let mut program = Program::prepared(setup).await;
    let [hangs, fails, full] = [
        silent().await,
        answering(StatusCode::INTERNAL_SERVER_ERROR).await,
        answering(StatusCode::TOO_MANY_REQUESTS).await,
    ];
    // This host by a name that is not loopback, so that it is spoken to by TLS.
    let host = String::from_utf8(std::process::Command::new("hostname").output().unwrap().stdout).unwrap();
    let untrusted = format!("{}:{}", host.trim(), untrusted().await);
    let mut more = String::new();
    let bad = [
        ("hangs", format!("127.0.0.1:{hangs}"), "did not answer in time"),
        ("fails", format!("127.0.0.1:{fails}"), "500"),
        ("full", format!("127.0.0.1:{full}"), "429"),
        ("lies", untrusted, "ca_file"),
    ];
    for (number, (app, registry, _)) in bad.iter().enumerate() {
        more.push_str(&format!(
            "  {app}: {{image: '{registry}/x', route: {{host: {app}{number}.test}}, listen: '127.0.0.1:{}'}}\n",
            program.port
        ));
    }
    program.write_config(&more);
    crate::support::Image::sample("v1").push(&program.registry, "faults", "latest").await;
    program.start();
    program.wait_for_version("v1").await;
    program.settled().await;
    let checks = async || -> u64 {
        let name = format!("tagboat_checks_total{{registry=\"{}\",result=\"unchanged\"}} ", program.registry.host());
        let metrics = program.metrics().await;
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    };
    let before = checks().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let made = checks().await - before;
    assert!((7..=13).contains(&made), "{made} checks in 10 s at one a second");
    for (app, registry, wanted) in bad {
        let status = program
            .wait(Duration::from_secs(30), &format!("{app} is told to be unknown"), || async {
                let status = program.get(&format!("/apps/{app}")).await?;
                (status["hold"]["hold"] == "registry_unknown" && status["last_check"][1] == "unknown").then_some(status)
            })
            .await;
        let message = status["hold"]["message"].as_str().unwrap();
        assert!(message.contains(wanted), "{app}: {message}");
        assert_ne!(status["state"], "up_to_date");
        let counted = format!("tagboat_checks_total{{registry=\"{registry}\",result=\"unknown\"}}");
        assert!(program.metrics().await.contains(&counted), "{counted}");
    }
}
