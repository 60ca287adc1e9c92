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
. "$here/scripts/vm.sh"
work=${1:-$here/.vm}
tests=${VMTEST:-tests/integration/test_cgroups_kernel.py tests/integration/test_runtime_limits.py \
tests/integration/test_runtime_survival.py tests/integration/test_runtime_mounts.py}

vm_root "$work" bookworm python3,iproute2,nftables,procps,busybox-static

# The checkout, its virtual environment included, sits at the same path inside.
inside="$work/root$here"
rm -rf "$inside"
mkdir -p "$inside"
(cd "$here" && tar -cf - .venv stackctl tests pyproject.toml README.md) | tar -xf - -C "$inside"

vm_runs "$work" "$here" "echo BEGIN \$\$(uname -r); mount | grep cgroup; \
cat /sys/fs/cgroup/cgroup.controllers; \
.venv/bin/python -m pytest -n0 -vv --color=no --no-skips --timeout=900 -p no:cacheprovider $tests; echo END \$\$?"
vm_boot "$work" none | grep -aE 'BEGIN|END|PASSED|FAILED|ERROR|passed|failed' || true

{
    echo "The last run of \`make vmtest\` (cgroup v2 only, Debian under software emulation)."
    echo "Written by scripts/vmtest.sh."
    echo
    sed -n '/BEGIN/,/END/p' "$work/console.log" \
        | grep -aE 'BEGIN|^cgroup2|^cpu|PASSED|FAILED|ERROR|[0-9]+ (passed|failed)' \
        | sed 's/.*BEGIN /Linux /'
} > "$here/docs/vmtest.txt"
grep -qE '[0-9]+ passed' "$here/docs/vmtest.txt" && ! grep -qE 'FAILED|ERROR|[0-9]+ failed' "$here/docs/vmtest.txt"
