#!/usr/bin/env bash
# root.sh SUITE ROOT FOLDER COMMAND...: runs a command in a root of a Debian release, as a fresh machine would.
# ROOT is made by debootstrap where it is not there, from the mirror that this machine uses; FOLDER is shown as /given.
# The root has mounts, processes and /tmp of its own, which end with the command; /dev and the network are this machine's.
set -euo pipefail
suite=$1 root=$2 given=$3
shift 3
if [ ! -e "$root/.made" ]; then
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
        sed -nE 's/^URIs: *(\S+).*/\1/p; s/^deb +(\[[^]]*\] +)?(\S+).*/\2/p' | sed -n '/\/debian\/*$/{p;q}') || true
    rm -rf "$root"
    mkdir -p "$root"
    # What a machine has on which somebody develops; remotefs itself installs the rest.
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3 "$suite" "$root" "$mirror" >"$root.log"
    mkdir "$root/given"
    touch "$root/.made"
fi
# The machine's own way to the network: its resolver, its certificates, and the settings of apt and pip.
for path in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/apt/apt.conf.d/*proxy*; do
    [ ! -f "$path" ] || install -D -m 644 "$path" "$root$path"
done
export root given
# shellcheck disable=SC2016
exec unshare --mount --propagation private --pid --fork --kill-child bash -euc '
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs tmpfs "$root/run"
    mount --bind "$given" "$root/given"
    exec chroot "$root" env -u PYTHONPATH -u PYTHONHOME PIP_FIND_LINKS= HOME=/root LC_ALL=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"' bash "$@"
