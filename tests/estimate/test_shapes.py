import json
from dataclasses import replace

import pytest

from autobatch.errors import UsageError
from autobatch.estimate import shapes
from autobatch.workload import presets
from autobatch.workload.spec import Lora, Model

PUBLISHED = [name for name in presets.names() if presets.load(name).model.parameters]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_count(name):
    model = presets.load(name).model
    assert shapes.read(model).parameters == model.parameters


@pytest.mark.parametrize(
    ("name", "lora", "trained"),
    [
        ("llama-3.2-korean-3b", Lora(r=16), 24_313_856),
        ("solar-10.7b", Lora(r=16), 62_914_560),
        ("t5-base-korean-summarization", Lora(r=64, target_modules=("q", "k", "v", "o")), 14_155_776),
        ("kobart", Lora(r=64, target_modules=("q_proj", "v_proj")), 2 * 18 * 64 * (768 + 768)),
    ],
)
def test_lora_parameters(name, lora, trained):
    assert shapes.lora_parameters(shapes.read(presets.load(name).model), lora) == trained


def test_an_adapter_of_nothing_is_refused_with_the_names_there_are():
    with pytest.raises(UsageError, match="No layer matches") as refused:
        shapes.lora_parameters(shapes.read(presets.load("kobart").model), Lora(target_modules=("nothing",)))
    assert "q_proj" in refused.value.do


def test_a_tied_head_is_counted_once():
    config = dict(presets.load("llama-3.2-korean-3b").model.config)
    untied = Model("m", "", "causal", {**config, "tie_word_embeddings": False})
    tied = Model("m", "", "causal", config)
    words = config["vocab_size"] * config["hidden_size"]
    assert shapes.read(untied).parameters - shapes.read(tied).parameters == words


def test_an_unknown_type_is_read_as_the_nearest_and_says_so():
    config = dict(presets.load("llama-3.2-korean-3b").model.config, model_type="brand_new")
    found = shapes.read(Model("m", "", "causal", config))
    assert (found.block, found.known) == ("llama", False)


def test_a_configuration_is_read_from_the_models_folder(tmp_path):
    config = presets.load("kobart").model.config
    (tmp_path / "config.json").write_text(json.dumps(dict(config)))
    read = shapes.read(Model("mine", "", "seq2seq", path=str(tmp_path)))
    assert read.parameters == 123_859_968


@pytest.mark.parametrize(
    ("name", "key"), [("polyglot-ko-12.8b", "partial_rotary_factor"), ("mt5-xlsum", "relative_attention_num_buckets")]
)
def test_a_figure_that_is_null_is_not_there(name, key):
    model = presets.load(name).model
    assert shapes.read(replace(model, config={**model.config, key: None})) == shapes.read(model)


def test_the_text_part_of_a_larger_configuration_is_read():
    config = dict(presets.load("qwen3-4b").model.config)
    whole = Model("m", "", "causal", {"model_type": "many_senses", "text_config": config})
    assert shapes.read(whole).parameters == shapes.read(Model("m", "", "causal", config)).parameters


def test_a_missing_size_is_named():
    with pytest.raises(UsageError, match="no vocab_size"):
        shapes.read(Model("m", "", "causal", {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2,
                                              "intermediate_size": 8, "num_hidden_layers": 1}))  # fmt: skip


def test_a_model_without_configuration_is_refused():
    with pytest.raises(UsageError, match="not known"):
        shapes.read(Model("m", "", "causal"))
