"""Names of what a study and its trials carry in Optuna, as people read them in a dashboard. Units are in the names.

A trial's value is samples/s. A trial that is not feasible has the value 0 and a positive constraint, so that no
tool takes it for the best one. Parameters go by their Hugging Face names.
"""

from __future__ import annotations

# of a trial
VERDICT = "verdict"
HINT = "hint"
WHY = "why"
PURPOSE = "purpose"  # of its probe: probe | eval | confirm | inference
STAGE = "stage"  # search | loader | eval | confirm | compare
DIGEST = "configuration"
STEP_S = "s/step"
SAMPLES_PER_S = "samples/s"
TOKENS_PER_S = "tokens/s"
DEVICE_PEAK_GIB = "device peak (GiB)"
HOST_PEAK_GIB = "host peak (GiB)"
LOADER_WAIT_PERCENT = "loader wait (%)"
PROBE_S = "probe (s)"
REPEATS = "measured in trial"  # the number of the one whose measurement answered this one
CARRIED = "samples/s of training"  # the value of a trial whose probe measures none itself
PREDICTED_SAMPLES_PER_S = "predicted samples/s"
PREDICTED_PEAK_GIB = "predicted device peak (GiB)"
CHANCE_TO_FIT = "chance to fit"
LEFT_TO_GAIN = "left to gain (%)"  # over the best so far, as far as the models can tell

# of a study; each holds JSON text
WORKLOAD = "workload"
MACHINE = "machine"
SPACE = "space"
LIMITS = "limits"
ANSWER = "answer"

CONSTRAINT = "memory and safety"
"""Name of the Optuna constraint: <= 0 where the trial is feasible."""
