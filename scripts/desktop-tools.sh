#!/usr/bin/env bash
# Says which programs `make test-desktop` lacks, with the command that installs them. Silent when all are there.
set -euo pipefail

# program=Debian package
tools=(
    thunar=thunar pcmanfm=pcmanfm Xvfb=xvfb xdotool=xdotool openbox=openbox import=imagemagick xprop=x11-utils
    gdbus=libglib2.0-bin dbus-daemon=dbus-daemon xfconf-query=xfconf
)
missing=()
for tool in "${tools[@]}"; do
    command -v "${tool%%=*}" >/dev/null 2>&1 || missing+=("${tool#*=}")
done
has_file() { compgen -G "$1" >/dev/null || missing+=("$2"); }
has_file '/usr/share/dbus-1/services/org.xfce.Tumbler.Thumbnailer1.service' tumbler
has_file '/usr/share/dbus-1/services/org.gtk.vfs.Daemon.service' gvfs-daemons
has_file '/usr/lib/*/gio/modules/libgvfsdbus.so' gvfs
has_file '/usr/share/dbus-1/services/org.a11y.Bus.service' at-spi2-core
has_file '/usr/lib/*/gtk-2.0/modules/libatk-bridge.so' libatk-adaptor
has_file '/usr/lib/*/gtk-2.0/modules/libgail.so' libgail-common
has_file '/usr/lib/*/girepository-1.0/Atspi-2.0.typelib' gir1.2-atspi-2.0
has_file '/usr/share/icons/Adwaita/index.theme' adwaita-icon-theme
/usr/bin/python3 -c 'import gi' 2>/dev/null || missing+=(python3-gi)
[ "${#missing[@]}" -gt 0 ] || exit 0

echo "the tests on a desktop need programs that are missing; as root, run:" >&2
echo "    apt-get install -y --no-install-recommends ${missing[*]}" >&2
exit 1
