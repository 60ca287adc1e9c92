#!/bin/sh
# Writes what is made from the code: pages under docs/, and the command line's grammar.
set -eu
cd "$(dirname "$0")/.."
made() {
    file=$1
    shift
    .venv/bin/python -m "$@" >"$file.new"
    mv "$file.new" "$file"
}
made docs/commands.md stackctl.cli.reference
made docs/stack-file.md stackctl.spec.reference
made stackctl/cli/grammar.json stackctl.cli.reference grammar
