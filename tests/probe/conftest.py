"""Tiny models of every architecture, and probes of them in this process."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch

from autobatch.isolation.parent import PreloadedParent
from autobatch.probe import child, schedule
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.workload.spec import Lengths, Model, Workload

_T5 = {
    "vocab_size": 128,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
_DECODER = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
}
_BART = {
    "vocab_size": 128,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 256,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
CONFIGS = {
    "bart": _BART,
    "t5": _T5,
    "mt5": _T5,
    "llama": {**_DECODER, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "qwen3": {**_DECODER, "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": True},
    "gpt_neox": {**_DECODER, "tie_word_embeddings": False},
}


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Time tiny models briefly, on one thread, where they are faster and steadier beside other tests."""
    monkeypatch.setattr(schedule, "TIMED_SECONDS", {"probe": (0.1, 2.0), "confirm": (0.1, 2.0)})
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def workload():
    """Make a workload of a tiny model by its architecture."""

    def make(name, **changes):
        seq2seq = name in ("bart", "t5", "mt5")
        model = Model(name, f"tiny/{name}", "seq2seq" if seq2seq else "causal", {"model_type": name, **CONFIGS[name]})
        lengths = Lengths(tuple(range(8, 49)), tuple(range(4, 25)) if seq2seq else ())
        values = {"lengths": lengths, "max_source_length": 48, "max_target_length": 24, "train_samples": 200}
        return Workload(model, **{**values, **changes})

    return make


@pytest.fixture
def probe(tmp_path):
    """Run a probe in this process and return its outcome."""

    def run(workload, plan=None, limits=None, **settings):
        configuration = Configuration({"dataloader_num_workers": 0, "per_device_eval_batch_size": 2, **settings})
        request = ProbeRequest(
            workload, configuration, plan or Plan(), limits or Limits(device_bytes=2**40), "cpu", str(tmp_path)
        )
        (tmp_path / "request.json").write_text(request.to_json())
        status = child.main(str(tmp_path))
        outcome = json.loads((tmp_path / "outcome.json").read_text())
        assert status == (outcome["status"] != "ok")
        return outcome

    return run


class ScriptParent:
    """The process that users' scripts are forked from."""

    def __init__(self, folder):
        modules = ("autobatch.probe.script", "autobatch.probe.script_look")
        self._parent = PreloadedParent(folder, bare=False, modules=modules)
        self._parent.ensure()

    def run(self, folder, entry, patience_s):
        """Run an entry to its end; return its exit status, None where it took longer."""
        pid = self._parent.fork({"folder": str(folder), "entry": entry, "environment": {}})
        self._parent.go(pid)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            ended = self._parent.wait(min(1.0, patience_s))
            if ended is not None and ended.get("exited") == pid:
                return ended["status"]
        os.kill(pid, signal.SIGKILL)
        return None

    def close(self):
        self._parent.close()


@pytest.fixture(scope="session")
def script_parent(tmp_path_factory):
    made = ScriptParent(tmp_path_factory.mktemp("parent"))
    yield made
    made.close()


@pytest.fixture
def run(script_parent, tmp_path):
    """Runs a script as a probe from a preloaded parent."""

    def run(source, *arguments, purpose="probe", seconds=6, **settings):
        (tmp_path / "train.py").write_text(source)
        folder = tmp_path / "study" / "1"
        folder.mkdir(parents=True)
        values = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "dataloader_num_workers": 0}
        request = ProbeRequest(
            Workload(Model("script", "script", "causal"), script=("python", str(tmp_path / "train.py"), *arguments)),
            Configuration({**values, **settings}),
            Plan(purpose, seconds, precision_target=1.0),
            Limits(),
            "cpu",
            str(folder),
        )
        (folder / "request.json").write_text(request.to_json())
        status = script_parent.run(folder, "autobatch.probe.script:main", 100)
        outcome = folder / "outcome.json"
        return SimpleNamespace(
            status=status,
            outcome=json.loads(outcome.read_text()) if outcome.exists() else None,
            log=(folder / "log.txt").read_text(),
            folder=tmp_path,
        )

    return run
