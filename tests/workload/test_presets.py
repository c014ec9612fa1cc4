from __future__ import annotations

import math
import tomllib

import pytest
import yaml

from autobatch.errors import UsageError
from autobatch.workload import presets
from autobatch.workload.spec import Workload

PUBLISHED = {
    "kobart": 124e6,
    "t5-base-korean-summarization": 275e6,
    "mt5-xlsum": 582e6,
    "llama-3.2-korean-3b": 3.21e9,
    "qwen3-4b": 4.02e9,
    "solar-10.7b": 10.7e9,
    "polyglot-ko-12.8b": 12.9e9,
    "kullm-v2": 12.9e9,
}


@pytest.fixture(params=presets.names())
def workload(request) -> Workload:
    return presets.load(request.param)


def test_every_model_and_experiment_is_there():
    assert {*PUBLISHED, "kobart-high-learning-rate", "kobart-large-batch", "kobart-qlora", "demo"} <= {*presets.names()}


def test_a_preset_is_whole(workload):
    assert Workload.from_dict(workload.to_dict()) == workload
    assert workload.effective_batch
    assert workload.generation is not None
    assert workload.lengths.estimated
    assert list(workload.lengths.source) == sorted(workload.lengths.source)
    assert workload.lengths.source[-1] == workload.max_source_length
    assert bool(workload.lengths.target) == (workload.model.family == "seq2seq") == bool(workload.max_target_length)
    assert workload.recipe["learning_rate"] < 1e-2
    assert (workload.quantization == "none") or workload.method == "lora"


def test_the_notes_data_set_is_the_presets(workload):
    if workload.model.name != "demo":
        assert (workload.train_samples, workload.eval_samples) == (12_457, 499)


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_parameters_are_the_published_ones(name, count):
    assert presets.load(name).model.parameters == pytest.approx(count, rel=0.004)


def test_parameters_follow_from_the_shape(workload):
    assert counted(workload.model.config) == workload.model.parameters


def test_the_llama_adapter_has_its_published_size():
    workload = presets.load("llama-3.2-korean-3b")
    layers = workload.model.config["num_hidden_layers"]
    adapter = sum(workload.lora.r * (into + out) for into, out in gated_decoder_linears(workload.model.config))
    assert layers * adapter == 24_313_856


def test_transformers_builds_models_of_that_size(workload):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = dict(workload.model.config)
    kind = config.pop("model_type")
    classes = {"causal": transformers.AutoModelForCausalLM, "seq2seq": transformers.AutoModelForSeq2SeqLM}
    with torch.device("meta"):
        model = classes[workload.model.family].from_config(transformers.AutoConfig.for_model(kind, **config))
    built = sum(parameter.numel() for parameter in model.parameters())
    # from a bare configuration transformers ties the head of T5 and mT5, which their checkpoints do not
    head = config["vocab_size"] * config["d_model"] if kind in {"t5", "mt5"} else 0
    assert built + head == workload.model.parameters


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Llama-3.2-Korean-3B", "llama-3.2-korean-3b"),
        ("KOBART", "kobart"),
        ("kobart_high_learning_rate", "kobart-high-learning-rate"),
        ("digit82/kobart-summarization", "kobart"),
        ("kobart-summarization", "kobart"),
        ("csebuetnlp/mT5_multilingual_XLSum", "mt5-xlsum"),
        ("nlpai-lab/kullm-polyglot-12.8b-v2", "kullm-v2"),
        ("SOLAR 10.7B", "solar-10.7b"),
    ],
)
def test_names_are_forgiving(said, meant):
    assert presets.load(said).model.name == meant


@pytest.mark.parametrize(
    ("said", "near"),
    [
        ("kobrat", "did you mean kobart?"),
        ("t5", "t5-base-korean"),
        ("solar", "solar-10.7b?"),
        ("lama-3.2-korean", "llama-3.2-korean-3b"),
        ("zzz", "autobatch models"),
    ],
)
def test_an_unknown_name_names_the_nearest(said, near):
    with pytest.raises(UsageError) as caught:
        presets.load(said)
    assert said in caught.value.what
    assert near in caught.value.do.lower()


def test_kobart_is_cut_to_its_positions_and_says_so():
    workload = presets.load("kobart")
    assert workload.max_source_length == 1026
    (note,) = [note for note in workload.notes if "1280" in note]
    assert "1026" in note


def test_experiments_differ_from_their_base_as_written():
    base, fast, large = (presets.load(name) for name in ("kobart", "kobart-high-learning-rate", "kobart-large-batch"))
    assert (base.effective_batch, fast.effective_batch, large.effective_batch) == (48, 56, 64)
    assert fast.recipe["learning_rate"] == 1.2e-4
    assert fast.recipe["max_grad_norm"] == 0.3
    assert fast.recipe["weight_decay"] == base.recipe["weight_decay"]
    assert large.model.config == base.model.config


def test_notes_are_no_part_of_the_digest():
    from dataclasses import replace

    workload = presets.load("demo")
    assert replace(workload, notes=("a word",)).digest == workload.digest
    assert replace(workload, epochs=2).digest != workload.digest


def test_a_file_of_ones_own_may_build_on_a_preset(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: kobart\neffective_batch: 32\nmax_source_length: 512\nrecipe: {learning_rate: 1.0e-5}\n")
    workload = presets.read(path)
    assert (workload.model.name, workload.effective_batch, workload.max_source_length) == ("mine", 32, 512)
    assert workload.lengths.source[-1] == 512
    assert workload.recipe["lr_scheduler_type"] == "cosine_with_restarts"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: nobody\n", "nobody"),
        ("model: {hub_id: a/b, family: causal}\n", "max_source_length"),
        ("base: kobart\ncolour: red\n", "colour"),
        ("base: kobart\nlengths: 3\n", "no workload"),
        ("base: kobart\nmodel: {shape: round}\n", "shape"),
        ("base: kobart\nlengths: {source: {median: -1}}\n", "no workload"),
        ("[1, 2]\n", "no mapping"),
        ("base: demo\neffective_batch: x\n", "effective_batch"),
        ("base: demo\neffective_batch: 0\n", "effective_batch"),
        ("base: demo\neffective_batch: true\n", "effective_batch"),
        ("base: demo\nepochs: .nan\n", "epochs"),
        ("base: demo\nepochs: .inf\n", "epochs"),
        ("base: demo\nepochs: -1\n", "epochs"),
        ("base: demo\ntrain_samples: 1.5\n", "train_samples"),
        ("base: demo\neval_samples: -1\n", "eval_samples"),
        ("base: demo\nmax_source_length: 0\n", "max_source_length"),
        ("base: demo\nmethod: best\n", "method"),
        ("base: demo\nrecipe: 3\n", "recipe"),
        ("base: demo\nrecipe: {label_smoothing_factor: abc}\n", "label_smoothing_factor"),
        ("base: demo\nrecipe: {max_grad_norm: [1]}\n", "max_grad_norm"),
        ("base: demo\nrecipe: {learning_rate: -1}\n", "learning_rate"),
        ("base: demo\nscript: [a]\n", "script"),
        ("base: demo\nlora: {r: 0}\n", "lora"),
        ("base: demo\ngeneration: {num_beams: 0}\n", "num_beams"),
        ("base: demo\nmodel: {config: {vocab_size: abc}}\n", "vocab_size"),
        ("base: demo\nmodel: {family: none}\n", "family"),
        ("base: demo\nmodel: {path: 5}\n", "path"),
        ("base: demo\nmodel: {parameters: many}\n", "parameters"),
        ("base: demo\nmodel: {trust_remote_code: true}\n", "--trust-remote-code"),
        ("base: demo\nlora: {dropout: .nan}\n", "dropout"),
        ("base: demo\nepochs: 0\n", "epochs"),
        ("base: demo\nlora: {target_modules: 3}\n", "target_modules"),
        ("base: demo\nlora: {modules_to_save: lm_head}\n", "modules_to_save"),
        ("base: demo\nnotes: [1]\n", "notes"),
        ("base: demo\nlengths: {source: {median: 50, sigma: 1.2, shortest: -2}}\n", "shortest"),
        ("base: demo\nlengths: {source: {median: .inf, sigma: 1.2, shortest: 2}}\n", "no workload"),
    ],
)
def test_a_file_that_describes_no_workload_is_an_error(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        presets.read(path)


def test_the_files_are_in_the_form_yaml_reads_as_numbers():
    for path in presets.FOLDER.glob("*.yaml"):
        recipe = yaml.safe_load(path.read_text()).get("recipe", {})
        assert all(isinstance(value, float) for name, value in recipe.items() if name != "lr_scheduler_type")


def test_a_wheel_takes_every_preset_along():
    root = presets.FOLDER.parents[2]
    with (root / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"]["autobatch"]
    packaged = {path.stem for pattern in patterns for path in (root / "autobatch").glob(pattern)}
    assert {*presets.names()} <= packaged


def counted(config) -> int:
    """Count parameters from the published shapes alone."""
    return {"bart": bart, "t5": t5, "mt5": t5, "llama": gated_decoder, "qwen3": gated_decoder, "gpt_neox": neox}[
        config["model_type"]
    ](config)


def bart(config) -> int:
    d, ffn = config["d_model"], config["encoder_ffn_dim"]
    attention, norm, feed = 4 * (d * d + d), 2 * d, 2 * d * ffn + ffn + d
    encoder = config["encoder_layers"] * (attention + feed + 2 * norm)
    decoder = config["decoder_layers"] * (2 * attention + feed + 3 * norm)
    positions = 2 * (config["max_position_embeddings"] + 2) * d  # BART leaves two rows unused
    return config["vocab_size"] * d + positions + encoder + decoder + 2 * norm


def t5(config) -> int:
    d, inner, ff = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    attention, feed = 4 * d * inner, 3 * d * ff
    encoder = config["num_layers"] * (attention + feed + 2 * d)
    decoder = config["num_decoder_layers"] * (2 * attention + feed + 3 * d)
    relative = 2 * 32 * config["num_heads"]
    return 2 * config["vocab_size"] * d + encoder + decoder + relative + 2 * d


def gated_decoder_linears(config) -> list[tuple[int, int]]:
    d, ffn, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    wide, narrow = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return [(d, wide), (d, narrow), (d, narrow), (wide, d), (d, ffn), (d, ffn), (ffn, d)]


def gated_decoder(config) -> int:
    d = config["hidden_size"]
    norms = 2 * d + (2 * config["head_dim"] if config["model_type"] == "qwen3" else 0)
    layer = sum(math.prod(shape) for shape in gated_decoder_linears(config)) + norms
    tables = 1 if config["tie_word_embeddings"] else 2
    return tables * config["vocab_size"] * d + config["num_hidden_layers"] * layer + d


def neox(config) -> int:
    d, ffn = config["hidden_size"], config["intermediate_size"]
    layer = 4 * d * d + 4 * d + 2 * d * ffn + ffn + d + 4 * d
    return 2 * config["vocab_size"] * d + config["num_hidden_layers"] * layer + 2 * d
