#!/bin/sh
# Writes the pages under docs/ that are made from the code.
set -eu
cd "$(dirname "$0")/.."
for page in cli:commands spec:stack-file; do
    .venv/bin/python -m "stackctl.${page%%:*}.reference" >"docs/${page##*:}.md.new"
    mv "docs/${page##*:}.md.new" "docs/${page##*:}.md"
done
