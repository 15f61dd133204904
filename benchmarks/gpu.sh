#!/usr/bin/env bash
# Everything that needs a GPU, in under ten minutes: tests of the CUDA path, one stream beside transformers (and the
# original, if ORIGINAL names a checkout), 1 to 128 listeners with the codec, arrivals at random.
# Needs this repository and torch, numpy, safetensors, pydantic and transformers (typer for the command line, pytest for
# the tests). DEVICE=cpu SIZE=tiny proves the script where there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

device="${DEVICE:-cuda}"
size="${SIZE:-full}"
out="${OUT:-benchmarks/results}"
stamp="$(date -u +%Y%m%dT%H%M%SZ)"
python="${PYTHON:-python3}"
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
export DIA_BENCH_CACHE="${DIA_BENCH_CACHE:-${TMPDIR:-/tmp}/dia-bench}"
mkdir -p "$out"

if [ "$device" = cuda ]; then
  "$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "no CUDA device here; set DEVICE=cpu SIZE=tiny to try the script")'
  listeners="${LISTENERS:-1,8,32,64,128}" steps="${STEPS:-200}" streams="${STREAMS:-8,32,64}" rate="${RATE:-4}"
  CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}" timeout 180 "$python" -m pytest -q -m gpu tests/engine || echo "GPU TESTS FAILED"
else
  listeners="${LISTENERS:-1,2}" steps="${STEPS:-3}" streams="${STREAMS:-2}" rate="${RATE:-0}"
fi

original=()
[ -n "${ORIGINAL:-}" ] && original=(--original "$ORIGINAL")

timeout 300 "$python" -m dia.bench engine --size "$size" --device "$device" --steps "$steps" --rounds "${ROUNDS:-2}" \
  --streams "$streams" "${original[@]}" --out "$out/$stamp-$device-engine.json"
timeout 240 "$python" -m dia.bench load --size "$size" --device "$device" --listeners "$listeners" \
  --seconds "${SECONDS_RANGE:-2,10}" --arrivals-per-s "$rate" --out "$out/$stamp-$device-load.json"
echo "results: $out/$stamp-$device-*.json"
