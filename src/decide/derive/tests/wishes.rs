//! The user's wishes, the image's and the daemon's defaults: what other updaters get wrong.

use serde_json::{Value, json};

use super::stage::{ID, container, derived, derived_with, image, keeping, made, new, old};
use crate::decide::derive::{DaemonDefaults, DeriveError, Notice, Options, Sources, WantedState, compare, derive};

#[test]
fn what_the_old_image_set_is_left_to_the_new_one() {
    let body = derived(&container(json!({}), |_| {})).body;
    for field in ["Entrypoint", "Cmd", "User", "WorkingDir", "StopSignal", "Healthcheck", "Hostname"] {
        assert!(body.get(field).is_none(), "{field}: {body}");
    }
    for field in ["Env", "Labels", "Volumes", "ExposedPorts"] {
        assert!(body[field].as_array().map_or_else(|| body[field] == json!({}), Vec::is_empty), "{field}: {body}");
    }
}

#[test]
fn what_the_user_set_stays() {
    for (label, wish) in [
        ("a variable", json!({"Env": ["MINE=1", "A=mine"]})),
        ("a user", json!({"User": "5"})),
        ("an entrypoint without a command", json!({"Entrypoint": ["/other"]})),
        ("an entrypoint with a command", json!({"Entrypoint": ["/other"], "Cmd": ["x"]})),
        ("a command", json!({"Cmd": ["x"]})),
        ("the image's entrypoint, which drops the command", json!({"Entrypoint": ["/app"]})),
        ("an emptied entrypoint", json!({"Entrypoint": [""], "Cmd": ["serve"]})),
        ("an entrypoint emptied by a list", json!({"Entrypoint": [], "Cmd": ["x"]})),
        ("one field of the health check", json!({"Healthcheck": {"Interval": 9}})),
        ("no health check", json!({"Healthcheck": {"Test": ["NONE"]}})),
        ("a label over the image's", json!({"Labels": {"a": "mine", "b": "2"}})),
        ("a port", json!({"ExposedPorts": {"99/udp": {}}})),
        ("a volume", json!({"Volumes": {"/mine": {}}})),
        ("a stop signal", json!({"StopSignal": "SIGQUIT"})),
    ] {
        let body = derived(&container(wish.clone(), |_| {})).body;
        for (field, value) in wish.as_object().unwrap() {
            assert_eq!(&body[field], value, "{label}: {field}");
        }
    }
}

#[test]
fn a_value_that_equals_the_old_default_follows_the_image_unless_it_is_to_be_kept() {
    for (fields, wish) in [
        ("user", json!({"User": "1000"})),
        ("env.A", json!({"Env": ["A=1"]})),
        ("cmd", json!({"Cmd": ["serve"]})),
        ("entrypoint", json!({"Entrypoint": ["/app"], "Cmd": ["serve"]})),
        ("labels.a", json!({"Labels": {"a": "1"}})),
        ("working_dir,stop_signal", json!({"WorkingDir": "/work", "StopSignal": "SIGINT"})),
        ("healthcheck.interval", json!({"Healthcheck": {"Interval": 5}})),
        ("exposed_ports.80/tcp", json!({"ExposedPorts": {"80/tcp": {}}})),
        ("volumes./data", json!({"Volumes": {"/data": {}}})),
    ] {
        let container = container(wish.clone(), |_| {});
        let (follows, kept) = (derived(&container).body, derived_with(&container, (1, 41), &keeping(fields)).body);
        for (field, value) in wish.as_object().unwrap() {
            assert_ne!(&follows[field], value, "{fields}: {field}");
            assert_eq!(&kept[field], value, "{fields}: {field}");
        }
    }
}

#[test]
fn a_hostname_is_dropped_only_when_it_is_the_id_or_another_s() {
    for (name, host, kept) in [
        (&ID[..12], json!({}), false),
        ("db", json!({}), true),
        (&ID[..6], json!({}), true),
        ("mine", json!({"NetworkMode": "host"}), true),
        ("machine", json!({"NetworkMode": "host"}), false),
        ("machine", json!({}), true),
        ("mine", json!({"UTSMode": "host"}), false),
        ("theirs", json!({"NetworkMode": "container:abc"}), false),
    ] {
        let container = container(json!({"Hostname": name, "HostConfig": host}), |_| {});
        let daemon = DaemonDefaults { host_name: Some("machine".to_owned()), ..DaemonDefaults::default() };
        let body = derived_with(&container, (1, 41), &Options { daemon, ..Options::default() }).body;
        assert_eq!(body.get("Hostname").is_some(), kept, "{name} {host}");
    }
}

#[test]
fn defaults_of_the_daemon_are_not_frozen_and_wishes_are() {
    let daemon = DaemonDefaults::from_info(
        &json!({"DefaultRuntime": "runc", "LoggingDriver": "json-file", "CgroupVersion": "2", "Name": "machine"}),
    );
    let mask = json!([
        "/proc/asound",
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware"
    ]);
    for (label, host, kept) in [
        ("Runtime", json!("runc"), false),
        ("Runtime", json!("nvidia"), true),
        ("LogConfig", json!({"Type": "json-file", "Config": {}}), false),
        ("LogConfig", json!({"Type": "json-file", "Config": {"max-size": "1m"}}), true),
        ("LogConfig", json!({"Type": "journald", "Config": {}}), true),
        ("CgroupnsMode", json!("private"), false),
        ("CgroupnsMode", json!("host"), true),
        ("IpcMode", json!("private"), false),
        ("IpcMode", json!("shareable"), true),
        ("ShmSize", json!(67_108_864), false),
        ("ShmSize", json!(67_108_865), true),
        ("MaskedPaths", mask.clone(), false),
        ("MaskedPaths", json!([]), true),
        ("MaskedPaths", json!(["/proc/kcore"]), true),
        ("ReadonlyPaths", json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]), false),
        ("ReadonlyPaths", json!([]), true),
        ("OomScoreAdj", json!(-500), true),
        ("Future", json!({"a": [1]}), true),
    ] {
        let container = container(json!({"HostConfig": {label: host}}), |_| {});
        let options = Options { daemon: daemon.clone(), ..Options::default() };
        assert_eq!(
            derived_with(&container, (1, 41), &options).body["HostConfig"].get(label).is_some(),
            kept,
            "{label}"
        );
        if !["IpcMode", "ShmSize", "MaskedPaths", "ReadonlyPaths"].contains(&label) {
            let known = derived(&container).body["HostConfig"].get(label).is_some();
            assert!(known, "{label} must stay where the daemon's default is not known");
        }
    }
}

#[test]
fn what_follows_from_something_else_is_not_asked_for() {
    for (label, host, gone) in [
        ("twice the memory", json!({"Memory": 100, "MemorySwap": 200}), "MemorySwap"),
        ("the quota of a number of processors", json!({"NanoCpus": 5, "CpuQuota": 7, "CpuPeriod": 9}), "CpuQuota"),
        (
            "labels off beside the host's processes",
            json!({"PidMode": "host", "SecurityOpt": ["label=disable"]}),
            "SecurityOpt",
        ),
        (
            "another process's labels",
            json!({"IpcMode": "container:x", "SecurityOpt": ["label=user:u", "label=role:r", "label=type:t", "label=level:l"]}),
            "SecurityOpt",
        ),
        ("no end of processes", json!({"PidsLimit": -1}), "PidsLimit"),
    ] {
        let host = derived(&container(json!({"HostConfig": host}), |_| {})).body["HostConfig"].clone();
        assert!(host.get(gone).is_none_or(Value::is_null), "{label}: {host}");
    }
    let own = json!({"PidMode": "host", "SecurityOpt": ["label=type:mine"], "Memory": 100, "MemorySwap": -1, "MemorySwappiness": 0});
    let host = derived(&container(json!({"HostConfig": own}), |_| {})).body["HostConfig"].clone();
    assert_eq!(own.as_object().unwrap().iter().find(|(key, value)| host[key.as_str()] != **value), None);
}

#[test]
fn ports_stay_as_they_were_asked_for() {
    let bindings = json!({"80/tcp": [{"HostIp": "", "HostPort": ""}], "81/udp": [{"HostIp": "127.0.0.1", "HostPort": "81"}], "/tcp": [], "90/tcp": []});
    let body = json!({"ExposedPorts": {"80/tcp": {}, "81/udp": {}}, "HostConfig": {"PortBindings": bindings, "PublishAllPorts": true}});
    let body = derived(&container(body, |_| {})).body;
    assert_eq!(body["ExposedPorts"], json!({"80/tcp": {}, "81/udp": {}}), "published ports stay exposed");
    assert!(body["HostConfig"]["PortBindings"].get("/tcp").is_none());
    assert_eq!(body["HostConfig"]["PortBindings"]["80/tcp"], bindings["80/tcp"]);
    assert_eq!(body["HostConfig"]["PortBindings"]["90/tcp"], json!([]));
}

#[test]
fn the_label_of_compose_is_rewritten_in_the_form_that_it_had() {
    let manifests = |digest: &str| json!([{"Kind": "attestation", "ID": "sha256:att"}, {"Kind": "image", "ID": digest, "Available": true}]);
    let with = |mut image: Value, digest: &str| {
        image["Manifests"] = manifests(digest);
        image
    };
    let (old_image, new_image) = (with(old(), "sha256:oldm"), with(new(), "sha256:newm"));
    for (label, value, version, wanted, stale) in [
        ("by id", "sha256:old", "2.29.0", "sha256:new", false),
        ("by manifest", "sha256:oldm", "5.5.0", "sha256:newm", false),
        ("stale, old compose", "sha256:older", "2.29.0", "sha256:new", true),
        ("stale, new compose", "sha256:older", "5.6.1", "sha256:newm", true),
        ("stale, unknown compose", "sha256:older", "dev", "sha256:older", true),
    ] {
        let labels = json!({"com.docker.compose.image": value, "com.docker.compose.version": version, "com.docker.compose.config-hash": "h"});
        let container = container(json!({"Labels": labels}), |_| {});
        let options = Options::default();
        let sources = Sources {
            container: &container,
            old_image: Some(&old_image),
            new_image: &new_image,
            api: (1, 48),
            options: &options,
        };
        let found = derive(&sources).unwrap();
        assert_eq!(found.body["Labels"]["com.docker.compose.image"], wanted, "{label}");
        assert_eq!(found.body["Labels"]["com.docker.compose.config-hash"], "h", "{label}");
        assert_eq!(found.notices.contains(&Notice::ComposeImage), stale, "{label}");
    }
}

#[test]
fn an_image_that_is_gone_leaves_everything_as_it_is() {
    let container = container(json!({}), |_| {});
    let (new_image, options) = (new(), Options::default());
    let sources =
        Sources { container: &container, old_image: None, new_image: &new_image, api: (1, 41), options: &options };
    let found = derive(&sources).unwrap();
    assert!(found.notices.contains(&Notice::OldImageGone));
    for field in ["Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels", "StopSignal", "Healthcheck", "Volumes"] {
        assert_eq!(found.body[field], container["Config"][field], "{field}");
    }
    let bare = made(&json!({"Cmd": ["x"]}), &image("sha256:bare", json!({})));
    let found = derive(&Sources { container: &bare, ..sources }).unwrap();
    assert_eq!(found.body["Entrypoint"], json!([""]), "it had none, and must not get the new image's");
}

#[test]
fn states_are_wanted_again() {
    for (status, paused, wanted) in [
        ("running", false, WantedState::Running),
        ("running", true, WantedState::Paused),
        ("paused", true, WantedState::Paused),
        ("restarting", false, WantedState::Running),
        ("exited", false, WantedState::Exited),
        ("dead", false, WantedState::Exited),
        ("created", false, WantedState::Created),
    ] {
        let container = container(json!({}), |c| c["State"] = json!({"Status": status, "Paused": paused}));
        assert_eq!(derived(&container).state, wanted, "{status}");
    }
}

#[test]
fn the_image_is_named_as_before_only_if_that_name_is_the_new_one_s() {
    let mut new_image = new();
    let old_image = old();
    for (tags, said, wanted) in [
        (json!(["repo:tag"]), None, "repo:tag"),
        (json!(["repo:other"]), None, "sha256:new"),
        (json!(["repo:tag"]), Some("repo@sha256:x"), "repo@sha256:x"),
    ] {
        new_image["RepoTags"] = tags;
        let container = container(json!({}), |_| {});
        let options = Options { image: said.map(str::to_owned), ..Options::default() };
        let sources = Sources {
            container: &container,
            old_image: Some(&old_image),
            new_image: &new_image,
            api: (1, 41),
            options: &options,
        };
        let found = derive(&sources).unwrap();
        assert_eq!((found.body["Image"].as_str(), found.platform.as_deref()), (Some(wanted), Some("linux/arm64/v8")));
    }
}

#[test]
fn changes_of_the_image_s_contract_are_said_without_secrets() {
    let found = derived(&container(json!({"User": "5", "Env": ["SECRET=hunter2"]}), |_| {}));
    let said: Vec<String> = found.notices.iter().map(ToString::to_string).collect();
    let said = said.join("\n");
    for part in [
        "Entrypoint follows the image, from [\"/app\"] to [\"/new\"]",
        "Env.A follows",
        "80/tcp any more",
        "at /fresh",
        "StopSignal",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("hunter2") && !said.contains("A=2") && !said.contains("User"), "{said}");
}

#[test]
fn what_is_no_container_or_another_s_is_refused() {
    let (old_image, new_image, options) = (old(), new(), Options::default());
    let sources = |container| {
        derive(&Sources {
            container,
            old_image: Some(&old_image),
            new_image: &new_image,
            api: (1, 41),
            options: &options,
        })
    };
    let nothing = json!({"Id": "x", "Config": {}});
    assert_eq!(sources(&nothing), Err(DeriveError::NoContainer("HostConfig")));
    let task = container(json!({"Labels": {"com.docker.swarm.task.id": "1"}}), |_| {});
    assert!(matches!(sources(&task), Err(DeriveError::Unfit { reason, .. }) if reason.contains("Swarm")));
}

#[test]
fn a_difference_never_shows_a_value_that_may_be_secret() {
    let body = json!({"Env": ["TOKEN=hunter2"], "Labels": {"auth": "hunter2"}, "HostConfig": {
        "LogConfig": {"Type": "splunk", "Config": {"token": "hunter2"}}, "NetworkMode": "n"},
        "NetworkingConfig": {"EndpointsConfig": {"n": {"DriverOpts": {"key": "hunter2"}}}}});
    let mut inspected = made(&body, &old());
    inspected["Config"]["Env"] = json!(["TOKEN=hunter3", "PATH=/bin", "A=1", "OLD=x", "INJECTED=hunter4"]);
    inspected["Config"]["Labels"]["auth"] = json!("hunter3");
    inspected["HostConfig"]["LogConfig"]["Config"]["token"] = json!("hunter3");
    inspected["NetworkSettings"]["Networks"]["n"]["DriverOpts"]["key"] = json!("hunter3");
    let found = compare(&body, &[], &inspected, &old());
    let text = format!("{found:?}");
    assert_eq!(found.len(), 5, "{text}");
    assert!(!text.contains("hunter"), "{text}");
}
