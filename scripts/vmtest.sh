#!/bin/sh
# The integration tests of limits, stats, pause and kill in a virtual machine whose control
# groups are version 2 only: Debian's kernel and systemd under software emulation.
#
#   scripts/vmtest.sh [work directory]     needs root, qemu-system-x86, mmdebstrap, e2fsprogs
#
# The root file system is made once and kept in the work directory. What the tests said is
# written to docs/vmtest.txt. Takes some minutes: no part of the ordinary tests.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
work=${1:-$here/.vm}
tests=${VMTEST:-tests/integration/test_cgroups_kernel.py tests/integration/test_runtime_limits.py \
tests/integration/test_runtime_survival.py tests/integration/test_runtime_mounts.py}
packages=linux-image-amd64,systemd-sysv,udev,python3,iproute2,nftables,procps,busybox-static,kmod

for program in qemu-system-x86_64 mmdebstrap mkfs.ext4; do
    command -v "$program" >/dev/null || {
        echo "vmtest needs $program: apt-get install qemu-system-x86 mmdebstrap e2fsprogs" >&2
        exit 1
    }
done

mkdir -p "$work"
if ! [ -d "$work/root/usr" ]; then
    mmdebstrap --variant=minbase --mode=root --include="$packages" bookworm "$work/root.new"
    mv "$work/root.new" "$work/root"
fi

# The checkout, its virtual environment included, sits at the same path inside.
inside="$work/root$here"
rm -rf "$inside"
mkdir -p "$inside"
(cd "$here" && tar -cf - .venv stackctl tests pyproject.toml README.md) | tar -xf - -C "$inside"

cat > "$work/root/etc/systemd/system/vmtest.service" <<UNIT
[Unit]
After=basic.target
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
StandardError=inherit
WorkingDirectory=$here
ExecStart=/bin/sh -c 'echo BEGIN \$\$(uname -r); mount | grep cgroup; \
cat /sys/fs/cgroup/cgroup.controllers; \
.venv/bin/python -m pytest -n0 -vv --color=no --no-skips --timeout=900 -p no:cacheprovider $tests; echo END \$\$?'
ExecStopPost=/bin/systemctl poweroff --force --force
UNIT
# A login prompt on the same line would hang up on the tests.
ln -sf /dev/null "$work/root/etc/systemd/system/serial-getty@ttyS0.service"
mkdir -p "$work/root/etc/systemd/system/multi-user.target.wants"
ln -sf ../vmtest.service "$work/root/etc/systemd/system/multi-user.target.wants/vmtest.service"

rm -f "$work/disk.img"
truncate -s 3G "$work/disk.img"
mkfs.ext4 -q -d "$work/root" "$work/disk.img"

timeout "${VMTEST_LIMIT:-3600}" qemu-system-x86_64 \
    -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nographic -no-reboot -nic none \
    -drive file="$work/disk.img",format=raw,if=virtio,cache=unsafe \
    -kernel "$(echo "$work"/root/boot/vmlinuz-*)" -initrd "$(echo "$work"/root/boot/initrd.img-*)" \
    -append "root=/dev/vda rw console=ttyS0 quiet loglevel=1 systemd.unified_cgroup_hierarchy=1 panic=-1" \
    < /dev/null | tee "$work/console.log" | tr -d '\r' | grep -aE 'BEGIN|END|PASSED|FAILED|ERROR|passed|failed' || true

{
    echo "The last run of \`make vmtest\` (cgroup v2 only, Debian under software emulation)."
    echo "Written by scripts/vmtest.sh."
    echo
    tr -d '\r' < "$work/console.log" | sed -n '/BEGIN/,/END/p' \
        | grep -aE 'BEGIN|^cgroup2|^cpu|PASSED|FAILED|ERROR|[0-9]+ (passed|failed)' \
        | sed 's/.*BEGIN /Linux /'
} > "$here/docs/vmtest.txt"
grep -qE '[0-9]+ passed' "$here/docs/vmtest.txt" && ! grep -qE 'FAILED|ERROR|[0-9]+ failed' "$here/docs/vmtest.txt"
