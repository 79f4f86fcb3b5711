//! What is rare: devices, states, what only newer engines have.

use super::*;

pub(super) fn devices() -> Vec<Case> {
    vec![
        case("a device", "--device /dev/null:/dev/mine:r"),
        case("devices", "--device /dev/null --device /dev/zero:/dev/other"),
        case("rules of devices", "--device-cgroup-rule 'c 1:3 rwm' --device-cgroup-rule 'b 7:* r'"),
        case("all GPUs", "--gpus all"),
        case("some GPUs", "--gpus '\"device=0,1\",\"capabilities=compute,utility\"'"),
    ]
}

pub(super) fn the_rest() -> Vec<Case> {
    vec![
        case("restarted always", "--restart always"),
        case("restarted unless stopped", "--restart unless-stopped"),
        case("restarted some times", "--restart on-failure:3"),
        case("removed at its end", "--rm"),
        case("removed at its end, with a volume", "--rm --volume /mine").old(Old::Running),
        case("a terminal", "--tty --interactive"),
        case("attached", "--attach stdin --attach stdout --interactive"),
        case("an init process", "--init"),
        case("a runtime said", "--runtime runc"),
        case("logs with options", "--log-opt max-size=1m --log-opt max-file=3"),
        case("logs to nowhere", "--log-driver none"),
        case("logs to another driver", "--log-driver local --log-opt max-size=2m"),
        case("the log driver of the daemon said", "--log-driver json-file"),
        case("kernel parameters", "--sysctl net.ipv4.ip_forward=1 --sysctl net.core.somaxconn=99"),
        raw("annotations that the engine may not know", json!({"HostConfig": {"Annotations": {"a": "b"}}})),
        case("labels of compose", "--label com.docker.compose.project=p --label com.docker.compose.service=s --label com.docker.compose.config-hash=abc --label com.docker.compose.container-number=1 --label com.docker.compose.oneoff=False"),
        case("the label of compose for the image", "--label com.docker.compose.project=p --label com.docker.compose.image={image} --label com.docker.compose.version=2.29.0"),
        case("everything at once", "--env A=1 --user 5 --workdir /x --network {n1} --network-alias al --ip 10.231.1.90 -p 18500:8080 -v /mine -v {v1}:/v:ro --tmpfs /t --memory 64m --cpus 1 --restart always --cap-add SYS_TIME --init --label a=b --health-interval 3s --hostname h1 --dns 1.1.1.1 --ulimit nofile=9:10 --log-opt max-size=1m --stop-timeout 3 --read-only --sysctl net.core.somaxconn=99")
            .connect("--alias second --ip 10.231.2.90 {n2}").command("run it"),
    ]
}

pub(super) fn states() -> Vec<Case> {
    vec![
        case("created", ""),
        case("running", "--env A=1").old(Old::Running).starts(),
        case("paused", "--env A=1").old(Old::Paused).starts(),
        case("ended", "--env A=1 --network {n1} --network-alias al").old(Old::Exited),
        case("ended, with a static address", "--network {n1} --ip 10.231.1.91").connect("{n2}").old(Old::Exited),
        case("ended, to be restarted", "--restart unless-stopped").old(Old::Exited),
    ]
}

/// What engines after 20.10 know.
pub(super) fn newer() -> Vec<Case> {
    vec![
        case("two networks at once", "--network name={n1},alias=x,ip=10.231.1.92 --network name={n2},alias=y").since((1, 44)),
        case("hardware addresses at once", "--network name={n1},mac-address=02:42:aa:bb:cc:10 --network name={n2},mac-address=02:42:aa:bb:cc:11").since((1, 44)),
        case("a hardware address of the default network", "--mac-address 02:42:aa:bb:cc:12").since((1, 44)),
        case("a hardware address, running", "--network {n1} --mac-address 02:42:aa:bb:cc:13").since((1, 44)).old(Old::Running).starts(),
        case("a health check's interval at the start", "--health-start-interval 2s --health-start-period 9s").since((1, 44)),
        case("annotations", "--annotation a=b --annotation c.d=e").since((1, 43)),
        case("a part of a volume", "--mount type=volume,src={v1},dst=/mine,volume-subpath=sub").since((1, 45)),
        case("a directory not read-only below", "--mount type=bind,src=/tmp,dst=/mine,readonly,bind-recursive=writable").since((1, 44)),
        case("priority of gateways", "--network name={n1},gw-priority=5 --network name={n2},gw-priority=9").since((1, 48)),
        case("parameters of an interface", "--network name={n1},driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1").since((1, 46)),
        case("an image as a mount", "--mount type=image,src=full:v1,dst=/mine").since((1, 48)),
        raw("a parameter of the first interface", json!({"HostConfig": {"NetworkMode": "{n1}", "Sysctls": {"net.ipv4.conf.eth0.log_martians": "1"}}})).since((1, 41)).until((1, 47)),
        raw("an alias in the default network", json!({"HostConfig": {"NetworkMode": "bridge"}, "NetworkingConfig": {"EndpointsConfig": {"bridge": {"GwPriority": 3}}}})).since((1, 48)),
    ]
}
