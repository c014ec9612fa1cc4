#!/usr/bin/env bash
# The main job from end to end, on whatever machine this is: data, search, export, training on what was chosen.
#
#   BIN=.venv/bin BUDGET=3m bash examples/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."
BIN="${BIN:-.venv/bin}"
BUDGET="${BUDGET:-3m}"
OUT=demo

step() { printf '\n== %s\n' "$*"; }

mkdir -p "$OUT"
rm -rf "$OUT"/trials.db* "$OUT"/best.yaml

step "A summarisation set from Python's standard library: function bodies, and their docstrings as summaries"
"$BIN/python" examples/stdlib_dataset.py "$OUT/stdlib.jsonl"

step "Search for at most $BUDGET, by short real trainings"
"$BIN/autobatch" search --model demo --data "$OUT/stdlib.jsonl" --text-column text --summary-column summary \
  --budget "$BUDGET" --db "$OUT/trials.db" --study demo

step "Freeze what was chosen"
"$BIN/autobatch" export "$OUT/best.yaml" --db "$OUT/trials.db" --study demo
grep -v '^#' "$OUT/best.yaml"

step "Train 20 steps on it, and compare with what was promised"
"$BIN/python" examples/train.py "$OUT/best.yaml" --max-steps 20 --json "$OUT/train.json"

step "Everything is under $OUT/; see the trials with: $BIN/autobatch trials --db $OUT/trials.db"
