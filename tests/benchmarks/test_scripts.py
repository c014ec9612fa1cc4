"""What the scripts under search are given, and what counts as promised."""

import json
from dataclasses import replace

import pytest

from autobatch.workload import presets
from benchmarks import processes, scripts, scripts_cases
from benchmarks.common import Deadline

SHAPE = {
    "model_type": "llama",
    "vocab_size": 4000,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def test_a_large_model_is_written_once_in_bf16_with_a_tokenizer(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("datasets")
    import torch

    preset = presets.load("llama-3.2-korean-3b")
    small = replace(preset, model=replace(preset.model, config=SHAPE))
    monkeypatch.setattr(presets, "load", lambda _: small)
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": "return a + b", "summary": "Add two numbers."}) + "\n")

    scripts_cases.save_preset(tmp_path / "model", tmp_path / "data.jsonl", "cpu")

    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert all(parameter.float().std() > 0 for name, parameter in model.named_parameters() if "norm" not in name)
    written = sum(path.stat().st_size for path in (tmp_path / "model").glob("*.safetensors"))
    assert written < 2.1 * sum(parameter.numel() for parameter in model.parameters())
    assert len(transformers.AutoTokenizer.from_pretrained(tmp_path / "model")) <= SHAPE["vocab_size"]


@pytest.mark.parametrize(
    ("promised", "real", "ok"),
    [(1.0, [1.04, 1.04], True), (1.0, [1.06, 1.06], False), (1.0, [1.03, 1.09], True), (1.0, [], False)],
)
def test_a_promise_is_kept_within_its_share_or_what_two_runs_differ_by(promised, real, ok):
    row = scripts.Row("trl", probed_step_s=[promised], real_step_s=real)
    assert row.to_dict()["ok"] is ok
    assert "trl" in scripts.report([row])


@pytest.mark.parametrize(
    ("told", "found"),
    [('{"verdict": {"measurements": {"step_s": 0.5}}}', [0.5]), ("", []), ('{"verdict": {"measurements": {}}}', [])],
)
def test_what_was_frozen_is_measured_anew(told, found, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.processes, "run", lambda *_: processes.Done(1, told, "", timed_out=False))
    trial = scripts.Trial(scripts.Row("trl"), scripts.command().parse_args([]), tmp_path, Deadline(100.0))

    trial.verify()

    assert trial.row.to_dict()["verified_step_s"] == found
