#!/usr/bin/env bash
# Makes the reference pages of docs/ again, from the tables that the programs themselves run on.
# usage: tools/document.sh [--check] [PRESET]     --check: change nothing, fail where a page differs
# OCTROI_BIN names another directory of binaries than build/PRESET/bin.
set -euo pipefail
cd "$(dirname "$0")/.."

check=
if [ "${1-}" = --check ]; then
    check=1
    shift
fi
bin=${OCTROI_BIN:-build/${1:-release}/bin}
services=(proxy quoted payd subd adminsvc)
pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT

# page NAME TITLE INTRODUCTION, the rest on standard input
page() {
    { printf '<!-- Made by tools/document.sh: change the tables it reads, not this page. -->\n# %s\n\n%s\n\n' "$2" "$3"; cat; } |
        sed -e 's/[[:space:]]*$//' | cat -s | sed -e '${/^$/d}' >"$pages/$1"
}

for service in "${services[@]}"; do
    [ -x "$bin/$service" ] || { echo "$bin/$service is not built" >&2; exit 1; }
done

for service in "${services[@]}"; do "$bin/$service" --document config; done |
    page configuration.md Configuration "YAML 1.1, one file a service; \`-t\` checks it and exits. Unknown and repeated keys, anchors, aliases and tags are refused.
In any value \`\${VAR}\`, \`\${VAR:-default}\` (also where it is empty) and \`\${file:/path}\` (a secret; one trailing newline is cut) are
expanded after parsing, and \`\$\$\` is a dollar sign; a variable that is not set and has no default is an error. Sizes are bytes,
KiB, MiB or GiB; durations need ms, s, m, h or d; rates are N/s. 0 needs no unit. A key without a value means its default."

{
    for service in "${services[@]}"; do "$bin/$service" --document metrics; done
    "$bin/proxy" --document common-metrics
} | page metrics.md Metrics "\`GET /metrics\` of each service's ops listener, in the Prometheus text format. Labels come from bounded sets: a metric has at most
2048 series, what is over is counted under the label \`other\`."

"$bin/proxy" --document logs |
    page logs.md Logs "Every service writes one JSON object a line to standard error. Lines that are not read fast enough are dropped and counted, in a later line
and in \`octroi_log_dropped_lines_total\`. These keys may stand in a line:"

"$bin/proxy" --document problems |
    page problems.md Problems "Every refusal is an \`application/problem+json\` body (RFC 9457) with \`type\`, \`title\`, \`status\`, \`detail\`, \`request_id\`, \`retryable\` and \`next\`.
\`type\` is \`https://octroi.dev/problems/<name>\`, where \`<name>\` is a heading below."

status=0
for file in configuration.md metrics.md logs.md problems.md; do
    if [ -z "$check" ]; then
        cmp -s "$pages/$file" "docs/$file" || { cp "$pages/$file" "docs/$file"; echo "docs/$file written"; }
    elif ! diff -u "docs/$file" "$pages/$file"; then
        echo "docs/$file differs from the tables: run tools/document.sh and commit" >&2
        status=1
    fi
done
exit $status
