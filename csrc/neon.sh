#!/usr/bin/env bash
# Compiles the native kernels for 64-bit ARM (NEON), on Linux and on macOS, whatever machine this is:
#     make neon
# The compiler is clang, from the package ziglang; nothing is linked or run.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
"$python" -m pip install --quiet --disable-pip-version-check --target "$build/tools" ziglang==0.17.1
export PYTHONPATH="$build/tools"
for target in aarch64-linux-gnu aarch64-macos; do
    for source in kernels memory pool; do
        "$python" -m ziglang c++ -target "$target" -std=c++20 -O2 -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror \
            -DSEQLOOM_ISA=neon "-DSEQLOOM_SUPPORTED=(1)" -c "csrc/$source.cpp" -o "$build/$source.o"
    done
    echo "$target: compiled"
done
