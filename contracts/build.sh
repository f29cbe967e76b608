#!/bin/sh
# Builds the artifacts that deploying reads, in contracts/out. Nothing runs, and forge is not needed, while
# they are newer than every source.
set -eu
cd "$(dirname "$0")"
stamp=out/.built
artifacts='Octroi OctroiProxy DevStablecoin'

# Coverage leaves artifacts without bytecode behind, which forge then takes for current.
built() {
    [ -s "out/$1.sol/$1.json" ] && ! grep -q '"bytecode":{"object":"0x"' "out/$1.sol/$1.json"
}

fresh() {
    [ -e "$stamp" ] || return 1
    for name in $artifacts; do
        built "$name" || return 1
    done
    [ -z "$(find src foundry.toml tools/solc ../package.json -newer "$stamp" -print -quit)" ]
}

if fresh; then
    exit 0
fi
forge=../node_modules/@foundry-rs/forge-linux-amd64/bin/forge
if [ ! -x "$forge" ]; then
    echo "contracts: forge is not installed; run npm ci --ignore-scripts at the root first" >&2
    exit 1
fi
mkdir -p out
# Two tests may start at once.
exec 9>out/.lock
flock 9
if fresh; then
    exit 0
fi
started=$(mktemp out/.started.XXXXXX)
trap 'rm -f "$started"' EXIT
"$forge" build --quiet --skip test --skip script
for name in $artifacts; do
    if ! built "$name"; then
        "$forge" build --quiet --force --skip test --skip script
        break
    fi
done
mv "$started" "$stamp"
