#!/bin/sh
# Every check of the contracts: format, vectors, tests, the gas of the snapshots, and a deployment on a real
# node. After a change that is meant to cost gas: contracts/test.sh --update-gas.
set -eu
cd "$(dirname "$0")"
sh build.sh
forge=../node_modules/@foundry-rs/forge-linux-amd64/bin/forge
if [ "${1:-}" = --update-gas ]; then
    exec "$forge" test --match-contract GasTest --gas-snapshot-emit true --gas-snapshot-check false
fi
"$forge" fmt --check
node script/vectors.mjs --check
"$forge" test --gas-snapshot-emit false --gas-snapshot-check true
node --test test/deploy.test.mjs test/deploy-any.test.mjs
