//! How many containers an app has.

use serde_json::json;

use super::*;

#[test]
fn an_app_has_one_container_unless_the_file_says_more() {
    let app = |more: &str, defaults: &str| {
        let text = format!("defaults: {{{defaults}}}\napps: {{shop: {{image: acme/shop, listen: ':80', {more}}}}}");
        parse(&text).unwrap().apps[0].replicas
    };
    for (more, defaults, wanted) in [
        ("every: 1m", "every: 1m", 1),
        ("replicas: 3", "every: 1m", 3),
        ("every: 1m", "replicas: 2", 2),
        ("replicas: 1", "replicas: 2", 1),
        ("overlap: never", "replicas: 2", 1),
        ("overlap: never, replicas: 1", "replicas: 2", 1),
    ] {
        assert_eq!(app(more, defaults), wanted, "{more}; defaults: {defaults}");
    }
}

#[test]
fn several_of_what_must_never_run_twice_are_refused_with_the_way_out() {
    for (more, wanted) in [
        ("overlap: never, replicas: 2", "apps.shop.replicas: an app that must never run twice"),
        ("strategy: hold, replicas: 2", "leave `replicas` out, or allow two versions to run at the same time"),
        ("replicas: 0", "apps.shop.replicas"),
        ("replicas: 101", "apps.shop.replicas"),
        ("replicas: many", "apps.shop.replicas"),
    ] {
        let told = errors(&format!("apps:\n  shop: {{image: acme/shop, listen: ':80', {more}}}\n"));
        assert!(told.contains(wanted) && told.contains("tagboat.yaml:2:"), "{more}: {told}");
    }
}

#[test]
fn a_container_that_is_adopted_stays_one() {
    let config = parse("defaults: {replicas: 2}\napps: {}\n").unwrap();
    let read = |labels: serde_json::Value| {
        config.adopt.read(&json!({"Id": "abc", "Config": {"Image": "acme/shop:1.2", "Labels": labels}}), "shop", false)
    };
    assert_eq!(read(json!({"tagboat.enable": "true"})).unwrap().replicas, 1);
    let told = read(json!({"tagboat.enable": "true", "tagboat.replicas": "2"})).unwrap_err().join("\n");
    assert!(told.contains("label tagboat.replicas: ") && told.contains("declare the app in the file"), "{told}");
}
