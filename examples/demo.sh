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

step "Train 20 steps on it as a full training would, and compare with what was promised"
"$BIN/python" examples/train.py "$OUT/best.yaml" --max-steps 20 --json "$OUT/train.json"

step "What happened"
cat <<END
The search trained for some seconds at a time with different settings, and kept the fastest that stays below the
memory limit: that is the line "Chosen" above, with its speed, its memory and the whole training's time. "Second" is
the next best, and "Stopped" says why it looked no further. export wrote the choice to $OUT/best.yaml, and the last
table holds 20 steps of a training on that file against its promise. On a machine that others use at the same time the
figures differ; on a quiet one they are near.

  every trial   $BIN/autobatch trials --db $OUT/trials.db
  a report      $BIN/autobatch report --db $OUT/trials.db
  your script   $BIN/autobatch search -- python train.py ARGS
END
