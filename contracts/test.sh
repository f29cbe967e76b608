#!/bin/sh
# Every check of the contracts: format, vectors, documentation, storage layout, proofs, tests, the gas of the
# snapshots, coverage, and a deployment and an upgrade on a real node. After a change that is meant to cost gas:
# contracts/test.sh --update-gas.
set -eu
cd "$(dirname "$0")"
sh build.sh
forge=../node_modules/@foundry-rs/forge-linux-amd64/bin/forge
if [ "${1:-}" = --update-gas ]; then
    "$forge" test --match-contract GasTest --gas-snapshot-emit true --gas-snapshot-check false
    exec node script/gas.mjs
fi
"$forge" fmt --check
node script/vectors.mjs --check
node script/gas.mjs --check
node script/natspec.mjs
node script/layout.mjs
node script/prove.mjs
"$forge" test --gas-snapshot-emit false --gas-snapshot-check true
node script/coverage.mjs
node ../tools/node-tests.mjs 1 10 test/checks.test.mjs test/deploy.test.mjs test/deploy-any.test.mjs
