# Shared by the other scripts, which source it from the root of the clone.
# shellcheck shell=sh

TOOLS=$PWD/.tools
PATH=$TOOLS/bin:$PATH
export PATH

say() { printf '  %-10s %s\n' "$1" "$2"; }

# What cannot be done here is named together with the command that does it.
stop() {
    printf '\n  %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '      %s\n' "$2" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# A Mac has no timeout(1).
limit() {
    limit_seconds=$1
    shift
    "$@" &
    limit_pid=$!
    (
        sleep "$limit_seconds"
        kill "$limit_pid" 2>/dev/null
    ) >/dev/null 2>&1 &
    limit_timer=$!
    limit_rc=0
    wait "$limit_pid" || limit_rc=$?
    kill "$limit_timer" 2>/dev/null || :
    return "$limit_rc"
}

# Only here may anything be installed: root on Debian or one of its children.
may_install() { [ "$(id -u)" = 0 ] && have apt-get; }

# Lists that are missing or a release behind are fetched once, not always.
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "$@" >"$TOOLS/apt.log" 2>&1 && return
    apt-get update -qq >"$TOOLS/apt.log" 2>&1 || :
    apt-get install -qq -y --no-install-recommends "$@" >>"$TOOLS/apt.log" 2>&1 ||
        stop "apt-get could not install $*; its log:" "cat $TOOLS/apt.log"
}

# go_build DIRECTORY OUT PACKAGE [LDFLAGS]: a program, from the module in that directory. With the same flags for all,
# what several programs need is compiled once. What they save of a build from nothing:
# - A third: thousands of short compilations need no garbage collection, only a limit.
# - A tenth: what debuggers read is stripped anyway, and so not made.
# - Half of AWS's many generated functions, which are not inlined: they wait for the network.
go_build() {
    mkdir -p "$(dirname "$TOOLS/bin/$2")"
    (cd "$1" && GOGC=off GOMEMLIMIT=2GiB CGO_ENABLED=0 go build -trimpath -buildvcs=false -gcflags='all=-dwarf=false' \
        -gcflags='github.com/aws/aws-sdk-go-v2/...=-dwarf=false -l' -ldflags "-s -w ${4:-}" -o "$TOOLS/bin/$2.new" "$3")
    mv "$TOOLS/bin/$2.new" "$TOOLS/bin/$2"
}
