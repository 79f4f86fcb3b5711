//! The configurations, by what they try.

mod rest;

use serde_json::json;

use super::case::{Case, Old, case, raw};
use super::stage::World;
use rest::{devices, newer, states, the_rest};

pub(super) fn cases(world: &World) -> Vec<Case> {
    let groups = [
        ("entrypoint and command", commands()),
        ("other defaults of the image", defaults()),
        ("environment", environment()),
        ("health check", health()),
        ("networks", networks()),
        ("addresses and names", addresses()),
        ("namespaces of other containers and of the host", namespaces()),
        ("ports", ports()),
        ("mounts", mounts(world)),
        ("anonymous volumes", anonymous(world)),
        ("limits", limits()),
        ("security", security()),
        ("devices and GPUs", devices()),
        ("the rest", the_rest()),
        ("states", states()),
        ("what engines after 20.10 know", newer()),
    ];
    groups.into_iter().flat_map(|(group, cases)| cases.into_iter().map(move |case| Case { group, ..case })).collect()
}

fn commands() -> Vec<Case> {
    vec![
        case("nothing said", ""),
        case("nothing said, image without entrypoint", "").of("bare"),
        case("nothing said, image without command", "").of("entry"),
        case("nothing said, image that did not change", "").of("same"),
        case("nothing said, image that lost everything", "").of("loses"),
        case("nothing said, image that gained everything", "").of("gains"),
        case("a command", "").command("other -x"),
        case("a command, image without entrypoint", "").of("bare").command("/app other"),
        case("a command with spaces and quotes", "").command("-c 'a b' \"c'd\" ''"),
        case("an entrypoint", "--entrypoint /other"),
        case("an entrypoint and a command", "--entrypoint /other").command("a b"),
        case("an entrypoint that is the image's, which drops the image's command", "--entrypoint /app"),
        case("an entrypoint kept though it is the image's, with another command", "--entrypoint /app")
            .command("zzz")
            .keep("entrypoint"),
        case("an entrypoint emptied on purpose", "--entrypoint ''").command("/app other"),
        case("an entrypoint emptied on purpose, the image's command repeated", "--entrypoint ''").command("serve"),
        case("an entrypoint where the image had none", "--entrypoint /app").of("bare"),
        raw("an entrypoint emptied by a list", json!({"Entrypoint": [], "Cmd": ["/app", "x"]})),
        raw("an entrypoint emptied by a list, the image's command inherited", json!({"Entrypoint": []})),
        raw("an entrypoint of several words", json!({"Entrypoint": ["/app", "-a", "b c"], "Cmd": ["d"]})),
        case("entrypoint and command kept though they are the image's", "--entrypoint /app")
            .command("serve")
            .keep("entrypoint"),
        case("a command kept though it is the image's", "").command("serve").keep("cmd"),
    ]
}

fn defaults() -> Vec<Case> {
    vec![
        case("a user", "--user 1234:5678"),
        case("a user kept though it is the image's", "--user 1000").keep("user"),
        case("a working directory", "--workdir /elsewhere"),
        case("a working directory with a slash too many", "--workdir /elsewhere/"),
        case("a working directory kept though it is the image's", "--workdir /work").keep("working_dir"),
        case("a stop signal", "--stop-signal SIGUSR1"),
        case("a stop signal kept though it is the image's", "--stop-signal SIGINT").keep("stop_signal"),
        case("a stop signal and time", "--stop-signal SIGQUIT --stop-timeout 77"),
        case("a stop time of nothing", "--stop-timeout 0"),
        case("labels", "--label mine=1 --label changed=mine --label empty="),
        case("a label that the old image has too, with another value", "--label dropped=mine"),
        case("a label kept though it is the image's", "--label changed=old").keep("labels.changed"),
        case("exposed ports", "--expose 99 --expose 98/udp --expose 7000-7003"),
        case("an exposed port kept though it is the image's", "--expose 7070").keep("exposed_ports.7070/tcp"),
        raw("a shell", json!({"Shell": ["/bin/zsh", "-c"]})),
    ]
}

fn environment() -> Vec<Case> {
    vec![
        case("variables", "--env MINE=1 --env OTHER='a b=c'"),
        case("a variable of the image set otherwise", "--env CHANGED=mine --env PATH=/mine"),
        case("a variable that the new image drops, set by the user", "--env DROPPED=mine"),
        case("a variable that the new image adds, set by the user", "--env ADDED=mine"),
        case("an empty variable", "--env EMPTY= --env CHANGED="),
        case("a variable kept though it is the image's", "--env CHANGED=old").keep("env.CHANGED"),
        case("all variables in the user's order", "--env Z=1 --env A=2 --env CHANGED=3 --env B=4"),
        raw("a variable taken away", json!({"Env": ["CHANGED", "MINE=1"]})),
        case("variables with signs", r#"--env 'A=$HOME "quoted" \ back' --env 'B=über'"#),
    ]
}

fn health() -> Vec<Case> {
    vec![
        case("no health check", "--no-healthcheck"),
        case("no health check, image without one", "--no-healthcheck").of("bare"),
        case("a health check", "--health-cmd 'x -y' --health-interval 9s --health-retries 7"),
        case("only a health check's interval", "--health-interval 9s"),
        case("only a health check's time-out and start", "--health-timeout 8s --health-start-period 3s"),
        case("a health check where the image has none", "--health-cmd true").of("bare"),
        raw("a health check without a shell", json!({"Healthcheck": {"Test": ["CMD", "/app", "-x"]}})),
        case("a health check's interval kept though it is the image's", "--health-interval 5s")
            .keep("healthcheck.interval"),
    ]
}

fn networks() -> Vec<Case> {
    vec![
        case("the default network by name", "--network bridge"),
        case("a network", "--network {n1}"),
        case("a network by its id", "--network {n1id}"),
        case("a network, running", "--network {n1}").old(Old::Running).starts(),
        case("a network with aliases", "--network {n1} --network-alias one --network-alias two"),
        case("a network with aliases, running", "--network {n1} --network-alias one").old(Old::Running).starts(),
        case("an alias that is the hostname", "--network {n1} --network-alias same --hostname same").old(Old::Running),
        case("an alias that looks like an id", "--network {n1} --network-alias 0123456789ab"),
        case("two networks", "--network {n1}").connect("{n2}"),
        case("three networks with aliases, running", "--network {n2} --network-alias x")
            .connect("--alias y {n1}")
            .connect("--alias z --alias zz {n3}")
            .old(Old::Running)
            .starts(),
        case("a network beside the default one", "").connect("--alias beside {n1}"),
        case("the default network beside another", "--network {n1}").connect("bridge"),
        case("links in the default network", "--link {peer}:other --link {peer}"),
        case("links in a network", "--network {n1} --link {peer}:other"),
        case("links in a second network", "--network {n1}").connect("--link {peer}:db {n2}"),
        case("driver options of a second network", "--network {n1}").connect("--driver-opt a.b=c {n2}"),
        case("driver options of the network", "--network name={n1},driver-opt=a.b=c,alias=x"),
        case("the network of the host", "--network host"),
        case("the network of the host, running", "--network host --expose 4 --env PORT=0").old(Old::Running),
        case("the network of the host and a hostname", "--network host --hostname mine"),
        case("no network", "--network none"),
        case("no network, running", "--network none").old(Old::Running).starts(),
        case("a network without a way out", "--network {inner} --network-alias hidden").old(Old::Running),
        raw("a network that is off", json!({"NetworkDisabled": true})).until((1, 43)),
    ]
}

fn addresses() -> Vec<Case> {
    let ip = |address: &str| json!({"IPAMConfig": {"IPv4Address": address}});
    vec![
        case("a static address", "--network {n1} --ip 10.231.1.77"),
        case("a static address, running", "--network {n1} --ip 10.231.1.78").old(Old::Running).starts(),
        case("a static address in the second network", "--network {n1}").connect("--ip 10.231.2.77 {n2}"),
        case("static addresses everywhere, running", "--network {n1} --ip 10.231.1.79")
            .connect("--ip 10.231.2.79 {n2}")
            .old(Old::Running)
            .starts(),
        case("an address of the sixth version", "--network {six} --ip6 fd00:231::77"),
        case("a link-local address", "--network {n1} --link-local-ip 169.254.8.8"),
        raw("a hardware address", json!({"MacAddress": "02:42:aa:bb:cc:01"})).until((1, 51)),
        raw(
            "a hardware address in a network",
            json!({"MacAddress": "02:42:aa:bb:cc:02", "HostConfig": {"NetworkMode": "{n1}"}}),
        )
        .until((1, 51))
        .old(Old::Running)
        .starts(),
        raw(
            "a hardware and a static address",
            json!({
                "MacAddress": "02:42:aa:bb:cc:03", "HostConfig": {"NetworkMode": "{n1}"},
                "NetworkingConfig": {"EndpointsConfig": {"{n1}": ip("10.231.1.80")}},
            }),
        )
        .until((1, 51)),
        case("no hardware address though one is shown, running", "--network {n1}").connect("{n2}").old(Old::Running),
        case("hostname and domain", "--hostname mine --domainname example.org"),
        case("a hostname with a domain", "--hostname mine.example.org"),
        case("a hostname of a few hex letters", "--hostname db"),
        case("name servers", "--dns 10.9.8.7 --dns-search a.example --dns-option ndots:3"),
        case("further hosts", "--add-host a:10.0.0.1 --add-host b:10.0.0.2"),
    ]
}

fn namespaces() -> Vec<Case> {
    vec![
        case("another container's network", "--network container:{peer}"),
        case("another container's network, running", "--network container:{peer} --env PORT=0")
            .old(Old::Running)
            .starts(),
        case("another container's shared memory", "--ipc container:{peer}").old(Old::Running).starts(),
        case("another container's processes", "--pid container:{peer}").old(Old::Running).starts(),
        case(
            "another container's everything",
            "--pid container:{peer} --ipc container:{peer} --network container:{peer}",
        ),
        case("another container's volumes", "--volumes-from {peer}"),
        case("another container's volumes, to read", "--volumes-from {peer}:ro"),
        case("another container's volumes where the image has one too", "--volumes-from {source}"),
        case("shared memory to be shared", "--ipc shareable"),
        case("shared memory of the host", "--ipc host"),
        case("no shared memory", "--ipc none"),
        case("processes of the host", "--pid host"),
        case("hostname of the host", "--uts host"),
        case("users of the host", "--userns host"),
        case("a cgroup namespace of its own", "--cgroupns private"),
        case("the host's cgroup namespace", "--cgroupns host"),
    ]
}

fn ports() -> Vec<Case> {
    vec![
        case("a port", "--publish 18080:8080"),
        case("a port that the engine chooses", "--publish 8080"),
        case("a port that the engine chooses, running", "--publish 8080").old(Old::Running).starts(),
        case("a port of one address", "--publish 127.0.0.1:18081:81/udp"),
        case("a port that the engine chooses, of one address", "--publish 127.0.0.1::82").old(Old::Running),
        case("a range of ports", "--publish 18100-18103:9100-9103"),
        case("a range to choose from", "--publish 18200-18210:9200"),
        case("a port published twice", "--publish 18300:93 --publish 127.0.0.1:18301:93"),
        case("all ports", "--publish-all"),
        case("all ports, running", "--publish-all --expose 44").old(Old::Running),
        case("a port that only the old image exposes", "--publish 18400:7070"),
        case("a port that only the new image exposes", "--publish 18401:9090"),
        case("a port of SCTP", "--publish 18402:3868/sctp"),
    ]
}

fn mounts(world: &World) -> Vec<Case> {
    let dir = world.dir.display();
    vec![
        case("a directory", &format!("--volume {dir}:/mine")),
        case("a directory to read", &format!("--volume {dir}:/mine:ro")),
        case("a directory with propagation", &format!("--volume {dir}:/mine:rslave")),
        case("a directory with a shared label", &format!("--volume {dir}:/mine:z")),
        case("a directory with a label of its own", &format!("--volume {dir}:/mine:Z,ro")),
        case("a directory with consistency", &format!("--volume {dir}:/mine:cached")),
        case("a directory over the image's volume", &format!("--volume {dir}:/data")),
        case("a file", &format!("--volume {dir}/file:/etc/mine.conf:ro")),
        case("a volume", "--volume {v1}:/mine"),
        case("a volume to read, not filled", "--volume {v1}:/seed:ro,nocopy"),
        case("a volume over the image's volume", "--volume {v1}:/data"),
        case("two places of one volume", "--volume {v1}:/a --volume {v1}:/b"),
        case("a memory disk", "--tmpfs /tt"),
        case("a memory disk with options", "--tmpfs /tt:size=1m,mode=700,uid=5,noexec"),
        case("a memory disk over the image's volume", "--tmpfs /data"),
        case("mount: a directory", &format!("--mount type=bind,src={dir},dst=/mine,readonly,bind-propagation=rslave")),
        case("mount: a volume", "--mount type=volume,src={v1},dst=/mine,readonly,volume-nocopy"),
        case("mount: a volume over the image's volume", "--mount type=volume,src={v1},dst=/data"),
        case(
            "mount: a volume with driver options and labels",
            &format!(
                "--mount type=volume,src={},dst=/mine,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-label=a=b",
                world.name("v9")
            ),
        ),
        case("mount: a memory disk", "--mount type=tmpfs,dst=/tt,tmpfs-size=1000000,tmpfs-mode=700"),
        case(
            "mounts in every form",
            &format!(
                "-v {dir}:/a:ro -v {{v1}}:/b --tmpfs /c --mount type=volume,src={{v2}},dst=/d --mount type=bind,src={dir},dst=/e"
            ),
        ),
        case("a volume driver", "--volume-driver local --volume {v1}:/mine"),
    ]
}

fn anonymous(world: &World) -> Vec<Case> {
    let dir = world.dir.display();
    vec![
        case("the image's volume, written to", "").old(Old::Running).starts(),
        case("a volume without a name", "--volume /mine"),
        case("a volume without a name, running", "--volume /mine --volume /mine2").old(Old::Running).starts(),
        case("a volume without a name where only the old image has one", "--volume /gone").keep("volumes./gone"),
        case("a volume without a name beside one with", "--volume /mine --volume {v1}:/other"),
        case("mount: a volume without a name", "--mount type=volume,dst=/mine"),
        case("mount: a volume without a name over the image's", "--mount type=volume,dst=/data,volume-nocopy"),
        case("a volume without a name inside a directory", &format!("--volume {dir}:/mine --volume /mine/sub")),
        raw("a path among the binds", json!({"HostConfig": {"Binds": ["/mine"]}})),
        raw("a volume with a slash too many", json!({"Volumes": {"/mine/": {}}})),
    ]
}

fn limits() -> Vec<Case> {
    vec![
        case("memory", "--memory 64m"),
        case("memory and swap", "--memory 64m --memory-swap 96m"),
        case("memory and twice that with swap", "--memory 64m --memory-swap 128m"),
        case("memory and no end of swap", "--memory 64m --memory-swap -1"),
        case("memory reserved", "--memory 64m --memory-reservation 32m"),
        case("no swappiness", "--memory 64m --memory-swappiness 0"),
        case("not to be killed for memory", "--memory 64m --oom-kill-disable"),
        case("to be killed first", "--oom-score-adj 500"),
        case("processors", "--cpus 0.5"),
        case("processor shares and sets", "--cpu-shares 512 --cpuset-cpus 0 --cpuset-mems 0"),
        case("processor period and quota", "--cpu-period 50000 --cpu-quota 25000"),
        case("processes", "--pids-limit 50"),
        case("no end of processes", "--pids-limit -1"),
        case("limits of users", "--ulimit nofile=1024:2048 --ulimit core=0"),
        case("shared memory", "--shm-size 128m"),
        case("shared memory as it is by default", "--shm-size 64m"),
        case(
            "block input and output",
            "--blkio-weight 300 --device-read-bps /dev/zero:1mb --device-write-iops /dev/zero:9",
        ),
        case("a parent among cgroups", "--cgroup-parent /tagboat-test"),
    ]
}

fn security() -> Vec<Case> {
    vec![
        case("privileged", "--privileged"),
        case("privileged, with more said", "--privileged --cap-drop NET_RAW --security-opt seccomp=unconfined"),
        case("capabilities", "--cap-add NET_ADMIN --cap-add cap_sys_time --cap-drop MKNOD"),
        case("all capabilities and none", "--cap-drop ALL --cap-add CHOWN"),
        case("no new privileges", "--security-opt no-new-privileges"),
        case("no seccomp, no AppArmor", "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"),
        case("no labels", "--security-opt label=disable"),
        case("a label's type and level", "--security-opt label=type:mine_t --security-opt label=level:s0:c1,c2"),
        case("no hidden paths", "--security-opt systempaths=unconfined"),
        case("a root that can't be written", "--read-only --tmpfs /tmp"),
        case("further groups", "--group-add 44 --group-add 45"),
        case("the host's processes and memory", "--pid host --ipc host"),
        case("the host's processes, no labels", "--pid host --security-opt label=disable"),
        raw(
            "hidden paths of its own",
            json!({"HostConfig": {"MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/bus"]}}),
        ),
    ]
}
