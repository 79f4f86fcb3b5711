//! The receivers of webhooks.

use super::*;

const ARN: &str = "arn:aws:sns:eu-west-1:123456789012:t";

#[test]
fn every_sender_has_the_proofs_that_it_can_give() {
    let proofs = [
        (Proof::Token, "token: a-secret".to_owned()),
        (Proof::Hmac, "hmac_secret: a-secret".to_owned()),
        (Proof::Url, "url_secret: a-long-enough-secret".to_owned()),
        (Proof::IdToken, "id_token: {issuer: 'https://i.example', audience: a, email: a@b.example}".to_owned()),
        (Proof::Sns, format!("topic_arn: '{ARN}'")),
    ];
    for sender in Sender::ALL {
        for (proof, line) in &proofs {
            let label = sender.label();
            let text = format!("hooks: {{receivers: {{r: {{sender: {label}, default_host: r.example.com, {line}}}}}}}");
            match parse(&text) {
                Ok(config) => {
                    let receivers = config.hooks.unwrap().receivers;
                    assert!(sender.proofs().contains(proof), "{label}: {line}");
                    assert_eq!((receivers[0].sender, receivers[0].auth.proof()), (sender, *proof));
                }
                Err(errors) => {
                    let told = errors.to_string();
                    assert!(
                        !sender.proofs().contains(proof) && told.contains("can't prove itself by"),
                        "{label}: {told}"
                    );
                }
            }
        }
    }
    let hub = parse("hooks: {receivers: {r: {sender: forgejo, hmac_secret: x}}}").unwrap().hooks.unwrap();
    assert_eq!(hub.receivers[0].sender, Sender::Gitea);
}

#[test]
fn what_is_wrong_with_receivers_is_told_at_once_with_a_way_out() {
    let text = format!(
        "\
hooks:
  receivers:
    none: {{token: x}}
    what: {{sender: dokcerhub, url_secret: 0123456789abcdef}}
    two: {{sender: generic, token: x, hmac_secret: z}}
    short: {{sender: dockerhub, url_secret: short}}
    slash: {{sender: quay, url_secret: 'with/a/slash/and/more'}}
    blank: {{sender: acr, token: '  '}}
    nowhere: {{sender: zot, token: x}}
    header: {{sender: acr, url_secret: 0123456789abcdef, token_header: X-Key}}
    badheader: {{sender: acr, token: x, token_header: 'a b'}}
    anyone: {{sender: generic, id_token: {{issuer: 'https://i.example', audience: a}}}}
    plain: {{sender: generic, id_token: {{issuer: 'http://i.example', audience: [], claims: {{a: '*'}}}}}}
    google: {{sender: google, id_token: {{audience: a, claims: {{a: b}}}}}}
    topics: {{sender: sns, topic_arn: []}}
    topic: {{sender: sns, topic_arn: ['{ARN}', 'arn:aws:s3:::x']}}
    paths: {{sender: acr, token: x, repository: a.b, tag: 'a['}}
    tagonly: {{sender: generic, token: x, tag: $.t}}
    hosts: {{sender: nexus, hmac_secret: x, default_host: nexus, aliases: {{a: 'b c', d: https://e.example}}}}
    typ: {{sender: acr, token: x, tpye: y}}
"
    );
    let told = errors(&text.replace("    typ: {sender: acr, token: x, tpye: y}\n", ""));
    for wanted in [
        ":3:5: hooks.receivers.none: `sender` is missing",
        "hooks.receivers.what.sender: there is no sender \"dokcerhub\"; did you mean `dockerhub`?",
        "hooks.receivers.two: a receiver has one proof, not several: `token` or `hmac_secret` or `id_token` or `url_secret`",
        "hooks.receivers.short.url_secret: is part of an address: at least 16",
        "hooks.receivers.slash.url_secret: is part of an address",
        "hooks.receivers.blank.token: must not be empty",
        "hooks.receivers.nowhere: zot does not say which registry it is; add `default_host`",
        "hooks.receivers.header.token_header: is of no use without `token`",
        "hooks.receivers.badheader.token_header: invalid HTTP header name",
        "hooks.receivers.anyone.id_token: needs `claims` or `email`",
        "hooks.receivers.plain.id_token.issuer: must be the https address",
        "hooks.receivers.plain.id_token.audience: must be what the sender asks for",
        "hooks.receivers.plain.id_token.claims.a: must be the value",
        "hooks.receivers.google.id_token.email: must be the service account",
        "hooks.receivers.topics.topic_arn: must name a topic",
        "hooks.receivers.topic.topic_arn: \"arn:aws:s3:::x\" is no topic's ARN",
        "hooks.receivers.paths.repository: is only for `sender: generic`",
        "hooks.receivers.paths.tag: \"a[\" is no path",
        "hooks.receivers.tagonly.tag: needs `repository`",
        "hooks.receivers.hosts.default_host: \"nexus\" must be a registry as your apps' images name it",
        "hooks.receivers.hosts.aliases.a: \"b c\" must be a registry",
        "hooks.receivers.hosts.aliases.d: \"https://e.example\" must be a registry",
    ] {
        assert!(told.contains(wanted), "{wanted}\n---\n{told}");
    }
    assert!(errors(&text).contains("unknown key `tpye`"));
    assert!(!told.contains("0123456789abcdef"), "{told}");
}
