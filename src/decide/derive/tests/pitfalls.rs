//! What other updaters get wrong, one table a kind.

use serde_json::{Value, json};

use super::stage::{ID, container, derived, derived_with, image, made, new, old};
use crate::decide::derive::{
    DaemonDefaults, DeriveError, JoinKind, Notice, Options, Peer, Sources, WantedState, compare, derive,
};

fn keeping(fields: &str) -> Options {
    Options { keep: fields.parse().unwrap(), ..Options::default() }
}

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
fn a_container_in_another_s_network_asks_for_nothing_of_its_own() {
    let host = json!({"NetworkMode": format!("container:{ID}"), "PortBindings": {"80/tcp": []}, "Dns": ["1.1.1.1"], "ExtraHosts": ["a:1.1.1.1"]});
    let container = container(json!({"HostConfig": host, "Domainname": "x", "ExposedPorts": {"9/tcp": {}}}), |_| {});
    let peer = Peer { id: ID.to_owned(), name: "vpn".into(), reference: "vpn.2".into(), mounts: Default::default() };
    let options = Options { peers: vec![peer], ..Options::default() };
    let found = derived_with(&container, (1, 50), &options);
    for field in ["Hostname", "Domainname", "ExposedPorts", "NetworkingConfig", "MacAddress"] {
        assert!(found.body.get(field).is_none(), "{field}");
    }
    assert_eq!(found.body["HostConfig"], json!({"NetworkMode": "container:vpn.2"}));
    assert_eq!(found.joins[0].kind, JoinKind::Network);
    assert_eq!(found.notices.iter().filter(|notice| matches!(notice, Notice::UnknownPeer { .. })).count(), 0);
}

#[test]
fn references_to_containers_become_what_the_caller_says() {
    let host = json!({"IpcMode": format!("container:{ID}"), "PidMode": "container:other", "VolumesFrom": [format!("{}:ro", &ID[..12]), "other"]});
    let container = container(json!({"HostConfig": host}), |_| {});
    let peer = Peer { id: ID.to_owned(), name: "db".into(), reference: "db".into(), mounts: Default::default() };
    let found = derived_with(&container, (1, 41), &Options { peers: vec![peer], ..Options::default() });
    let host = &found.body["HostConfig"];
    assert_eq!((&host["IpcMode"], &host["PidMode"]), (&json!("container:db"), &json!("container:other")));
    assert_eq!(host["VolumesFrom"], json!(["db:ro", "other"]));
    assert!(found.notices.contains(&Notice::UnknownPeer { container: "other".into() }));
}

fn networks(mode: &str, networks: Value) -> Value {
    container(json!({"HostConfig": {"NetworkMode": mode}}), |c| c["NetworkSettings"]["Networks"] = networks)
}

#[test]
fn an_endpoint_keeps_what_was_asked_for_and_nothing_that_was_found_out() {
    let endpoint = json!({
        "IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Links": ["a:b"], "Aliases": ["web", &ID[..12], "h"], "NetworkID": "n", "EndpointID": "e",
        "Gateway": "g", "IPAddress": "10.0.0.5", "IPPrefixLen": 24, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "MacAddress": "02:42:0a:00:00:05", "DriverOpts": {"a": "b"}, "DNSNames": ["x"], "GwPriority": 7, "Future": {"x": 1},
    });
    let mut container = networks("front", json!({"front": endpoint}));
    container["Config"]["Hostname"] = json!("h");
    let body = derived_with(&container, (1, 48), &Options::default()).body;
    assert_eq!(
        body["NetworkingConfig"]["EndpointsConfig"],
        json!({"front": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Links": ["a:b"], "Aliases": ["web"],
            "DriverOpts": {"a": "b"}, "GwPriority": 7, "Future": {"x": 1}}})
    );
}

#[test]
fn an_alias_that_is_the_hostname_stays_when_it_was_there_before_the_engine_s() {
    for (aliases, kept) in [
        (json!(["h", &ID[..12]]), Some(json!(["h"]))),
        (json!(["x", &ID[..12], "h"]), Some(json!(["x"]))),
        (json!([&ID[..12], "h"]), None),
        (json!(["0123456789ab"]), Some(json!(["0123456789ab"]))),
        (json!([]), Some(json!([]))),
    ] {
        let mut container = networks("front", json!({"front": {"Aliases": aliases}}));
        container["Config"]["Hostname"] = json!("h");
        let body = derived(&container).body;
        assert_eq!(body["NetworkingConfig"]["EndpointsConfig"]["front"].get("Aliases"), kept.as_ref(), "{aliases}");
    }
}

#[test]
fn the_first_network_is_created_with_and_older_engines_get_the_others_later() {
    let all = json!({"a": {"Aliases": ["x"]}, "front": {}, "z": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}});
    let old = derived(&networks("front", all.clone()));
    assert_eq!(old.body["NetworkingConfig"]["EndpointsConfig"], json!({"front": {}}));
    let names: Vec<&str> = old.networks.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, &old.networks[1].1), (vec!["a", "z"], &json!({"IPAMConfig": {"IPv4Address": "10.0.0.9"}})));
    let new = derived_with(&networks("front", all.clone()), (1, 44), &Options::default());
    assert_eq!((&new.body["NetworkingConfig"]["EndpointsConfig"], new.networks.len()), (&all, 0));
}

#[test]
fn the_first_network_may_be_named_by_id_or_be_gone() {
    let id = "9".repeat(64);
    for (mode, shown, wanted, moved) in [
        ("default", json!({"bridge": {}}), "default", false),
        ("bridge", json!({"bridge": {}, "n": {}}), "bridge", false),
        (&id, json!({"other": {}, "n": {"NetworkID": id}}), "n", false),
        (&id[..12], json!({"n": {"NetworkID": id}}), "n", false),
        (&id, json!({"n": {"NetworkID": ""}}), "n", false),
        ("default", json!({"n": {}}), "n", true),
        ("gone", json!({"n": {}}), "n", true),
        ("gone", json!({}), "gone", false),
    ] {
        let found = derived(&networks(mode, shown.clone()));
        assert_eq!(found.body["HostConfig"]["NetworkMode"], wanted, "{mode} {shown}");
        let notice = found.notices.iter().any(|notice| matches!(notice, Notice::PrimaryMoved { .. }));
        assert_eq!(notice, moved, "{mode} {shown}");
    }
}

#[test]
fn without_a_network_of_its_own_there_is_no_endpoint() {
    for mode in ["host", "none"] {
        let body = derived_with(&networks(mode, json!({mode: {"MacAddress": ""}})), (1, 50), &Options::default()).body;
        assert!(body.get("NetworkingConfig").is_none(), "{mode}");
    }
}

#[test]
fn a_hardware_address_moves_along_only_if_it_was_asked_for() {
    let shown = |mac: &str| json!({"n": {"MacAddress": mac}, "second": {"MacAddress": mac}});
    let (engine_s, vendor_s) = ("02:42:0a:00:00:05", "00:16:3e:00:00:05");
    for (label, api, asked, mac, status, keep, in_body, on_first, on_second) in [
        ("old engine", (1, 41), Some(engine_s), engine_s, "running", "", true, false, false),
        ("old engine, not asked", (1, 41), None, engine_s, "running", "", false, false, false),
        ("by endpoint", (1, 44), Some(engine_s), engine_s, "running", "", false, true, false),
        ("by endpoint, not asked", (1, 44), None, engine_s, "running", "", false, false, false),
        ("a vendor's, on the second", (1, 44), None, vendor_s, "running", "", false, false, true),
        ("not running", (1, 44), None, engine_s, "exited", "", false, false, true),
        ("wish hidden, not running", (1, 52), None, engine_s, "exited", "", false, true, true),
        ("wish hidden, running", (1, 52), None, engine_s, "running", "", false, false, false),
        ("kept", (1, 52), None, engine_s, "running", "mac_address", false, true, true),
    ] {
        let mut container = networks("n", shown(mac));
        container["State"]["Status"] = json!(status);
        if let Some(asked) = asked {
            container["Config"]["MacAddress"] = json!(asked);
        }
        let found = derived_with(&container, api, &keeping(keep));
        let endpoints = &found.body["NetworkingConfig"]["EndpointsConfig"];
        let has = |name: &str| endpoints[name].get("MacAddress").is_some();
        let got = (found.body.get("MacAddress").is_some(), has("n"), has("second"));
        assert_eq!(got, (in_body, on_first, on_second), "{label}");
    }
}

#[test]
fn sysctls_of_an_interface_move_to_the_endpoint_where_the_engine_wants_them_there() {
    let sysctls = json!({"net.ipv4.conf.eth0.forwarding": "1", "net.core.somaxconn": "9"});
    let option = "com.docker.network.endpoint.sysctls";
    let mut container = networks("n", json!({"n": {"DriverOpts": {option: "net.ipv4.conf.IFNAME.x=2"}}}));
    container["HostConfig"]["Sysctls"] = sysctls.clone();
    assert_eq!(derived_with(&container, (1, 47), &Options::default()).body["HostConfig"]["Sysctls"], sysctls);
    let body = derived_with(&container, (1, 48), &Options::default()).body;
    assert_eq!(body["HostConfig"]["Sysctls"], json!({"net.core.somaxconn": "9"}));
    let moved = &body["NetworkingConfig"]["EndpointsConfig"]["n"]["DriverOpts"][option];
    assert_eq!(moved, "net.ipv4.conf.IFNAME.forwarding=1,net.ipv4.conf.IFNAME.x=2");
}

fn volume(path: &str, name: &str) -> Value {
    json!({"Type": "volume", "Name": name, "Destination": path, "Driver": "local", "RW": true, "Source": "/x"})
}

#[test]
fn an_anonymous_volume_moves_along_by_name_where_a_volume_is_still_wanted() {
    let (name, other) = ("a".repeat(64), "b".repeat(64));
    let carried = |path: &str| json!({"Type": "volume", "Source": name, "Target": path, "VolumeOptions": {"Labels": {"tagboat.anonymous": "true"}}});
    for (label, wish, path, moves, dropped) in [
        ("the image's", json!({}), "/data", true, false),
        ("the user's", json!({"Volumes": {"/mine/": {}}}), "/mine", true, false),
        ("a bind is there", json!({"HostConfig": {"Binds": ["/x:/data"]}}), "/data", false, false),
        (
            "a mount is there",
            json!({"HostConfig": {"Mounts": [{"Type": "volume", "Source": "v", "Target": "/data/"}]}}),
            "/data",
            false,
            false,
        ),
        ("a memory disk is there", json!({"HostConfig": {"Tmpfs": {"/data": ""}}}), "/data", false, false),
        ("moved along before", json!({"HostConfig": {"Mounts": [carried("/data")]}}), "/data", true, false),
        (
            "moved along before, wanted no more",
            json!({"HostConfig": {"Mounts": [carried("/gone")]}}),
            "/gone",
            false,
            true,
        ),
        ("nobody's", json!({}), "/stranger", false, false),
    ] {
        let container = container(wish, |c| c["Mounts"] = json!([volume(path, &name), volume("/unrelated", &other)]));
        let found = derived(&container);
        let mounts = found.body["HostConfig"]["Mounts"].as_array().cloned().unwrap_or_default();
        assert_eq!(mounts.iter().any(|mount| *mount == carried(path)), moves, "{label}: {mounts:?}");
        assert_eq!(found.carried.len(), usize::from(moves), "{label}");
        let notice = Notice::VolumeDropped { path: path.into(), volume: name.clone() };
        assert_eq!(found.notices.contains(&notice), dropped, "{label}");
    }
}

#[test]
fn a_volume_that_comes_from_another_container_is_not_mounted_by_name() {
    let name = "a".repeat(64);
    let peer = |volume: &str| Peer {
        id: ID.into(),
        name: "src".into(),
        reference: "src".into(),
        mounts: [("/data".to_owned(), volume.to_owned())].into(),
    };
    let container = container(json!({"HostConfig": {"VolumesFrom": ["src:ro"]}}), |c| {
        c["Mounts"] = json!([volume("/data", &name)])
    });
    for (peers, moves) in [(vec![peer(&name)], false), (vec![peer("other")], true), (vec![], true)] {
        let found = derived_with(&container, (1, 41), &Options { peers, ..Options::default() });
        assert_eq!(!found.carried.is_empty(), moves);
    }
}

#[test]
fn volumes_left_without_a_name_keep_the_one_they_have_in_the_form_they_had() {
    let name = "a".repeat(64);
    let host = json!({"Binds": ["/p", "v:/q:ro,z"], "Mounts": [
        {"Type": "volume", "Target": "/m", "ReadOnly": true, "VolumeOptions": {"Subpath": "s"}, "BindOptions": {}},
        {"Type": "bind", "Source": "/h", "Target": "/b", "BindOptions": {"Propagation": "rslave", "New": 1}},
    ]});
    let container =
        container(json!({"HostConfig": host}), |c| c["Mounts"] = json!([volume("/p", &name), volume("/m", "b")]));
    let host = derived(&container).body["HostConfig"].clone();
    assert_eq!(host["Binds"], json!([format!("{name}:/p"), "v:/q:ro,z"]));
    assert_eq!(
        host["Mounts"][0],
        json!({"Type": "volume", "Target": "/m", "ReadOnly": true, "VolumeOptions": {"Subpath": "s"}, "Source": "b"})
    );
    assert_eq!(host["Mounts"][1]["BindOptions"], json!({"Propagation": "rslave", "New": 1}));
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
fn links_are_written_as_they_are_asked_for() {
    let host = derived(&container(json!({"HostConfig": {"Links": ["/db:/shop/other", "/db:/shop/db"]}}), |_| {}));
    assert_eq!(host.body["HostConfig"]["Links"], json!(["db:other", "db:db"]));
    assert_eq!(host.joins[0].container, "db");
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
