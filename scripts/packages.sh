#!/bin/sh
# System packages, by apt, without starting what they bring.
#
#   scripts/packages.sh tests             what the tests drive, if missing
#   scripts/packages.sh install NAME...   these, if missing
#
# As root with apt-get it installs; otherwise it says what to install and
# fails. Services that Debian would start on installation are not started: a
# policy-rc.d that denies it is put in place for the time of the installation.
set -eu

say() { printf '%s\n' "packages: $*" >&2; }

# nftables, iproute2: the tests' oracles. busybox-static: hostile and tiny roots.
# buildah: the same Dockerfiles beside us. openssh-client, git: agents and repositories of builds.
# docker.io, docker-compose: the clients against our socket; dockerd as a neighbour.
# firewalld, dbus, ufw: other neighbours. zsh, fish: their completion.
# binutils-*: what the init of containers is made of, assembled again.
# The others are what the example stacks run.
tests="nftables iproute2 busybox-static curl nginx redis-server postgresql python3-psycopg2 python3-redis docker-registry skopeo mmdebstrap docker.io docker-compose buildah openssh-client git firewalld dbus ufw zsh fish binutils-x86-64-linux-gnu binutils-aarch64-linux-gnu"

case "${1:-}" in
    tests) wanted=$tests ;;
    install) shift; wanted=$* ;;
    *) say "usage: packages.sh tests | install NAME..."; exit 2 ;;
esac

is_there() {
    case "$1" in
        # Any flavour of nginx will do.
        nginx) [ -x /usr/sbin/nginx ] ;;
        *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}

if ! command -v dpkg-query >/dev/null 2>&1; then
    say "this is not a Debian system: install by its own means what these are: $wanted"
    exit 0
fi

missing=""
for name in $wanted; do
    is_there "$name" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    say "missing:$missing"
    say "install them:   sudo apt-get install --no-install-recommends$missing"
    exit 1
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\n# stackctl, while it installs packages: start no service.\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

say "installing$missing"
export DEBIAN_FRONTEND=noninteractive
# A fresh image has no lists at all, an old one lists versions that are gone.
# shellcheck disable=SC2086
apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends $missing >/dev/null
}
