#!/bin/sh
# Renews the lock files: every package with its version and hashes, for every Python from 3.11 on, naming no index.
# Needs uv on the PATH; that is for whoever changes dependencies, nobody else.
set -eu
cd "$(dirname "$0")/.."

lock() { # file, extras
    file=$1
    shift
    uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate --output-file "$file" "$@" >/dev/null
}
lock requirements.lock --extra build --extra traces
lock requirements-dev.lock --extra build --extra traces --extra dev
