#!/bin/sh
# Takes out of an environment what only people who compile against it or test it need. $1: the environment's folder.
# Compiled bytecode stays: the image runs as a user who cannot write it, and without it every start takes ten seconds more.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
rm -rf "$site"/torch/include "$site"/torch/share "$site"/torch/test "$site"/torch/bin/protoc* "$site"/torch/bin/*Test "$site"/torch/bin/test_* "$site"/torch/bin/*.ptl "$site"/torch/utils/benchmark/examples
find "$site" -type d \( -name tests -o -name test \) -path '*/pandas/*' -prune -exec rm -rf {} +
find "$site" -type d -name tests -path '*/sympy/*' -prune -exec rm -rf {} +
find "$site" -type d -name tests -path '*/numpy/*' -prune -exec rm -rf {} +
find "$site" -name '*.a' -delete
