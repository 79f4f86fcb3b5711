//! One table: every body in `tests/fixtures/payloads`, and what it means.

use std::collections::BTreeSet;

use super::*;
use crate::model::Tag;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/payloads");

fn body(name: &str) -> Vec<u8> {
    std::fs::read(format!("{DIR}/{name}.json")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a row wants.
enum Means {
    /// These images, and this id.
    Pushed(&'static [&'static str], Option<&'static str>),
    /// No image, but what may be signatures.
    Beside(&'static [&'static str]),
    Nothing(&'static str),
    Misread(&'static str),
}

use Means::{Beside, Misread as Strange, Nothing, Pushed};

struct Row(&'static str, HookReceiver, &'static [(&'static str, &'static str)], Means);

const GITHUB: &[(&str, &str)] = &[("x-github-event", "package"), ("x-github-delivery", "d-1")];
const GITEA: &[(&str, &str)] =
    &[("x-gitea-event", "package"), ("x-github-event", "package"), ("x-gitea-delivery", "d-2")];
const ZOT: &[(&str, &str)] =
    &[("ce-type", "zotregistry.image.updated"), ("ce-id", "c-1"), ("ce-source", "zotregistry.dev")];
const NEXUS: &[(&str, &str)] = &[("x-nexus-webhook-delivery", "d-3")];

fn first_rows() -> Vec<Row> {
    use Sender::*;
    let no_tag = "no tag, or holds a signature";
    vec![
        Row("distribution_events_push", receiver(Distribution), &[], Beside(&["registrycluster.local/library/test:*"])),
        Row("distribution_events_pull_tagged", receiver(Distribution), &[], Nothing("no event pushes anything")),
        Row(
            "distribution_push_tagged",
            receiver(Distribution),
            &[],
            Pushed(
                &["registry.example.com/acme/shop:v1"],
                Some("7d4b6c0e-0a6f-4b2c-9a55-000000000001,7d4b6c0e-0a6f-4b2c-9a55-000000000002"),
            ),
        ),
        Row(
            "distribution_push_signature",
            receiver(GitLab),
            &[],
            Beside(&[
                "registry.example.com/acme/shop:sha256-cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.sig",
            ]),
        ),
        Row(
            "distribution_3_1_2_push",
            receiver(Distribution),
            &[("content-type", "application/vnd.docker.distribution.events.v2+json")],
            Pushed(&["registry.example.com/acme/shop:v1"], Some("01a1ff56-b6b7-7213-890e-fc63aedeeadf")),
        ),
        Row("dockerhub_push", receiver(DockerHub), &[], Pushed(&["docker.io/svendowideit/testhook:latest"], None)),
        Row("dockerhub_push_floats", receiver(DockerHub), &[], Pushed(&["docker.io/acme/shop:v1"], None)),
        Row("github_package_published", receiver(GitHub), GITHUB, Beside(&["ghcr.io/codertocat/hello-world:*"])),
        Row("github_registry_package_published", receiver(GitHub), &[], Beside(&["ghcr.io/codertocat/hello-world:*"])),
        Row("github_package_tagged", receiver(GitHub), GITHUB, Pushed(&["ghcr.io/acme/shop:v1"], Some("d-1"))),
        Row("github_package_npm", receiver(GitHub), GITHUB, Nothing("not a container image")),
        Row("github_ping", receiver(GitHub), &[("x-github-event", "ping")], Nothing("not about packages")),
        Row("gitea_package_created", receiver(Gitea), GITEA, Nothing(no_tag)),
        Row(
            "gitea_package_tagged",
            receiver(Gitea),
            GITEA,
            Pushed(&["git.example.com:3000/acme/shop:v1-rc"], Some("d-2")),
        ),
        Row("gitea_package_child", receiver(Gitea), GITEA, Beside(&["git.example.com/acme/shop:*"])),
        Row("harbor_push_artifact_default", receiver(Harbor), &[], Beside(&["localhost/harbor/alpine:*"])),
        Row("harbor_push_artifact_cloudevents", receiver(Harbor), &[], Beside(&["localhost/harbor/alpine:*"])),
        Row(
            "harbor_push_artifact_tagged",
            receiver(Harbor),
            &[],
            Pushed(&["harbor.example.com:8443/acme/shop:v1"], None),
        ),
        Row(
            "harbor_cloudevents_tagged",
            at(Harbor, "registry.example.com"),
            &[],
            Pushed(
                &["harbor.example.com/acme/shop:v1", "registry.example.com/acme/shop:v1"],
                Some("66e18103-09c1-41f6-982f-000000000001"),
            ),
        ),
        Row("harbor_scanning_completed", receiver(Harbor), &[], Nothing("pushes nothing")),
        Row("quay_repo_push", receiver(Quay), &[], Pushed(&["quay.io/dgangaia/test:latest"], None)),
        Row(
            "quay_repo_push_map",
            receiver(Quay),
            &[],
            Pushed(&["quay.io/acme/shop:latest", "quay.io/acme/shop:v1"], None),
        ),
        Row("quay_build_success", receiver(Quay), &[], Nothing("pushes no tag")),
    ]
}

fn second_rows() -> Vec<Row> {
    use Sender::*;
    let generic = |repository: &str, tag: Option<&str>| {
        let fields = Fields { repository: Some(repository.parse().unwrap()), tag: tag.map(|tag| tag.parse().unwrap()) };
        HookReceiver { fields, ..receiver(Generic) }
    };
    let aliased = |sender, name: &str, place: &str| {
        let aliases = BTreeMap::from([(name.to_owned(), place.to_owned())]);
        HookReceiver { aliases, ..receiver(sender) }
    };
    let gar = "europe-west1-docker.pkg.dev/acme/images/shop:v1";
    let gar: &'static [&'static str] = Box::leak(Box::new([gar]));
    vec![
        Row(
            "azure_acr_push",
            receiver(Acr),
            &[],
            Pushed(&["myregistry.azurecr.io/hello-world:v1"], Some("cb8c3971-9adc-488b-xxxx-43cbb4974ff5")),
        ),
        Row("azure_acr_chart_push", receiver(Acr), &[], Nothing("pushes no image")),
        Row("azure_acr_quarantine", receiver(Acr), &[], Nothing("in quarantine")),
        Row("azure_acr_ping", receiver(Acr), &[], Nothing("a ping")),
        Row(
            "azure_eventgrid_image_pushed",
            receiver(EventGrid),
            &[],
            Pushed(&["demo.azurecr.io/aci-helloworld:v1"], Some("831e1650-001e-001b-66ab-eeb76e069631")),
        ),
        Row(
            "azure_eventgrid_cloudevent",
            receiver(EventGrid),
            &[("content-type", "application/cloudevents+json")],
            Pushed(&["demo.azurecr.io/shop:v1"], Some("831e1650-0000-0000-0000-000000000001")),
        ),
        Row("azure_eventgrid_validation", receiver(EventGrid), &[], Nothing("no event pushes")),
        Row(
            "aws_ecr_eventbridge_push",
            receiver(Ecr),
            &[],
            Pushed(
                &["123456789012.dkr.ecr.us-west-2.amazonaws.com/my-repository-name:latest"],
                Some("13cde686-328b-6117-af20-0e5566167482"),
            ),
        ),
        Row(
            "aws_ecr_eventbridge_untagged",
            receiver(Ecr),
            &[],
            Beside(&["123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/acme/shop:*"]),
        ),
        Row("aws_ecr_eventbridge_delete", receiver(Ecr), &[], Nothing("nothing was pushed")),
        Row("aws_sns_notification", receiver(Sns), &[], Nothing("no event of EventBridge")),
        Row("aws_sns_subscription_confirmation", receiver(Sns), &[], Nothing("a new subscription")),
        Row(
            "aws_sns_ecr_push",
            receiver(Sns),
            &[("content-type", "text/plain; charset=UTF-8")],
            Pushed(
                &["123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/acme/shop:v1"],
                Some("22b80b92-0000-0000-0000-000000000001"),
            ),
        ),
        Row(
            "google_gar_message_insert",
            receiver(Google),
            &[("x-goog-pubsub-message-id", "77")],
            Pushed(&["us-west1-docker.pkg.dev/my-project/my-repo/hello-world:1.1"], Some("77")),
        ),
        Row("google_pubsub_push_envelope", receiver(Google), &[], Nothing("not of Artifact Registry")),
        Row("google_pubsub_push_gar", receiver(Google), &[], Pushed(gar, Some("2070443601311541"))),
        Row("google_pubsub_push_gar_untagged", receiver(Google), &[], Nothing("has no tag")),
        Row("google_pubsub_push_gar_delete", receiver(Google), &[], Nothing("nothing was pushed")),
        Row(
            "jfrog_docker_pushed",
            receiver(JFrog),
            &[],
            Pushed(
                &[
                    "example.jfrog.io/docker-remote-cache/library/ubuntu:latest",
                    "docker-remote-cache.example.jfrog.io/library/ubuntu:latest",
                ],
                None,
            ),
        ),
        Row(
            "jfrog_docker_child",
            aliased(JFrog, "docker-local", "acme.jfrog.io/docker"),
            &[],
            Beside(&["acme.jfrog.io/docker/shop:*"]),
        ),
        Row("nexus_component_created", receiver(Nexus), NEXUS, Nothing("not a container image")),
        Row(
            "nexus_component_docker",
            aliased(Nexus, "docker-hosted", "nexus.example.com:8082"),
            NEXUS,
            Pushed(&["nexus.example.com:8082/acme/shop:v1"], Some("d-3")),
        ),
        Row(
            "nexus_asset_docker",
            at(Nexus, "nexus.example.com/docker-hosted"),
            NEXUS,
            Pushed(&["nexus.example.com/docker-hosted/acme/shop:v1"], Some("d-3")),
        ),
        Row("zot_image_updated_data", at(Zot, "zot.example.com"), ZOT, Strange("the tag makes no sense")),
        Row(
            "zot_image_updated_tagged",
            at(Zot, "zot.example.com"),
            ZOT,
            Pushed(&["zot.example.com/acme/shop:v1"], Some("c-1")),
        ),
        Row(
            "zot_2_1_20_image_updated",
            at(Zot, "zot.example.com"),
            ZOT,
            Pushed(&["zot.example.com/acme/shop:v1"], Some("c-1")),
        ),
        Row(
            "zot_structured",
            aliased(Zot, "zot.example.com", "registry.example.com"),
            &[],
            Pushed(&["registry.example.com/acme/shop:v1"], Some("b6d1")),
        ),
        Row(
            "alibaba_acr_push",
            receiver(Alibaba),
            &[],
            Pushed(&["registry.cn-hangzhou.aliyuncs.com/acme/shop:v1"], None),
        ),
        Row(
            "mirantis_dtr_tag_push",
            at(Msr, "dtr.example.com"),
            &[],
            Pushed(&["dtr.example.com/foo/bar:latest"], None),
        ),
        Row("mirantis_dtr_tag_push", receiver(Msr), &[], Strange("default_host")),
        Row("generic_ci_native", receiver(Generic), &[], Pushed(&["gcr.io/v2-namespace/hello-world:1.1.1"], None)),
        Row("generic_ci_reference", receiver(Generic), &[], Pushed(&["registry.example.com:5000/acme/shop:v1"], None)),
        Row("generic_other_program", receiver(Generic), &[], Strange("no `image` or `name`")),
        Row(
            "generic_other_program",
            generic("$.artifacts[0].image.name", Some("$.artifacts[0].image.tags[*]")),
            &[],
            Pushed(&["ghcr.io/acme/shop:v1", "ghcr.io/acme/shop:v1.2"], None),
        ),
        Row(
            "generic_other_program",
            generic("artifacts[*].image.name", None),
            &[],
            Pushed(&["ghcr.io/acme/shop:*", "ghcr.io/acme/blog:*"], None),
        ),
        Row("generic_other_program", generic("release.image", None), &[], Strange("looks for it")),
    ]
}

/// Every fixture with a receiver that reads it and its headers.
pub(super) fn fixtures() -> Vec<(&'static str, HookReceiver, HeaderMap, Vec<u8>)> {
    let rows = first_rows().into_iter().chain(second_rows());
    rows.map(|Row(name, receiver, given, _)| (name, receiver, headers(given), body(name))).collect()
}

#[test]
fn every_fixture_means_what_the_table_says() {
    let mut seen = BTreeSet::new();
    for Row(name, receiver, given, wanted) in first_rows().into_iter().chain(second_rows()) {
        seen.insert(format!("{name}.json"));
        let what = format!("{name} to {}", receiver.sender.label());
        match (receiver.read(&headers(given), &body(name)), wanted) {
            (Ok(Reading::Pushed { hints, beside, .. }), Beside(wanted)) => {
                let tag = |tag: &Option<Tag>| tag.as_ref().map_or("*".to_owned(), ToString::to_string);
                let found: Vec<_> = beside.iter().map(|one| format!("{}:{}", one.repository, tag(&one.tag))).collect();
                assert_eq!((hints.len(), found), (0, wanted.iter().map(|one| (*one).to_owned()).collect()), "{what}");
            }
            (Ok(Reading::Pushed { id, hints, .. }), Pushed(images, wanted)) => {
                let (mut shown, mut images) = (shown(&hints), images.to_vec());
                shown.sort();
                images.sort_unstable();
                assert_eq!((shown, id.as_deref()), (images.into_iter().map(str::to_owned).collect(), wanted), "{what}");
            }
            (Ok(Reading::Nothing(why)), Nothing(wanted)) => assert!(why.contains(wanted), "{what}: {why}"),
            (Err(error), Strange(wanted)) => assert!(error.to_string().contains(wanted), "{what}: {error}"),
            (found, _) => panic!("{what}: {found:?}"),
        }
    }
    let files = std::fs::read_dir(DIR).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let untold: Vec<_> = files.filter(|file| file.ends_with(".json") && !seen.contains(file)).collect();
    assert!(untold.is_empty(), "no row for {untold:?}");
}

#[test]
fn what_a_sender_says_of_the_digest_is_handed_on_and_rubbish_in_its_place_is_left_out() {
    let digest_of = |receiver: HookReceiver, given, name| match receiver.read(&headers(given), &body(name)).unwrap() {
        Reading::Pushed { hints, .. } => hints[0].digest.clone(),
        other => panic!("{name}: {other:?}"),
    };
    for (name, sender, given) in [
        ("distribution_push_tagged", Sender::Distribution, &[][..]),
        ("github_package_tagged", Sender::GitHub, GITHUB),
        ("harbor_push_artifact_tagged", Sender::Harbor, &[]),
        ("azure_eventgrid_cloudevent", Sender::EventGrid, &[]),
        ("aws_sns_ecr_push", Sender::Sns, &[]),
        ("google_pubsub_push_gar", Sender::Google, &[]),
        ("alibaba_acr_push", Sender::Alibaba, &[]),
        ("generic_ci_reference", Sender::Generic, &[]),
    ] {
        assert_eq!(digest_of(receiver(sender), given, name), Some(digest('c')), "{name}");
    }
    for (name, sender) in [
        ("azure_acr_push", Sender::Acr),
        ("aws_ecr_eventbridge_push", Sender::Ecr),
        ("google_gar_message_insert", Sender::Google),
        ("dockerhub_push", Sender::DockerHub),
    ] {
        assert_eq!(digest_of(receiver(sender), &[], name), None, "{name}");
    }
}

#[test]
fn only_who_may_announce_a_tag_before_it_can_be_read_gives_it_a_moment() {
    let early = |sender: Sender| {
        let receiver = fitting(sender);
        let trial = receiver.trial(&subject(sender));
        let headers = trial.headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        match receiver.read(&headers.collect(), trial.body.as_bytes()).unwrap() {
            Reading::Pushed { hints, .. } => hints.iter().all(|hint| hint.early),
            other => panic!("{}: {other:?}", sender.label()),
        }
    };
    let found: Vec<_> = Sender::ALL.into_iter().filter(|sender| early(*sender)).collect();
    assert_eq!(found, [Sender::Distribution, Sender::GitLab, Sender::Nexus]);
}

#[test]
fn forms_are_read_like_json() {
    for (sender, name, given) in
        [(Sender::GitHub, "github_package_tagged", GITHUB), (Sender::Gitea, "gitea_package_tagged", GITEA)]
    {
        let text = String::from_utf8(body(name)).unwrap();
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &text).finish();
        let mut all = headers(given);
        let json = receiver(sender).read(&all, text.as_bytes());
        all.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"));
        assert_eq!(receiver(sender).read(&all, form.as_bytes()), json, "{name}");
        assert!(matches!(json, Ok(Reading::Pushed { .. })), "{name}");
        assert!(matches!(receiver(sender).read(&all, b"other=1"), Err(Misread::Missing(_))));
    }
}

#[test]
fn every_sender_s_sample_announces_its_subject() {
    for sender in Sender::ALL {
        let subject = subject(sender);
        let mut receiver = fitting(sender);
        if sender == Sender::JFrog {
            receiver.default_host = Some("registry.example.com".into());
        }
        let trial = receiver.trial(&subject);
        let headers = trial.headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let read = receiver.read(&headers.collect(), trial.body.as_bytes());
        let Ok(Reading::Pushed { hints, .. }) = read else { panic!("{}: {read:?}", sender.label()) };
        let wanted = format!("{}:latest", subject.repository);
        assert!(shown(&hints).contains(&wanted), "{}: {:?}", sender.label(), shown(&hints));
    }
    let fields = Fields { repository: Some("a.b[1].c".parse().unwrap()), tag: Some("$.t[*]".parse().unwrap()) };
    let own = HookReceiver { fields, ..receiver(Sender::Generic) };
    let trial = own.trial(&subject(Sender::Generic));
    let read = own.read(&HeaderMap::new(), trial.body.as_bytes()).unwrap();
    assert!(
        matches!(read, Reading::Pushed { hints, .. } if shown(&hints) == ["registry.example.com/acme/shop:latest"])
    );
}
