"""Reads exported files by a training tool's own parser, in a process of its own: `parse.py TOOL OUT FILE...`.

OUT gets, in the files' order, what the tool holds after parsing each, as JSON; `error` where it refused the file.
"""

import json
import os
import sys
from pathlib import Path

import yaml


def axolotl(path):
    from axolotl.utils.config import prepare_plugins, validate_config
    from axolotl.utils.dict import DictDefault

    own = {"base_model": "toy", "learning_rate": 1e-4, "sequence_len": 512, "datasets": [{"path": "toy"}]}
    settings = DictDefault({**yaml.safe_load(path.read_text()), **own})
    capabilities = {"bf16": True, "tf32": True, "n_gpu": 1, "compute_capability": "sm_90"}
    prepare_plugins(settings)
    return validate_config(settings, capabilities, {"torch_version": "2.13.0"}).to_dict()


def deepspeed(path):
    from deepspeed import comm
    from deepspeed.runtime.config import DeepSpeedConfig

    # DeepSpeed compares the batch with the number of processes
    comm.get_rank, comm.get_world_size = lambda: 0, lambda: int(os.environ["WORLD_SIZE"])
    parsed = DeepSpeedConfig(str(path))
    batch = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    return {
        **{name: getattr(parsed, name) for name in batch},
        "bf16": {"enabled": parsed.bfloat16_config.enabled},
        "fp16": {"enabled": parsed.float16_config.enabled},
        "gradient_clipping": parsed.gradient_clipping,
        "zero_optimization": {"stage": parsed.zero_optimization_stage},
    }


def llamafactory(path):
    from llamafactory.hparams.parser import get_train_args

    settings = yaml.safe_load(path.read_text())
    own = {"model_name_or_path": "toy", "dataset": "toy", "template": "default", "output_dir": str(path.parent / "out")}
    parsed = get_train_args({**settings, **own, "stage": "sft", "do_train": True})
    return {key: next(getattr(part, key) for part in parsed if hasattr(part, key)) for key in settings}


def attempt(parse, path):
    try:
        return parse(path)
    except Exception as error:  # noqa: BLE001 - any refusal is the test's to judge
        return {"error": repr(error)}


if __name__ == "__main__":
    tool, out, *files = sys.argv[1:]
    parse = {"axolotl": axolotl, "deepspeed": deepspeed, "llamafactory": llamafactory}[tool]
    Path(out).write_text(json.dumps([attempt(parse, Path(file)) for file in files], default=str))
