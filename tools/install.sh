#!/usr/bin/env bash
# Installs the Debian packages of the named lists that are missing, and the pinned npm packages. Says nothing and takes no time where nothing is missing.
# usage: tools/install.sh [packages.txt ...]     (default: tools/packages.txt)
set -euo pipefail
cd "$(dirname "$0")/.."
lists=("$@")
[ ${#lists[@]} -gt 0 ] || lists=(tools/packages.txt)

wanted() {
    grep -hv '^#' "${lists[@]}" | while read -r package; do
        if [ "$package" != node ]; then
            echo "$package"
        elif ! node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' 2>/dev/null || ! command -v npm >/dev/null; then
            printf 'nodejs\nnpm\n'
        fi
    done
}

missing=()
for package in $(wanted); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages: ${missing[*]}" >&2
        echo "run as root:  apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "installing ${#missing[@]} packages: ${missing[*]}"
    # A package that starts its server would take a port: what we need we start ourselves.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # postgresql-common would make a cluster that nobody asked for.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        echo "apt-get failed; the whole log: $log" >&2
        exit 1
    fi
    rm -f "$log"
fi

stamp=node_modules/.octroi-lock
if ! cmp -s package-lock.json $stamp; then
    echo "installing the npm packages of package-lock.json"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    cp package-lock.json $stamp
fi
