#!/bin/sh
# Makes .venv and installs the packages of one lock file into it, then Signalbox itself, editable.
# Does nothing when that was done before for the same lock file, pyproject.toml and Python.
# usage: scripts/setup.sh requirements.lock|requirements-dev.lock      (PYTHON=… chooses the interpreter)
set -eu
cd "$(dirname "$0")/.."
lock=$1
stamp=.venv/.installed

say() { printf '%s\n' "$*" >&2; }

suits() { # is $1 a CPython that will do?
    "$1" -c 'import platform, sys; sys.exit(sys.version_info < (3, 11) or platform.python_implementation() != "CPython")' \
        >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
        if suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    say "Signalbox needs CPython 3.11 or newer: install python3, or say PYTHON=/path/to/python3."
    exit 1
}

make_venv() {
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        # Debian keeps these two in a package of their own
        scripts/debian-packages.sh "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    fi
    say "Making .venv with $("$python" --version) …"
    rm -rf .venv
    "$python" -m venv .venv
}

# the development lock holds everything of the other one
wanted() { cat "$1" pyproject.toml | sha256sum | cut -d ' ' -f 1; }

suits .venv/bin/python || make_venv
if [ -f "$stamp" ]; then
    for file in "$lock" requirements-dev.lock; do
        grep -qx "$(wanted "$file")" "$stamp" && exit 0
    done
fi
say "Installing $lock …"
rm -f "$stamp"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
# Compiled once, here: compiling at a start costs each process a second and 20 MB, wherever Python may not write beside
# the sources or is told not to.
.venv/bin/python -m compileall -q -j 0 .venv/lib libs services >/dev/null || true
wanted "$lock" >"$stamp"
