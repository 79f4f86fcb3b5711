//! Over any container.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::stage::{ID, image, made};
use crate::decide::derive::{Options, Sources, compare, derive};

fn words() -> impl Strategy<Value = Value> {
    vec("[a-z/-]{1,5}", 0..3).prop_map(|words| json!(words))
}

fn set(key: &'static str) -> impl Strategy<Value = Value> {
    btree_map(key, Just(json!({})), 0..3).prop_map(|map| json!(map))
}

/// A config as an image has it, or as a user asks for it: `mark` is in every value, so that the two never agree.
fn config(mark: &'static str) -> impl Strategy<Value = Value> {
    let text = prop::option::of(Just(format!("/{mark}")));
    let env = btree_map("[A-E]", Just(mark), 0..4)
        .prop_map(|env| json!(env.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()));
    let check = prop::option::of((1_u64..9, any::<bool>()).prop_map(move |(n, test)| {
        let mut check = json!({"Interval": n * 100 + mark.len() as u64});
        if test {
            check["Test"] = json!(["CMD", mark]);
        }
        check
    }));
    let labels = btree_map("[a-e]", Just(mark), 0..4);
    ((text.clone(), text.clone(), text), env, (words(), words()), check, labels, set("/[a-d]"), set("[1-4]/tcp")).prop_map(
        move |((user, dir, signal), env, (entrypoint, command), check, labels, volumes, ports)| {
            let marked = |list: Value| {
                let list = list.as_array().cloned().unwrap_or_default();
                let list: Vec<Value> = list.iter().map(|word| json!(format!("{mark}{}", word.as_str().unwrap()))).collect();
                if list.is_empty() { Value::Null } else { json!(list) }
            };
            json!({
                "User": user.unwrap_or_default(), "WorkingDir": dir.unwrap_or_default(), "StopSignal": signal.unwrap_or_default(),
                "Env": env, "Entrypoint": marked(entrypoint), "Cmd": marked(command), "Healthcheck": check, "Labels": labels,
                "Volumes": volumes, "ExposedPorts": ports,
            })
        },
    )
}

/// An image that can run: a container must have a command.
fn an_image(id: &'static str, mark: &'static str) -> impl Strategy<Value = Value> {
    config(mark).prop_map(move |mut config| {
        if config["Cmd"].is_null() && config["Entrypoint"].is_null() {
            config["Cmd"] = json!([mark]);
        }
        image(id, config)
    })
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        "[a-z]{0,4}".prop_map(|s| json!(s)),
        any::<bool>().prop_map(|b| json!(b))
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|list| json!(list)),
            btree_map("[a-z]{1,3}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// Volumes and ports of the user that the old image has too can't be told from its own: they are a known ambiguity.
fn unambiguous(mut body: Value, old: &Value) -> Value {
    for field in ["Volumes", "ExposedPorts"] {
        let known = old["Config"][field].clone();
        body[field].as_object_mut().unwrap().retain(|key, _| known.get(key).is_none());
    }
    body
}

fn derived(container: &Value, old: &Value, new: &Value, api: (u32, u32)) -> (Value, Vec<(String, Value)>) {
    let options = Options::default();
    let sources = Sources { container, old_image: Some(old), new_image: new, api, options: &options };
    let derived = derive(&sources).unwrap();
    (derived.body, derived.networks)
}

fn same(a: &Value, b: &Value) -> bool {
    let normal = |value: &Value| {
        let mut config = value["Config"].clone();
        config.as_object_mut().unwrap().retain(|field, value| {
            let empty = value.is_null() || *value == json!("") || *value == json!([]) || *value == json!({});
            !empty && field != "Image"
        });
        if let Some(env) = config.get_mut("Env").and_then(Value::as_array_mut) {
            env.sort_by_key(Value::to_string);
        }
        (config, value["HostConfig"].clone())
    };
    normal(a) == normal(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_container_on_an_image_that_did_not_change_is_made_again(body in config("user"), old in an_image("sha256:a", "old")) {
        let before = made(&body, &old);
        let (body, _) = derived(&before, &old, &old, (1, 44));
        let after = made(&body, &old);
        prop_assert!(same(&before, &after), "{before:#}\n{body:#}\n{after:#}");
        prop_assert_eq!(compare(&body, &[], &after, &old), []);
    }

    #[test]
    fn a_container_on_a_new_image_is_what_the_user_s_wishes_give_on_it(
        body in config("user"), old in an_image("sha256:a", "old"), new in an_image("sha256:b", "new"),
    ) {
        let body = unambiguous(body, &old);
        let before = made(&body, &old);
        let (found, _) = derived(&before, &old, &new, (1, 44));
        let (after, wanted) = (made(&found, &new), made(&body, &new));
        prop_assert!(same(&after, &wanted), "{before:#}\n{found:#}\n{after:#}\n{wanted:#}");
    }

    #[test]
    fn fields_that_nobody_knows_survive(
        in_config in anything(), in_host in anything(), in_endpoint in anything(), api in 41_u32..56,
    ) {
        let old = image("sha256:a", json!({"Cmd": ["x"], "Unknown": "of the image"}));
        let mut container = made(&json!({}), &old);
        container["Config"]["Unknown"] = in_config.clone();
        container["HostConfig"]["Unknown"] = in_host.clone();
        container["HostConfig"]["NetworkMode"] = json!("n");
        container["NetworkSettings"]["Networks"] = json!({"n": {"Unknown": in_endpoint}, "m": {"Unknown": in_endpoint}});
        let (body, further) = derived(&container, &old, &old, (1, api));
        prop_assert_eq!(&body["Unknown"], &in_config);
        prop_assert_eq!(&body["HostConfig"]["Unknown"], &in_host);
        let endpoints = &body["NetworkingConfig"]["EndpointsConfig"];
        prop_assert_eq!(&endpoints["n"]["Unknown"], &in_endpoint);
        let second = further.first().map_or(&endpoints["m"], |(_, endpoint)| endpoint);
        prop_assert_eq!(&second["Unknown"], &in_endpoint);
    }

    #[test]
    fn no_document_makes_it_panic(mut container in anything(), old in anything(), new in anything(), api in 41_u32..56) {
        let options = Options::default();
        if let Some(fields) = container.as_object_mut() {
            for part in ["Config", "HostConfig", "NetworkSettings", "Mounts"] {
                fields.insert(part.to_owned(), if part == "Mounts" { json!([old]) } else { old.clone() });
            }
            fields.insert("Id".to_owned(), json!(ID));
        }
        let sources = Sources { container: &container, old_image: Some(&old), new_image: &new, api: (1, api), options: &options };
        if let Ok(derived) = derive(&sources) {
            prop_assert!(derived.body.is_object());
            let _ = compare(&derived.body, &derived.networks, &container, &new);
        }
    }
}
