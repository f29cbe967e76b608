#!/usr/bin/env bash
# clang-format, clang-tidy and a build with clang, over the files of the tree. Nothing is changed.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t sources < <(git ls-files '*.c')
mapfile -t headers < <(git ls-files '*.h')
clang-format-14 --dry-run -Werror "${sources[@]}" "${headers[@]}"
echo "clang-format: $((${#sources[@]} + ${#headers[@]})) files"

cmake -S . -B build/clang -G Ninja -DCMAKE_C_COMPILER=clang-14 -DOCTROI_FLAVOUR=debug -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
ninja -C build/clang -j "$(nproc)"
mapfile -t own < <(git ls-files 'libcommon/*.c' 'services/*.c')
printf '%s\0' "${own[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-14 -p build/clang --quiet 2>build/clang/tidy.err || { cat build/clang/tidy.err; exit 1; }
echo "clang-tidy: ${#own[@]} files"
