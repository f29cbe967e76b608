#!/usr/bin/env bash
# Runs every test of the tree, stage by stage, and ends with one line that counts them: "N passed, N failed".
# usage: tools/test.sh [stage ...]     stages: build lint unit contracts docs fuzz integration e2e containers
# OCTROI_FUZZ_SECONDS bounds each fuzz target (default 5).
set -uo pipefail
cd "$(dirname "$0")/.."
logs=build/test-logs
mkdir -p $logs
export OCTROI_PRESET=asan CMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER-$(command -v ccache)}
passed=0
failed=0
broken=
jobs=$(nproc)

# result NAME PASSED FAILED LOG
result() {
    passed=$((passed + $2))
    failed=$((failed + $3))
    printf '%-28s %4d passed, %d failed   (%d s)\n' "$1" "$2" "$3" $((SECONDS - started))
    if [ "$3" -gt 0 ]; then
        broken+="$1:"$'\n'"$(grep -E '^ *not ok|^\[FAIL|\(Failed\)|\(Timeout\)' "$4" | head -20)"$'\n'
        echo "--- $4"
        grep -nE 'not ok|FAILED|FAIL|rror' "$4" | head -60
        tail -60 "$4"
        echo '---'
    fi
}

# check NAME COMMAND...: one test, passed when the command succeeds
check() {
    local name=$1 log=$logs/${1//[ \/]/-}.log
    shift
    started=$SECONDS
    if "$@" >"$log" 2>&1; then result "$name" 1 0 "$log"; else result "$name" 0 1 "$log"; fi
}

configure_and_build() {
    cmake --preset "$1" && ninja -C "build/$1" -j "$jobs"
}

stage_build() {
    check 'build asan (gcc)' configure_and_build asan
    check 'contracts build' npm run --silent contracts:build
}

stage_lint() {
    check 'lint' tools/lint.sh
}

stage_unit() {
    local log=$logs/unit.log
    started=$SECONDS
    ctest --test-dir build/asan -j "$jobs" --timeout 300 --output-on-failure --no-tests=error >"$log" 2>&1
    local total bad
    total=$(sed -n 's/.* tests failed out of \([0-9]*\)$/\1/p' "$log")
    bad=$(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of .*/\1/p' "$log")
    if [ -z "$total" ]; then result unit 0 1 "$log"; else result unit $((total - bad)) "$bad" "$log"; fi
}

stage_contracts() {
    local log=$logs/contracts.log status=0 good bad
    started=$SECONDS
    npm run --silent contracts:test >"$log" 2>&1 || status=1
    good=$(grep -c '^\[PASS\]' "$log")
    bad=$(grep -c '^\[FAIL' "$log")
    [ $status -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    result contracts "$good" "$bad" "$log"
}

stage_docs() {
    check 'reference pages' tools/document.sh --check asan
    check 'documents' node tools/check-docs.mjs
}

stage_fuzz() {
    check 'build fuzz (clang)' configure_and_build fuzz
    local target area name corpus
    for target in build/fuzz/fuzz/*; do
        [ -x "$target" ] && [ -f "$target" ] || continue
        area=$(basename "$target" | cut -d_ -f1)
        name=$(basename "$target" | sed 's/^[^_]*_fuzz_//')
        corpus=tests/fuzz/$area/corpus/$name
        mkdir -p "build/fuzz/corpus/$area-$name"
        check "fuzz $area/$name" "$target" -max_total_time="${OCTROI_FUZZ_SECONDS:-5}" -rss_limit_mb=1024 -timeout=10 \
            -artifact_prefix=build/fuzz/ "build/fuzz/corpus/$area-$name" $([ -d "$corpus" ] && echo "$corpus")
    done
}

# node_tests NAME CONCURRENCY MINUTES FILES...: MINUTES bounds a file
node_tests() {
    local name=$1 log=$logs/$1.log good bad concurrency=$2 minutes=$3
    shift 3
    started=$SECONDS
    [ $# -gt 0 ] && [ -e "$1" ] || { result "$name" 0 0 /dev/null; return; }
    node tools/node-tests.mjs "$concurrency" "$minutes" "$@" >"$log" 2>&1
    good=$(sed -n 's/^# pass \([0-9]*\)$/\1/p' "$log" | tail -1)
    bad=$(sed -n 's/^# \(fail\|cancelled\) \([0-9]*\)$/\2/p' "$log" | awk '{n += $1} END {print n + 0}')
    if [ -z "$good" ]; then result "$name" 0 1 "$log"; else result "$name" "$good" "$bad" "$log"; fi
}

stage_integration() {
    node_tests integration 2 10 tests/integration/*.test.mjs
}

stage_e2e() {
    node_tests e2e 1 10 tests/e2e/*.test.mjs
}

stage_containers() {
    node_tests containers 1 15 tests/containers/*.test.mjs
}

for stage in "${@:-build lint unit contracts docs fuzz integration e2e containers}"; do
    for one in $stage; do "stage_$one"; done
done

echo
printf '%s' "$broken"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
