//! Networks, volumes and other containers: what other updaters get wrong.

use serde_json::{Value, json};

use super::stage::{ID, container, derived, derived_with, keeping};
use crate::decide::derive::{JoinKind, Notice, Options, Peer};

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
    let nameless =
        json!({"Type": "volume", "Source": format!("/d/volumes/{name}/_data"), "Destination": "/p", "RW": true});
    let again = derived(&super::stage::container(json!({"HostConfig": {"Binds": ["/p"]}}), |c| {
        c["Mounts"] = json!([nameless])
    }));
    assert_eq!(again.body["HostConfig"]["Binds"], json!([format!("{name}:/p")]));
    assert_eq!(
        host["Mounts"][0],
        json!({"Type": "volume", "Target": "/m", "ReadOnly": true, "VolumeOptions": {"Subpath": "s"}, "Source": "b"})
    );
    assert_eq!(host["Mounts"][1]["BindOptions"], json!({"Propagation": "rslave", "New": 1}));
}

#[test]
fn links_are_written_as_they_are_asked_for() {
    let host = derived(&container(json!({"HostConfig": {"Links": ["/db:/shop/other", "/db:/shop/db"]}}), |_| {}));
    assert_eq!(host.body["HostConfig"]["Links"], json!(["db:db", "db:other"]));
    assert_eq!(host.joins[0].container, "db");
}
