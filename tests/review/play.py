"""Plays a search to the live view in a real terminal: `python play.py MODEL SECONDS`."""

import sys
import time

import recorded

from autobatch import attributes
from autobatch.review.live import make_view
from autobatch.review.picture import Scene
from autobatch.settings import Configuration
from autobatch.units import GIB

STANDING = {"phase": "typical", "device_bytes": 17.4 * GIB, "host_bytes": 5.8 * GIB}
WHY = {attributes.WHY: "12.4 samples/s expected in 18.0 GiB, 97 % to fit; expected gain 2.1 %"}


def main(model: str, seconds: float) -> None:
    with make_view(sys.stderr) as view:
        view.begin(Scene(model, 1800.0, recorded.LIMITS, lambda: STANDING))
        view.message(f"{model}: 12,457 training samples, the longest of 1,024 tokens")
        view.stage("search")
        for number, (micro, precision, checkpointing, workers, _, kind, step_s, peak) in enumerate(recorded.RUNS[:6]):
            configuration = Configuration(
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=16 // micro,
                method="lora",
                precision=precision,
                gradient_checkpointing=checkpointing,
            )
            view.trial_started(number, configuration, WHY)
            view.trial_finished(number, configuration, recorded.verdict(kind, micro, workers, step_s, peak))
        view.trial_started(6, configuration, WHY)
        time.sleep(seconds)


main(sys.argv[1], float(sys.argv[2]))
