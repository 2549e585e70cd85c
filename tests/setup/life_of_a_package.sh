# Runs as root in a fresh root of Debian (scripts/root.sh), with the repository at /given/remotefs.git.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
cd /root
apt-get update -qq

echo "== a clone and one command"
rm -rf clone && git clone --quiet /given/remotefs.git clone && cd clone
make run >/tmp/run.log 2>&1 || { cat /tmp/run.log; exit 1; }
grep "This folder is a mount of remotefs" mnt/welcome.txt
make stop

echo "== the package"
make deb >/tmp/deb.log 2>&1 || { cat /tmp/deb.log; exit 1; }
package=$(ls dist/remotefs_*.deb)
cd /
apt-get install -y -qq --no-install-recommends "/root/clone/$package" >/dev/null
command -v remotefs
remotefs --version
dpkg --verify remotefs
files=$(dpkg -L remotefs | sort)

echo "== a mount"
mkdir -p /mnt/files
remotefs mount /mnt/files --local --local-root /root/service --state-dir /root/state
echo "some words" >/mnt/files/a
[ "$(cat /mnt/files/a)" = "some words" ]
remotefs id /mnt/files/a
[ "$(find /usr/lib/remotefs -newer /root/clone/"$package" -type f)" = "" ]

if [ -e /usr/sbin/mount.fuse.remotefs ]; then
    echo "== a line of fstab"
    # The key and the service of the running mount, as another machine would have them.
    mkdir -p /mnt/boot
    url=$(sed -E 's/.*"url": ?"([^"]*)".*/\1/' /root/service/server.json)
    install -m 600 /root/service/api-key /root/key
    mkdir -p /root/.config/remotefs
    printf '[service]\nbase_url = "%s"\napi_key = "%s"\n' "$url" "$(cat /root/key)" >/root/.config/remotefs/config.toml
    chmod 600 /root/.config/remotefs/config.toml
    echo "$url /mnt/boot fuse.remotefs state_dir=/root/state-boot,config=/root/.config/remotefs/config.toml,_netdev,nofail 0 0" >>/etc/fstab
    said=$(mount -a 2>&1)
    [ "$said" = "" ]
    [ "$(cat /mnt/boot/a)" = "some words" ]
    umount /mnt/boot
    sed -i '/fuse.remotefs/d' /etc/fstab
    rm -rf /root/.config/remotefs /root/key /root/state-boot
fi

echo "== removed under the mount"
pid=$(remotefs status /mnt/files --json | python3 -c 'import json, sys; print(json.loads(sys.stdin.read().strip().splitlines()[0])["pid"])')
apt-get remove -y -qq remotefs >/dev/null
[ ! -e /usr/lib/remotefs ]
echo "more words" >>/mnt/files/a
echo "a new file" >/mnt/files/b
[ "$(cat /mnt/files/a)" = "$(printf 'some words\nmore words')" ]
mkdir /mnt/files/d && mv /mnt/files/b /mnt/files/d/c && ls -lR /mnt/files >/dev/null
fusermount3 -u /mnt/files
while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done

echo "== installed again, and purged"
apt-get install -y -qq --no-install-recommends "/root/clone/$package" >/dev/null
remotefs mount /mnt/files --local --local-root /root/service --state-dir /root/state
[ "$(cat /mnt/files/d/c)" = "a new file" ]
# The same package in the place of itself, as an upgrade unpacks its files.
dpkg -i "/root/clone/$package" | grep "running mounts go on with the version that started them"
[ "$(cat /mnt/files/a)" = "$(printf 'some words\nmore words')" ]
remotefs check /mnt/files
remotefs umount /mnt/files
apt-get purge -y -qq remotefs | grep "may hold the only copies of files"
for path in $files; do
    case $path in /. | /usr | /usr/bin | /usr/sbin | /usr/lib | /usr/share | /usr/share/doc | /usr/share/lintian* | /usr/share/man*) ;;
        *) [ ! -e "$path" ] || { echo "left behind: $path"; exit 1; } ;;
    esac
done
[ -e /root/state/state.db ]
rm -rf /root/clone /root/service /root/state /mnt/files
echo "all is well"
