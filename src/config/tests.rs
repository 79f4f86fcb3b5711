//! The room's behaviour from outside.

mod kinds;
mod policies;
mod receivers;
mod replicas;

use proptest::prelude::*;
use secrecy::ExposeSecret;
use std::time::Duration;

use super::*;
use crate::http::webhooks::{Proof, Sender};
use crate::model::{Follow, Schedule, Strategy};

fn env(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "s3cret-value".to_owned())
}

fn parse(text: &str) -> Result<Config, Errors> {
    Config::parse(text, "tagboat.yaml", &env)
}

fn errors(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn three_lines_are_enough() {
    let config = parse("apps:\n  shop: {image: ghcr.io/acme/shop, listen: \":80\"}\n").unwrap();
    let app = &config.apps[0];
    assert_eq!((app.name.as_str(), app.port, app.keep), ("shop", Some(8080), 3));
    assert_eq!(app.follow, Follow::Tag("latest".parse().unwrap()));
    assert_eq!(app.schedule, Schedule::Every(Duration::from_secs(60)));
    assert_eq!(app.timing.bake, Duration::from_secs(10));
    assert_eq!(config.proxy_listeners(), [":80".parse().unwrap()]);
    assert!(config.hooks.is_none());
}

#[test]
fn every_error_is_told_at_once_with_its_line_and_a_hint() {
    let text = "\
apps:
  shop:
    imgae: x
    every: soon
    listen: 80
  Blog: {image: \"a b\", listen: \":81\", port: 99999}
registires: {}
";
    let told = errors(text);
    for wanted in [
        "tagboat.yaml:3:5: apps.shop.imgae: unknown key `imgae`; did you mean `image`?",
        "apps.shop.listen: must be text, not a number",
        "apps.Blog.port: must be from 1 to 65535",
        "tagboat.yaml:7:1: registires: unknown key `registires`; did you mean `registries`?",
    ] {
        assert!(told.contains(wanted), "{wanted}\n---\n{told}");
    }
}

#[test]
fn what_no_schema_can_say_is_told_at_once_too() {
    let text = "\
apps:
  Shop: {image: \"a b\", listen: \":80\", every: soon}
  blog: {image: blog, route: {host: blog.example.com, path: x}}
  none: {image: none}
  a: {image: a, listen: \":81\", labels: {tagboat.app: x}}
  b: {image: b, listen: \":81\"}
  c: {image: c, listen: \":82\", cron: nonsense}
hooks: {receivers: {r: {sender: distribution}, e: {sender: generic, hmac_secret: \"\"}}}
";
    let told = errors(text);
    for wanted in [
        ":2:3: apps.Shop: app name \"Shop\"",
        "apps.Shop.image: image reference \"a b\"",
        "apps.Shop.every: \"soon\" is no duration; write it like `30s`",
        "apps.blog.route.path: must begin with `/`",
        "apps.none: the app is reached by nothing",
        "apps.a.labels.tagboat.app: labels that begin with `tagboat.`",
        "apps.c.cron: cron expression \"nonsense\"",
        "apps.b: :81 every host / is app a's already",
        "hooks.receivers.r: a receiver needs a secret or another proof: `token`",
        "hooks.receivers.e.hmac_secret: must not be empty",
    ] {
        assert!(told.contains(wanted), "{wanted}\n---\n{told}");
    }
}

#[test]
fn what_an_app_follows_is_read_and_its_errors_are_told_where_they_are() {
    let text = "\
apps:
  a: {image: shop, listen: ':81', follow: {semver: ^1.4}}
  b: {image: 'shop:1.2-alpine', listen: ':82', follow: {semver: ^1, precision: 2, allow_downgrade: true}}
  c: {image: shop, listen: ':83', follow: {pattern: '^main-(?P<n>\\d+)$'}}
  d: {image: shop, listen: ':84', follow: {calver: YYYY.0M}}
  e: {image: shop, listen: ':85', follow: {tag: stable}}
  f: {image: 'shop:1.0.0', listen: ':86', follow: {semver: '*'}}
";
    let config = parse(text).unwrap();
    let words: Vec<String> = config.apps.iter().map(|app| app.follow.to_string()).collect();
    let pattern = "pattern ^main-(?P<n>\\d+)$, numeric order";
    assert_eq!(
        words,
        ["semver ^1.4", "semver ^1, suffix -alpine", pattern, "calver YYYY.0M", "tag stable", "semver *"]
    );
    let floors = config.apps.iter().map(|app| match &app.follow {
        Follow::Policy(policy) => policy.floor.as_ref().map(|tag| tag.as_str()),
        _ => None,
    });
    assert_eq!(floors.collect::<Vec<_>>(), [None, Some("1.2-alpine"), None, None, None, Some("1.0.0")]);
    let told = errors(
        "\
apps:
  a: {image: shop, listen: ':81', follow: {}}
  b: {image: shop, listen: ':82', follow: {semver: soon, order: x}}
  c:
    image: shop:latest
    listen: ':83'
    follow: {semver: ^1}
  d: {image: 'shop@sha256:0000000000000000000000000000000000000000000000000000000000000000', listen: ':84', follow: {semver: ^1}}
  e: {image: shop, listen: ':85', follow: {pattern: 'a('}}
",
    );
    for wanted in [
        ":2:35: apps.a.follow: must have one of tag, semver, calver, numeric and pattern; it has none",
        "apps.b.follow.semver: \"soon\" has \"soon\", which is no version",
        "apps.b.follow.order: belongs to `pattern`",
        ":5:5: apps.c.image: its tag latest is no version that `semver` could begin at; leave the tag out",
        "apps.d.follow: `image` names a digest",
        "apps.e.follow.pattern: \"a(\" is no regular expression",
    ] {
        assert!(told.contains(wanted), "{wanted}\n---\n{told}");
    }
    let told = errors(
        "apps: {a: {image: shop, listen: ':80', follow: {semvr: ^1}}, b: {image: x, listen: ':81', follow: {semver: 1.4}}}",
    );
    assert!(told.contains("did you mean `semver`?") && told.contains("must be text, not a number"), "{told}");
}

#[test]
fn jobs_hooks_and_the_watch_are_read_and_their_errors_are_told_where_they_are() {
    let text = "\
defaults: {jobs: {timeout: 2m}, watch: 5m}
apps:
  a:
    image: shop
    listen: ':81'
    jobs: {pre_deploy: 'bin/migrate --to \"the end\"', post_deploy: [bin/warm], failed_deploy: {command: bin/alert, timeout: 5s, entrypoint: []}}
    hooks: {post_start: {http: 'put /warm?x=1'}, pre_stop: {exec: [bin/leave, now], timeout: 3s}}
  b: {image: shop, listen: ':82', watch: 0s}
";
    let config = parse(text).unwrap();
    let (a, b) = (&config.apps[0], &config.apps[1]);
    let jobs: Vec<(Vec<String>, u64)> = crate::model::JobKind::ALL
        .iter()
        .filter_map(|kind| a.jobs.get(*kind))
        .map(|job| (job.command.clone(), job.timeout.as_secs()))
        .collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        jobs,
        [(words(&["bin/migrate", "--to", "the end"]), 120), (words(&["bin/warm"]), 120), (words(&["bin/alert"]), 5)]
    );
    assert_eq!(a.jobs.failed_deploy.as_ref().unwrap().entrypoint, Some(Vec::new()));
    let hooks = &a.hooks;
    let put = crate::model::HookAct::Http { method: "PUT".into(), path: "/warm?x=1".into() };
    assert_eq!(
        (&hooks.post_start.as_ref().unwrap().act, hooks.pre_stop.as_ref().unwrap().timeout.as_secs()),
        (&put, 3)
    );
    assert_eq!((a.watch.as_secs(), b.watch.as_secs()), (300, 0));
    let told = errors(
        "\
apps:
  a: {image: shop, listen: ':81', jobs: {pre_deploy: '', post_deploy: {timeout: 5s}, failed_deploy: 'a \"b'}}
  b: {image: shop, listen: ':82', hooks: {post_start: {exec: a, http: /b}, pre_stop: {http: SHOUT /x}}}
  c: {image: shop, listen: ':83', watch: soon, jobs: {pre_deploy: {command: x, timeout: 0s}}}
",
    );
    for wanted in [
        "apps.a.jobs.pre_deploy: must name a command",
        "apps.a.jobs.post_deploy: `command` is missing",
        "apps.a.jobs.failed_deploy: \"a \\\"b\" has a quote that is not closed",
        "apps.b.hooks.post_start: a hook has `exec` or `http`, one of them",
        "apps.b.hooks.pre_stop.http: \"SHOUT /x\" must be a method and a path",
        "apps.c.watch: \"soon\" is no duration",
        "apps.c.jobs.pre_deploy.timeout: must be longer than nothing",
    ] {
        assert!(told.contains(wanted), "{wanted}\n---\n{told}");
    }
    let told = errors("apps: {a: {image: shop, listen: ':81', jobs: {predeploy: x}, hooks: {pre_stop: {exce: [a]}}}}");
    assert!(told.contains("did you mean `pre_deploy`?") && told.contains("did you mean `exec`?"), "{told}");
}

#[test]
fn latest_in_production_is_warned_about_where_it_stands() {
    let text = "\
apps:
  a: {image: shop, listen: ':81', production: true}
  b: {image: 'shop:1', listen: ':82', production: true}
  c: {image: shop, listen: ':83'}
  d: {image: shop, listen: ':84', production: true, follow: {tag: latest}}
  e: {image: shop, listen: ':85', production: true, follow: {semver: ^1}}
";
    let config = parse(text).unwrap();
    assert!(config.apps[0].production && !config.apps[2].production);
    let told: Vec<String> = config.warnings.iter().map(|warning| warning.told("tagboat.yaml")).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("tagboat.yaml:2:7: apps.a.image: a production app follows `latest`"), "{told:#?}");
    assert!(told[1].starts_with("tagboat.yaml:5:7: apps.d.image:"), "{told:#?}");
}

#[test]
fn secrets_are_taken_and_not_shown() {
    let text = "\
apps: {shop: {image: x, listen: \":80\", env: {PASSWORD: \"${TOKEN}\"}}}
registries: {ghcr.io: {username: bot, password: \"${TOKEN}\"}}
api: {token: \"${TOKEN}\"}
";
    let config = parse(text).unwrap();
    let password = config.registries["ghcr.io"].password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), "s3cret-value");
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    let told = errors("registries: {ghcr.io: {password: \"${TOKEN}\"}, b: {password: [\"${TOKEN}\"]}}");
    assert!(told.contains("registries.b.password") && !told.contains("s3cret"), "{told}");
}

#[test]
fn every_provider_is_read_and_what_is_wrong_with_one_is_told_with_a_way_out() {
    use crate::registry::Provider;
    let text = "\
registries:
  123456789012.dkr.ecr.eu-west-1.amazonaws.com: {provider: ecr, profile: ci}
  public.ecr.aws: {provider: ecr-public}
  europe-docker.pkg.dev: {provider: google, key_file: /run/secrets/google.json}
  acme.azurecr.io: {provider: azure, tenant_id: t, client_id: c, client_secret: \"${TOKEN}\"}
  ghcr.io: {provider: ghcr, token: \"${TOKEN}\"}
  ghcr.io/acme: {username: acme, password_file: /run/secrets/acme}
  registry.digitalocean.com: {provider: digitalocean, token_file: /run/secrets/do}
  registry.example.com:5000: {provider: exec, command: \"helper --flag 'a b'\", timeout: 3s, ca_file: /ca.pem}
";
    let config = parse(text).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    let provider = |name: &str| config.registries[name].provider.clone();
    assert!(matches!(provider("public.ecr.aws"), Some(Provider::EcrPublic(_))));
    assert!(matches!(provider("ghcr.io"), Some(Provider::Token { username: Some(_), .. })));
    assert!(matches!(provider("registry.digitalocean.com"), Some(Provider::Token { username: None, .. })));
    let Some(Provider::Exec(exec)) = provider("registry.example.com:5000") else { panic!("no program") };
    assert_eq!(
        (exec.arguments.as_slice(), exec.patience.unwrap().as_secs()),
        (&["--flag".to_owned(), "a b".to_owned()][..], 3)
    );
    assert!(provider("ghcr.io/acme").is_none() && config.registries["ghcr.io/acme"].username.is_some());

    let text = "\
registries:
  a.io: {provider: aws}
  b.io: {provider: ecr, username: u, password: s3cret, key_file: /x}
  c.io: {region: r, token: s3cret}
  d.io: {provider: ghcr}
  e.io: {provider: exec, timeout: soon}
  f.io: {provider: exec, command: \"x 'y\"}
  g.io: {provider: azure, client_secret: s3cret, client_secret_file: /x, endpoint: nowhere}
  h.io/acme: {provider: ecr, http: true, max_concurrent: 2, mirrors: [\"m:1\"], client_cert_file: /c}
  i.io/acme: {}
  acme/shop: {username: u, password: s3cret}
  j.io: {username: u}
  k.io/: {provider: ecr}
  l.io/Acme: {provider: ecr}
";
    let told = errors(text);
    for wanted in [
        ":2:10: registries.a.io.provider: must be one of ecr, ecr-public, google, azure, ghcr, digitalocean, exec",
        "registries.b.io.key_file: `key_file` belongs to `provider: google`",
        "registries.b.io.username: give `username` or `provider`, not both",
        "registries.c.io.region: `region` belongs to `provider: ecr`",
        "registries.c.io.token: `token` belongs to `provider: ghcr` or `provider: digitalocean`",
        "registries.d.io: `token` or `token_file` is missing, or go without `provider` to use `tagboat login d.io`",
        "registries.e.io: `command` is missing",
        "registries.e.io.timeout: \"soon\" is no duration",
        "registries.f.io.command: ",
        "registries.g.io.client_secret: give `client_secret` or `client_secret_file`, not both",
        "registries.g.io: `tenant_id` is missing",
        "registries.g.io.endpoint: \"nowhere\" is no address",
        "registries.h.io/acme.http: `http` is of the whole registry: move it to registries.\"h.io\"",
        "registries.h.io/acme.max_concurrent",
        "registries.h.io/acme.mirrors: `mirrors` is of the whole registry",
        "registries.h.io/acme.client_cert_file",
        "registries.i.io/acme: says nothing",
        "registries.acme/shop: must be a registry's name",
        "registries.j.io: `password` or `password_file` is missing",
        "registries.k.io/: must be a registry's name",
        "registries.l.io/Acme: must be a registry's name",
    ] {
        assert!(told.contains(wanted), "{wanted}\n---\n{told}");
    }
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn the_defaults_and_the_example_are_valid_and_the_defaults_name_every_setting() {
    parse(DEFAULT).unwrap();
    let example = include_str!("../../config/example.yaml");
    let config = parse(example).unwrap();
    assert_eq!(config.apps.len(), 13);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.hooks.unwrap().receivers.len(), 4);
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema.json");
    let wanted = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("TAGBOAT_UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == wanted, "config/schema.json is stale: run `tagboat config schema > config/schema.json`");
}

#[test]
fn a_command_is_split_as_a_shell_would() {
    let config = parse("apps: {a: {image: a, listen: \":80\", command: \"run 'a b' c\"}}").unwrap();
    assert_eq!(config.apps[0].container.command.as_deref().unwrap(), ["run", "a b", "c"]);
    assert!(errors("apps: {a: {image: a, listen: \":80\", command: \"run 'a\"}}").contains("not closed"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in "[ -~\n]{0,200}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.problems.is_empty());
            prop_assert!(errors.to_string().starts_with("tagboat.yaml"));
        }
    }

    #[test]
    fn a_mutated_example_never_panics(position in any::<prop::sample::Index>(), byte in 0u8..128, cut in any::<bool>()) {
        let mut bytes = include_str!("../../config/example.yaml").as_bytes().to_vec();
        let at = position.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(text) = String::from_utf8(bytes) && let Err(errors) = parse(&text) {
            prop_assert!(!errors.problems.is_empty());
        }
    }
}
