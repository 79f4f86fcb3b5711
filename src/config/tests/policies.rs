//! Gates.

use super::*;

fn cosign_key(name: &str) -> String {
    format!("{}/tests/fixtures/cosign/{name}.pub", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_policy_is_that_of_the_app_over_that_of_the_defaults_key_by_key() {
    let (ci, next) = (cosign_key("p256"), cosign_key("ed25519"));
    let text = format!(
        "\
defaults:
  timezone: Europe/Berlin
  policy: {{soak: 5m, window: 'Mon-Fri 09:00-17:00', verify: {{cosign: [{ci}]}}, scan: {{exec: {{command: 'scan {{reference}}'}}}}}}
apps:
  a: {{image: a, listen: ':81'}}
  b: {{image: b, listen: ':82', policy: {{soak: 0s, window: always, verify: none, scan: none}}}}
  c:
    image: c
    listen: ':83'
    policy:
      approve: true
      window: ['Sat 10:00-12:00 UTC', '22:00-04:00']
      verify: {{cosign: {{keys: [{ci}, {next}], annotations: {{branch: main, build: 7}}, deadline: 1h}}}}
      scan: {{http: {{url: 'https://scan.example.com/x', token: '${{TOKEN}}'}}, timeout: 30s, fresh: 1h}}
"
    );
    let config = parse(&text).unwrap();
    let gates: Vec<&crate::model::Gates> = config.apps.iter().map(|app| &app.gates).collect();
    let zones: Vec<&str> = gates.iter().flat_map(|g| &g.windows).map(|window| window.zone.name()).collect();
    assert_eq!(zones, ["Europe/Berlin", "UTC", "Europe/Berlin"]);
    assert_eq!((gates[0].soak, gates[0].approve), (Duration::from_secs(300), false));
    let signatures = gates[0].signatures.as_ref().unwrap();
    assert_eq!((signatures.keys.len(), signatures.deadline), (1, Duration::from_secs(900)));
    let scan = gates[0].scan.as_ref().unwrap();
    assert_eq!((scan.timeout, scan.fresh), (Duration::from_secs(300), Duration::from_secs(86_400)));
    assert!(!gates[1].any(), "{:?}", gates[1]);
    let signatures = gates[2].signatures.as_ref().unwrap();
    assert_eq!((signatures.keys.len(), signatures.annotations["build"].as_str()), (2, "7"));
    assert!(gates[2].approve && !format!("{config:?}").contains("s3cret"));
}

#[test]
fn what_is_wrong_with_a_policy_is_told_at_once_with_a_way_out() {
    let short = format!("{}/tests/fixtures/openssl/rsa1024.pub", env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "\
apps:
  a: {{image: a, listen: ':81', policy: {{window: 'Mondy 09:00-10:00', soak: soon, verify: {{cosign: [/nowhere.pub, {short}]}}}}}}
  b: {{image: b, listen: ':82', policy: {{window: [], verify: {{cosign: []}}, scan: {{timeout: 5s}}}}}}
  c: {{image: c, listen: ':83', policy: {{verify: always, scan: {{exec: {{command: [scan, '{{image}}'], deny: [0]}}}}}}}}
  d: {{image: d, listen: ':84', policy: {{verify: {{}}, scan: {{http: {{url: 'ftp://x', token: ''}}}}}}}}
  e: {{image: e, listen: ':85', policy: {{scan: {{http: {{url: 'https://u:p@x/'}}, exec: {{command: x}}}}}}}}
  f: {{image: f, listen: ':86', policy: {{scan: {{http: {{url: 'https://u:p@x/'}}}}}}}}
"
    );
    let told = errors(&text);
    for wanted in [
        ":2:41: apps.a.policy.window: \"Mondy\" is no day of the week",
        "apps.a.policy.soak: \"soon\" is no duration",
        "apps.a.policy.verify.cosign.keys[0]: /nowhere.pub can't be read",
        "apps.a.policy.verify.cosign.keys[1]: ",
        "2048 and 8192 bits",
        "apps.b.policy.window: an empty list is never",
        "apps.b.policy.verify.cosign.keys: has no key, and keyless signatures can't be verified",
        "apps.b.policy.scan: a scan is made by `exec` or by `http`",
        "apps.c.policy.verify: \"always\" must be `none`",
        "apps.c.policy.scan.exec.command: {image} is not known; there are {app}, {reference}",
        "apps.c.policy.scan.exec.deny: 0 can't mean no",
        "apps.d.policy.verify: `cosign` is missing",
        "apps.d.policy.scan.http.url: \"ftp://x\" must be an address",
        "apps.d.policy.scan.http.token: must not be empty",
        "apps.e.policy.scan: a scan is made by `exec` or by `http`",
        "apps.f.policy.scan.http.url: must hold no user and no password",
    ] {
        assert!(told.contains(wanted), "{wanted}\n---\n{told}");
    }
    for keyless in ["identity: a@example.com", "issuer: 'https://x'", "keyless: true", "rekor: x"] {
        let told =
            errors(&format!("apps: {{a: {{image: a, listen: ':81', policy: {{verify: {{cosign: {{{keyless}}}}}}}}}}}"));
        assert!(told.contains("keyless signatures can't be verified"), "{keyless}: {told}");
    }
}
