#!/bin/sh
# Installs the named Debian packages that are missing, as root or through a sudo that asks nothing; else says what to install.
# A service that comes with a package is not started, not at the next boot either. A program of the package's name
# counts as the package.
# usage: scripts/debian-packages.sh rabbitmq-server wrk
set -eu

missing=
for name in "$@"; do
    if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$name" >/dev/null 2>&1 &&
        ! dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$'; then
        missing="$missing $name"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    printf 'Please install:%s\n' "$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    # shellcheck disable=SC2086  # names of packages, one word each
    if sudo -n true 2>/dev/null; then exec sudo -n "$0" $missing; fi
    printf 'Please install, as root:  apt-get install%s\n' "$missing" >&2
    exit 1
fi

printf 'Installing Debian packages:%s …\n' "$missing" >&2
policy=/usr/sbin/policy-rc.d # Debian's way to say that no service may start now
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
log=$(mktemp)
# shellcheck disable=SC2086
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >"$log" 2>&1; }
if ! install && ! { apt-get update >"$log" 2>&1 && install; }; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    printf 'Please install, as root:  apt-get install%s\n' "$missing" >&2
    exit 1
fi
rm -f "$log"
if command -v systemctl >/dev/null 2>&1; then
    for name in $missing; do systemctl --quiet disable "$name" >/dev/null 2>&1 || true; done
fi
