#!/bin/sh
# Makes .venv in the project and installs stackctl into it.
#
#   scripts/setup.sh run    what `stackctl` needs
#   scripts/setup.sh dev    what the checks and tests need, too
#
# pip uses the machine's own configuration; nothing here names an index.
# PYTHON=/path/to/python chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
what=${1:-dev}
oldest="3.11"

say() { printf '%s\n' "setup: $*" >&2; }

is_new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$oldest'.split('.'))))" 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        path=$(command -v "$candidate" 2>/dev/null) || continue
        if is_new_enough "$path"; then
            printf '%s\n' "$path"
            return 0
        fi
    done
    return 1
}

if ! python=$(find_python); then
    if command -v python3 >/dev/null 2>&1; then
        say "stackctl needs Python $oldest or newer; this machine's python3 is $(python3 -c 'import platform; print(platform.python_version())')."
    else
        say "stackctl needs Python $oldest or newer; this machine has no python3."
    fi
    say "Debian 12 and Ubuntu 24.04 have one: apt-get install python3 python3-venv"
    say "On Ubuntu 22.04 (3.10) install a newer one beside it, for instance with 'uv python install 3.12',"
    say "and run: make setup PYTHON=/path/to/python3.12"
    exit 1
fi

# Debian splits venv's ensurepip into a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package="python$version-venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "$python has no venv module; installing $package"
        scripts/packages.sh install "$package" >&2
    else
        say "$python cannot make virtual environments: its venv module is missing."
        say "Install it, then run make again:   sudo apt-get install $package"
        exit 1
    fi
fi

if ! .venv/bin/python -c 'import pip' 2>/dev/null || ! is_new_enough .venv/bin/python; then
    "$python" -m venv --clear .venv
fi

case "$what" in
    run) wanted="." ;;
    dev) wanted=".[dev]" ;;
    *) say "unknown: $what (run or dev)"; exit 2 ;;
esac
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$wanted"
# As pip does with what it copies: where Python is told to write no byte code, each command would
# compile the modules that it imports.
.venv/bin/python -m compileall -q -j 0 stackctl
