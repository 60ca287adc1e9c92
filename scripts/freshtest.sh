#!/bin/sh
# README's first command on a machine that has nothing: a minimal Debian with python3 and
# make, no venv module, no container tools, in a virtual machine under software emulation.
#
#   scripts/freshtest.sh [suite] [work directory]    bookworm (the default), trixie...
#
# Needs root, qemu-system-x86, mmdebstrap, e2fsprogs, and a way to the package indexes. What
# is tried is what is committed. The console's text is written to docs/freshtest-SUITE.txt.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/scripts/vm.sh"
suite=${1:-bookworm}
work=${2:-$here/.vm/fresh-$suite}

vm_root "$work" "$suite" python3,make,ca-certificates,iproute2

inside="$work/root/root/stackctl"
rm -rf "$inside"
mkdir -p "$inside"
git -C "$here" archive HEAD | tar -xf - -C "$inside"
# The way to the indexes is this machine's: its certificates, its pip's and apt's settings.
for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [ ! -e "$file" ] || cp "$file" "$work/root$file"
done
# The emulated network's own addresses, see the manual of qemu's -nic user.
rm -f "$work/root/etc/resolv.conf"
echo nameserver 10.0.2.3 > "$work/root/etc/resolv.conf"

vm_runs "$work" /root/stackctl "\
link=\$\$(ls /sys/class/net | grep -v lo); ip link set \$\$link up; ip address add 10.0.2.15/24 dev \$\$link; \
ip route add default via 10.0.2.2; \
echo BEGIN; . /etc/os-release; echo \"\$\$PRETTY_NAME, Linux \$\$(uname -r), \$\$(python3 --version)\"; \
make demo > /tmp/demo 2>&1 && echo DEMO WORKED >> /tmp/demo; cat /tmp/demo; \
stackctl=/root/stackctl/.venv/bin/stackctl; \$\$stackctl doctor | cat; \
echo LEFT: \$\$(ls /sys/fs/cgroup | grep -c stackctl) groups, \$\$(ip -o link | grep -vc -e lo: -e en -e eth) links, \
\$\$(grep -c stackctl /proc/mounts) mounts; echo END"
vm_boot "$work" user | grep -aE --line-buffered '.' || true

{
    echo "The last run of scripts/freshtest.sh $suite (Debian under software emulation)."
    echo
    sed -n '/BEGIN$/,/^END$/p' "$work/console.log" | grep -avE '(BEGIN|^END)$'
} > "$here/docs/freshtest-$suite.txt"
grep -q 'DEMO WORKED' "$here/docs/freshtest-$suite.txt"
