#!/usr/bin/env bash
# Runs the tests of the native kernels with AddressSanitizer (GCC, Linux):
#     make sanitize
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
tools=("$python" -m pip install --quiet --disable-pip-version-check --target "$build/tools" cmake ninja nanobind)
"${tools[@]}"
export PATH="$build/tools/bin:$PATH" PYTHONPATH="$build/tools"
cmake -S . -B "$build/native" -G Ninja -DSEQLOOM_SANITIZE=ON \
    -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
    -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)"
ninja -C "$build/native"
cp -r src "$build/src"
rm -f "$build"/src/seqloom/kernels/_native*
cp "$build"/native/_native* "$build/src/seqloom/kernels/"
# Python itself leaks on purpose; what is looked for is reading and writing out of bounds.
export ASAN_OPTIONS=detect_leaks=0 PYTHONPATH="$build/src"
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
    "$python" -m pytest -q -p no:cacheprovider tests/kernels/test_native.py \
    tests/kernels/test_native_scan.py -k "not compile and not operators"
