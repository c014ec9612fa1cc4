from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autobatch.errors import UsageError
from autobatch.estimate import shapes
from autobatch.workload import resolve as module
from autobatch.workload.resolve import family_of, from_folder, resolve

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 256,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0",
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def fetched(cache):
    """Put a model into the cache, as the hub's client does."""

    def put(hub_id: str, config: dict) -> str:
        repository = cache / f"models--{hub_id.replace('/', '--')}"
        folder = repository / "snapshots" / "0123456789abcdef"
        folder.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0123456789abcdef")
        (folder / "config.json").write_text(json.dumps(config))
        return str(folder)

    return put


def test_a_local_folder_is_read_as_plain_data(tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    workload = resolve(str(folder))
    model = workload.model
    assert (model.name, model.family, model.path, model.parameters) == ("my-model", "causal", str(folder), None)
    assert model.config["hidden_size"] == 64
    assert "architectures" not in model.config
    assert workload.max_source_length == 256
    assert workload.max_target_length is None
    assert any("cut" in note for note in workload.notes)
    assert any("--data" in note for note in workload.notes)


@pytest.mark.parametrize("value", ["abc", None, 0, -1, 1.5, True, [1], float("nan"), 10**30])
def test_a_size_that_is_none_is_an_error(tmp_path, value):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": value}))
    with pytest.raises(UsageError, match="vocab_size"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_position_embeddings", "x"),
        ("attention_dropout", [1]),
        ("num_key_value_heads", 0),
        ("head_dim", "x"),
        ("intermediate_size", [1, 2]),
        ("num_decoder_layers", 2_000_000),
        ("rope_parameters", "x"),
        ("partial_rotary_factor", "x"),
    ],
)
def test_a_figure_that_is_none_is_an_error(tmp_path, key, value):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, key: value}))
    with pytest.raises(UsageError, match=key):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, key: None}))
    assert resolve(str(tmp_path)).model.config[key] is None


@pytest.mark.parametrize("config", [{"num_hidden_layers": 2_000_000}, {"text_config": {"num_key_value_heads": 0}}])
def test_figures_that_no_model_has_are_errors(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **config}))
    with pytest.raises(UsageError, match=next(iter(config.get("text_config", config)))):
        resolve(str(tmp_path))


def test_a_model_type_that_is_no_name_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "model_type": ["llama"]}))
    with pytest.raises(UsageError, match="model_type"):
        resolve(str(tmp_path))


def test_a_cached_hub_id_is_found(fetched):
    folder = fetched("some/llama", LLAMA)
    model = resolve("some/llama").model
    assert (model.name, model.hub_id, model.path) == ("llama", "some/llama", folder)
    assert not model.trust_remote_code


def test_a_preset_takes_weights_and_shape_from_the_cache(fetched):
    bare = resolve("kobart")
    assert bare.model.path is None
    whole = {**bare.model.config, "architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True}
    folder = fetched("digit82/kobart-summarization", whole)
    found = resolve("kobart")
    assert found.model.path == folder
    assert (
        found.model.config
        == from_folder(Path(folder)).model.config
        == {**bare.model.config, "is_encoder_decoder": True}
    )
    assert replace(found, model=bare.model) == bare
    assert shapes.read(found.model) == shapes.read(bare.model)


def test_a_preset_is_cut_to_the_positions_of_the_weights(fetched):
    whole = {**resolve("kobart").model.config, "is_encoder_decoder": True, "max_position_embeddings": 512}
    fetched("digit82/kobart-summarization", whole)
    found = resolve("kobart")
    assert found.max_source_length == found.lengths.source[-1] == 512
    assert "takes 512 tokens" in found.notes[0]


@pytest.mark.parametrize("revision", ["../../../etc", "", "0123", "nothere0123456789"])
def test_a_strange_revision_is_no_model(cache, fetched, revision):
    fetched("some/llama", LLAMA)
    (cache / "models--some--llama" / "refs" / "main").write_text(revision)
    with pytest.raises(UsageError, match="cache"):
        resolve("some/llama")


def test_remote_code_is_trusted_only_when_asked(fetched):
    fetched("some/own", {**LLAMA, "auto_map": {"AutoModel": "code.py"}})
    assert not resolve("some/own").model.trust_remote_code
    assert any("--trust-remote-code" in note for note in resolve("some/own").notes)
    trusted = resolve("some/own", trust_remote_code=True)
    assert trusted.model.trust_remote_code
    assert not any("--trust-remote-code" in note for note in trusted.notes)


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "seq2seq"),
        ({"model_type": "mbart"}, "seq2seq"),
        ({"architectures": ["GPT2LMHeadModel"]}, "causal"),
        ({"architectures": ["Qwen3ForCausalLM"], "is_encoder_decoder": False}, "causal"),
    ],
)
def test_families(config, family):
    assert family_of(config, "it") == family


@pytest.mark.parametrize(
    "config",
    [{"architectures": ["BertForMaskedLM"]}, {}, {"architectures": []}, {"architectures": "LlamaForCausalLM"}],
)
def test_no_language_model_is_an_error(config):
    with pytest.raises(UsageError, match="neither an encoder-decoder nor a causal"):
        family_of(config, "it")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": ' * 2000, "\xff\xfe"])
def test_a_broken_configuration_is_an_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("said", "what", "do"),
    [
        ("kobrat", "no preset and no folder", "kobart"),
        ("digit83/kobart-summarisation", "not in the local Hugging Face cache", "hf download"),
        ("/nowhere/at/all", "no preset and no folder", "autobatch models"),
        ("mine.yaml", "cannot be read", "path"),
        ("", "no preset and no folder", "autobatch models"),
    ],
)
def test_an_unknown_model_says_what_to_do(said, what, do):
    with pytest.raises(UsageError) as caught:
        resolve(said)
    assert what in caught.value.what
    assert do in caught.value.do


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"no config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("folder", "said", "preset"),
    [
        ("demo", "demo/", False),
        ("demo", "demo", False),
        ("demo", "DEMO", True),
        ("ko/bart", "ko/bart", False),
        ("none", "kobart", True),
        ("none", "digit82/kobart-summarization", True),
    ],
)
def test_a_folder_goes_before_the_preset_it_is_called_like(tmp_path, monkeypatch, folder, said, preset):
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir(parents=True)
    Path(folder, "config.json").write_text(json.dumps(LLAMA))
    found = resolve(said)
    assert (found.model.path is None) is preset
    assert any("not for the preset demo" in note for note in found.notes) is (said == "demo")


def test_a_folder_without_a_model_hides_no_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert resolve("demo").model.path is None
    with pytest.raises(UsageError, match=r"no config\.json"):
        resolve("demo/")


@pytest.mark.parametrize("said", ["ko/bart", "./demo", "x" * 5000, "a\0b"])
def test_what_is_nowhere_is_no_preset(said):
    with pytest.raises(UsageError):
        resolve(said)


@pytest.mark.parametrize(
    ("asked", "method", "quantization"),
    [
        ({}, "lora", "nf4"),
        ({"method": "qlora"}, "lora", "nf4"),
        ({"method": "full"}, "full", "none"),
        ({"method": "lora"}, "lora", "nf4"),
        ({"quantization": "int8"}, "lora", "int8"),
        ({"method": "lora", "quantization": "none"}, "lora", "none"),
    ],
)
def test_the_method_may_be_another(asked, method, quantization):
    workload = resolve("llama-3.2-korean-3b", **asked)
    assert (workload.method, workload.quantization) == (method, quantization)


def test_impossible_methods_are_errors():
    with pytest.raises(UsageError, match="no method"):
        resolve("kobart", method="prompt")
    with pytest.raises(UsageError, match="cannot be trained in full"):
        resolve("kobart", quantization="nf4")


def test_the_cache_is_where_the_hubs_client_keeps_it(monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert str(module._cache()).endswith("/.cache/huggingface/hub")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(module._cache()) == "/x/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "/y")
    assert str(module._cache()) == "/y/hub"
