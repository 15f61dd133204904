#!/usr/bin/env bash
# Everything that needs a GPU, in under ten minutes: tests of the CUDA path, one stream beside transformers (and the
# original, if ORIGINAL names a checkout), 1 to 128 listeners with the codec, arrivals at random.
# Needs this repository and torch, numpy, safetensors, pydantic and transformers (typer for the command line, pytest for
# the tests). DEVICE=cpu SIZE=tiny proves the script where there is no GPU; PATIENCE=4 gives each part four times as long.
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

failed=0
part() { # name, most seconds, command: a part that fails is named, and the others are made all the same
  local name="$1" most_s=$(($2 * ${PATIENCE:-1})) status=0
  timeout "$most_s" "${@:3}" || status=$?
  if [ "$status" = 124 ]; then echo "$name: not done within $most_s s; set PATIENCE=4 on a slow machine" >&2
  elif [ "$status" != 0 ]; then echo "$name: failed with exit code $status" >&2
  else return 0; fi
  failed=1
}

if [ "$device" = cuda ]; then
  "$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "no CUDA device here; set DEVICE=cpu SIZE=tiny to try the script")'
  listeners="${LISTENERS:-1,8,32,64,128}" steps="${STEPS:-200}" streams="${STREAMS:-8,32,64}" rate="${RATE:-4}"
  export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}"
  part "tests of the CUDA path" 180 "$python" -m pytest -q -m gpu tests/engine
else
  listeners="${LISTENERS:-1,2}" steps="${STEPS:-3}" streams="${STREAMS:-2}" rate="${RATE:-0}"
fi

original=()
[ -n "${ORIGINAL:-}" ] && original=(--original "$ORIGINAL")

part "dia bench engine" 300 "$python" -m dia.bench engine --size "$size" --device "$device" --steps "$steps" --rounds "${ROUNDS:-2}" \
  --streams "$streams" "${original[@]}" --out "$out/$stamp-$device-engine.json"
part "dia bench load" 240 "$python" -m dia.bench load --size "$size" --device "$device" --listeners "$listeners" \
  --seconds "${SECONDS_RANGE:-2,10}" --arrivals-per-s "$rate" --out "$out/$stamp-$device-load.json"
find "$out" -name "$stamp-$device-*.json"
exit "$failed"
