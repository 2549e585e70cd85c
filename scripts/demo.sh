#!/usr/bin/env bash
# demo.sh start: starts a local server with sample files and mounts it at ./mnt. demo.sh stop: ends both.
# Everything it creates lies in .run/ (the server's files, the mount's state and its log) and in mnt/.
set -euo pipefail
cd "$(dirname "$0")/.."
remotefs=.venv/bin/remotefs
mnt=mnt
server=.run/server
state=.run/state
samples=scripts/samples

# Asks the mount's process, and so distinguishes a mount that answers from a dead one, where `mountpoint` fails.
answers() { [ -x "$remotefs" ] && "$remotefs" status "$mnt" >/dev/null 2>&1; }
# The kernel writes a blank in a path as a backslash and 040.
mounted() { grep -qF " $(pwd -P | sed 's/ /\\040/g')/$mnt fuse" /proc/self/mounts; }

# once NAME COMMAND...: runs the command unless it has already run for this server.
once() {
    [ ! -e "$server/.$1" ] || return 0
    "${@:2}" >/dev/null
    touch "$server/.$1"
}

start() {
    if answers; then
        echo "already running"
    else
        # While a dead mount covers the folder, mkdir and even stat fail; mounting repairs that.
        mounted || mkdir -p "$mnt"
        mkdir -p .run
        once generated "$remotefs" generate --root "$server" "$samples"/generated/*
        "$remotefs" mount "$mnt" --local --local-root "$server" --state-dir "$state"
        once uploaded cp -r "$samples"/uploads/. "$mnt"/
    fi
    ls -lR "$mnt"
    cat <<END

mounted:   at $mnt; try  cp README.md $mnt/ && $remotefs id $mnt/README.md
server:    $(sed -E 's/.*"url":"([^"]*)".*/\1/' "$server/server.json"), key in $server/api-key
status:    $remotefs status $mnt
log:       $state/log/remotefs.log
stop:      make stop
END
}

stop() {
    if ! mounted; then
        echo "not running"
    elif [ -x "$remotefs" ]; then
        "$remotefs" umount "$mnt"
    else
        fusermount3 -uz "$mnt"
    fi
    [ ! -d "$mnt" ] || rmdir --ignore-fail-on-non-empty "$mnt"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    *)
        echo "usage: $0 start|stop" >&2
        exit 2
        ;;
esac
