#!/bin/sh
# Brings an example stack up, shows it, fetches a page from it, takes it down.
# The engine is one of its own, in a temporary directory: nothing is left.
set -eu
cd "$(dirname "$0")/.."
here=$(pwd)

if [ "$(id -u)" != 0 ]; then
    echo "demo: stackctl makes namespaces, mounts and networks, which takes root." >&2
    echo "demo: run it again as root:   sudo make demo" >&2
    exit 1
fi

directory=$(mktemp -d /tmp/stackctl-demo-XXXXXX)
export STACKCTL_ROOT="$directory/root" STACKCTL_RUN="$directory/run"
PATH="$here/.venv/bin:$PATH"
port=${GATEWAY_PORT:-8103}
export GATEWAY_PORT="$port"
cd examples/stacks/gateway

say() { printf '\n$ %s\n' "$*"; }

clean_up() {
    code=$?
    trap - EXIT INT TERM
    [ "$code" = 0 ] || stackctl down -v --timeout 1 >/dev/null 2>&1 || true
    python "$here/scripts/leave.py" "$STACKCTL_RUN/engine.sock"
    rm -rf "$directory"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "cd examples/stacks/gateway"
say "stackctl up -d --wait"
stackctl up -d --wait
say "stackctl ps -a"
stackctl ps -a
say "stackctl logs reader"
stackctl logs reader
say "curl http://127.0.0.1:$port/"
python - "$port" <<'FETCH'
import sys, urllib.request
page = f"http://127.0.0.1:{sys.argv[1]}/"
try:
    print(urllib.request.urlopen(page, timeout=10).read().decode(), end="")
except OSError as error:
    sys.exit(f"demo: {page} cannot be fetched: {error}; `stackctl doctor` says what this machine can do")
FETCH
say "stackctl down -v"
stackctl down -v
