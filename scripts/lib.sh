# Set-up that scripts/test and scripts/demo share. Sourced, not run.
# Everything that is there already is used; everything that is started is ended by `cleanup`.

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf '\033[1;31merror:\033[0m %s\n' "$*" >&2; exit 1; }

# Processes that we started, in order; ended by their ids, the last one first.
started=()

cleanup() {
    local i
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        kill "${started[i]}" 2>/dev/null || continue
        for _ in $(seq 100); do
            kill -0 "${started[i]}" 2>/dev/null || break
            sleep 0.1
        done
    done
    started=()
    # What a Docker daemon of ours has mounted would keep the directory from being removed.
    if [[ -n ${work:-} ]]; then
        grep -o " $work/[^ ]*" /proc/mounts | sort -r | xargs -r umount -l || true
    fi
}

# packages PROGRAM=PACKAGE ...: installs the packages whose programs are missing.
packages() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}; install them (this script knows only apt-get)"
    ((EUID == 0)) || fail "missing: ${missing[*]}; install them, or run this as root"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # The packages' own services are not wanted: each run has private ones.
    local policy=/usr/sbin/policy-rc.d made=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made=1
    fi
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null ||
        { [[ -z $made ]] || rm -f "$policy"; fail "apt-get could not install ${missing[*]}"; }
    [[ -z $made ]] || rm -f "$policy"
}

# The Rust toolchain of rust-toolchain.toml, with the target for static programs.
toolchain() {
    [[ -x $HOME/.cargo/bin/cargo ]] && PATH=$HOME/.cargo/bin:$PATH
    if ! command -v cargo >/dev/null; then
        packages curl=curl
        say "installing the Rust toolchain"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path >/dev/null ||
            fail "rustup could not be installed; install Rust yourself and start again"
        PATH=$HOME/.cargo/bin:$PATH
    fi
    target=$(uname -m)-unknown-linux-musl
    if command -v rustup >/dev/null; then
        (cd "$root" && rustup show active-toolchain >/dev/null 2>&1) || (cd "$root" && rustup toolchain install >/dev/null)
        (cd "$root" && rustup target list --installed | grep -qx "$target") ||
            (cd "$root" && rustup target add "$target" >/dev/null) || fail "rustup could not add the target $target"
    fi
}

free_port() {
    local port
    while :; do
        port=$((RANDOM % 20000 + 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# wait_until SECONDS WHAT COMMAND...
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "not in time: $what"
        sleep 0.1
    done
}

# The newest dockerd and runc, built from source once and kept: no Debian package is as new.
newest_engine() {
    local dir=${XDG_CACHE_HOME:-$HOME/.cache}/tagboat/engine
    if [[ ! -x $dir/dockerd || ! -x $dir/docker-proxy || ! -x $dir/runc ]]; then
        command -v go >/dev/null || fail "the newest engine is built from source: install Go 1.25 or newer (https://go.dev/dl)"
        packages cc=gcc
        say "building dockerd, docker-proxy and runc from source into $dir (about ten minutes)"
        mkdir -p "$dir"
        GOBIN=$dir go install github.com/moby/moby/v2/cmd/dockerd@latest
        GOBIN=$dir go install github.com/moby/moby/v2/cmd/docker-proxy@latest
        GOBIN=$dir go install github.com/opencontainers/runc@latest
    fi
    say "using $("$dir/dockerd" --version) with $("$dir/runc" --version | head -1)"
    export TAGBOAT_TEST_ENGINE=$dir
}

# A registry that Debian has no package of, for the tests: distribution 3 is built from source once and kept; zot is whoever's
# it is.
other_registry() {
    local dir=${XDG_CACHE_HOME:-$HOME/.cache}/tagboat/registry/$1
    case $1 in
    distribution-v3)
        TAGBOAT_TEST_REGISTRY=$dir/registry
        if [[ ! -x $TAGBOAT_TEST_REGISTRY ]]; then
            command -v go >/dev/null || fail "distribution 3 is built from source: install Go 1.26 or newer (https://go.dev/dl)"
            say "building distribution's registry from source into $dir (a few minutes)"
            mkdir -p "$dir"
            GOBIN=$dir go install github.com/distribution/distribution/v3/cmd/registry@latest
        fi
        ;;
    zot)
        TAGBOAT_TEST_REGISTRY=$(command -v zot) ||
            fail "there is no \`zot\` in your PATH: install one that has the extension events (https://zotregistry.dev)"
        ;;
    esac
    say "using $TAGBOAT_TEST_REGISTRY"
    export TAGBOAT_TEST_REGISTRY
}

# A Docker daemon: the one that answers, or a private one below $work.
engine() {
    if [[ -z ${DOCKER_HOST:-} ]] && docker version >/dev/null 2>&1; then
        say "using the Docker daemon that runs here"
        export DOCKER_HOST=unix:///var/run/docker.sock
        return
    fi
    if [[ -n ${DOCKER_HOST:-} ]]; then
        docker version >/dev/null 2>&1 || fail "DOCKER_HOST is $DOCKER_HOST, and nothing answers there"
        return
    fi
    ((EUID == 0)) || fail "no Docker daemon answers, and only root can start a private one"
    say "starting a private Docker daemon"
    bridge=tagboat-demo0
    # An address of its own: otherwise the bridge takes that of one of its containers, and when that container goes, the
    # others send to nobody for seconds.
    ip link add "$bridge" address 02:42:0a:d6:00:01 type bridge 2>/dev/null || true
    ip addr replace 10.214.0.1/16 dev "$bridge"
    ip link set "$bridge" up
    export DOCKER_HOST=unix://$work/docker.sock
    dockerd -H "$DOCKER_HOST" --data-root "$work/docker" --exec-root "$work/docker-exec" --pidfile "$work/docker.pid" \
        --bridge "$bridge" --iptables=false --ip-masq=false --userland-proxy=false --log-level warn >"$work/dockerd.log" 2>&1 &
    started+=($!)
    wait_until 60 "the Docker daemon answers (see $work/dockerd.log)" docker version
}
