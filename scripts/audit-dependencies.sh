#!/bin/sh
# Asks for known vulnerabilities of what requirements.lock names. Fails for one that is known. When nobody can be asked,
# about all or about some, it says so and fails not: a check must work without the internet.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'dependencies not audited: %s\n' "$*" >&2; }

if ! command -v pip-audit >/dev/null 2>&1; then
    say "pip-audit is not installed"
    exit 0
fi
report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
timeout 60 pip-audit --progress-spinner off --timeout 5 --disable-pip --require-hashes -r requirements.lock \
    >"$report" 2>&1 || status=$?
if grep -q 'Found [0-9]* known vulnerabilit' "$report"; then
    cat "$report"
    exit 1
fi
if [ "$status" -ne 0 ]; then
    say "the index of vulnerabilities cannot be asked ($(tail -n 1 "$report" | cut -c 1-120))"
    exit 0
fi
unknown=$(grep -c 'could not be audited' "$report" || true)
if [ "$unknown" -gt 0 ]; then
    say "the index knows nothing of $unknown of them"
fi
