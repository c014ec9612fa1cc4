import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.errors import MachineError, UsageError
from autobatch.export import files, provenance, targets
from autobatch.export.frozen import load, save


@pytest.fixture
def file(tmp_path, chosen):
    path = tmp_path / "best.yaml"
    save(chosen, path)
    return path


def test_the_file_holds_the_training_arguments_and_nothing_else(file, chosen):
    assert yaml.safe_load(file.read_text()) == chosen.training_arguments()


def test_what_was_frozen_is_loaded(file, chosen):
    loaded = load(file)

    assert loaded.chosen == chosen
    assert loaded.promised.step_s == 0.5
    assert loaded.arguments == chosen.training_arguments()
    assert not loaded.edits
    assert not loaded.tampered


@pytest.mark.parametrize("target", targets.NAMES)
def test_every_format_is_loaded_back(tmp_path, qlora, target):
    path = tmp_path / "best"
    save(qlora, path, target)

    loaded = load(path)

    assert loaded.configuration == qlora.configuration
    assert loaded.arguments == qlora.training_arguments()
    assert not loaded.edits
    assert not loaded.tampered


def test_what_a_loop_takes_is_unknown_in_a_file_of_before(workload):
    of_before = {name: value for name, value in workload.to_dict().items() if name != "taken"}

    assert type(workload).from_dict(of_before) == workload
    assert replace(workload, taken=("optim",)).digest == workload.digest


def test_what_a_loop_takes_is_loaded(tmp_path, chosen):
    loop = replace(chosen, workload=replace(chosen.workload, taken=("per_device_train_batch_size",)))
    save(loop, tmp_path / "best.yaml")

    assert load(tmp_path / "best.yaml").arguments == {"per_device_train_batch_size": 4}


@pytest.mark.parametrize("target", targets.NAMES)
def test_an_edit_by_hand_is_named(tmp_path, chosen, target):
    path = tmp_path / "best"
    save(chosen, path, target)
    key = next(iter(targets.get(target).settings(chosen)))
    path.write_text(re.sub(rf"^(\W*{key}\W+)", r"\g<1>9", path.read_text(), count=1, flags=re.MULTILINE))

    edits = load(path).edits

    assert [edit.key for edit in edits] == [key]


@pytest.mark.parametrize(("old", "new"), [("batch_size: 4", "batch_size: 4.0"), ("bf16: true", "bf16: 1")])
def test_the_same_number_of_another_kind_is_an_edit(file, old, new):
    file.write_text(file.read_text().replace(old, new, 1))

    assert len(load(file).edits) == 1


def test_a_change_of_comments_and_order_is_no_edit(file):
    body = "".join(line for line in file.read_text().splitlines(keepends=True) if not line.startswith("#"))
    facts = "".join(line for line in file.read_text().splitlines(keepends=True) if line.startswith("#: "))
    turned = "".join(reversed(body.splitlines(keepends=True))) if "kwargs" not in body else body
    file.write_text(f"# my own words\n{turned}\n{facts}")

    assert not load(file).edits


def test_a_change_of_the_provenance_is_seen(file):
    file.write_text(file.read_text().replace('"step_s": 0.5', '"step_s": 0.1'))

    assert load(file).tampered


def test_the_study_name_cannot_end_a_comment(file):
    lines = file.read_text().splitlines()

    assert not [line for line in lines if "two" in line and not line.startswith("#")]


@given(name=st.text(), value=st.text())
@settings(max_examples=200, deadline=None)
def test_provenance_comes_back_whatever_the_text(name, value):
    facts = {"schema": provenance.SCHEMA, "study": name, "machine": {name: value}}
    text = provenance.comment(name) + provenance.render(facts)

    read = provenance.parse(text, "best.yaml")

    assert read == {**facts, "checksum": provenance.checksum(facts)}
    assert all(line.startswith("#") for line in text.splitlines())
    assert yaml.safe_load(text) is None


def test_apply_lays_the_arguments_over_training_arguments(file, tmp_path):
    transformers = pytest.importorskip("transformers")
    mine = transformers.Seq2SeqTrainingArguments(
        output_dir=str(tmp_path), learning_rate=3e-4, report_to="none", use_cpu=True
    )

    same = load(file).apply(mine)

    assert same is mine
    assert mine.per_device_train_batch_size == 4
    assert mine.mixed_precision == "bf16"
    assert mine.learning_rate == 3e-4
    assert mine.predict_with_generate is False


def test_of_inference_a_persons_own_training_stays_as_it_is(inference, mine, tmp_path):
    save(inference, tmp_path / "best.yaml")
    mine.per_device_train_batch_size, mine.gradient_accumulation_steps, mine.optim = 99, 7, "sgd"

    load(tmp_path / "best.yaml").apply(mine)

    assert (mine.per_device_train_batch_size, mine.gradient_accumulation_steps, mine.optim) == (99, 7, "sgd")
    assert (mine.per_device_eval_batch_size, mine.mixed_precision) == (32, "bf16")


@pytest.fixture
def mine(tmp_path):
    transformers = pytest.importorskip("transformers")
    return transformers.TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\nbf16: true", "\nbf16: false", "not measured: bf16"),
        ("\nbf16: true", "\nbf16: true\nmax_steps: null", "not measured: max_steps"),
        ("\nbf16: true", "\nbf16: true\nno_such_key: 1", "not measured: no_such_key"),
        ('"step_s": 0.5', '"step_s": 0.1', "does not match its checksum"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_not_applied_unless_asked(file, mine, old, new, said):
    text = file.read_text()
    file.write_text(text.replace(old, new, 1))
    before = dict(vars(mine))

    with pytest.raises(UsageError, match=said):
        load(file).apply(mine)

    assert file.read_text() != text
    assert vars(mine) == before


def test_a_file_that_was_changed_by_hand_is_applied_on_purpose(file, mine):
    file.write_text(file.read_text().replace("train_batch_size: 4", "train_batch_size: 5", 1))

    assert load(file).apply(mine, edited=True).per_device_train_batch_size == 5


@pytest.mark.parametrize(("line", "said"), [("no_such_key: 1", "knows no no_such_key"), ("optim: none", "none")])
def test_what_training_arguments_refuse_is_said(file, mine, line, said):
    file.write_text(re.sub(r"^optim: .*$", line, file.read_text(), count=1, flags=re.MULTILINE))

    with pytest.raises(UsageError, match=f"TrainingArguments does not take .*{said}"):
        load(file).apply(mine, edited=True)


def test_what_a_class_of_its_own_does_to_its_arguments_it_does_once(file, tmp_path):
    transformers = pytest.importorskip("transformers")

    @dataclass
    class Own(transformers.TrainingArguments):
        def __post_init__(self):
            self.learning_rate *= 2
            self.output_dir += "-run"
            super().__post_init__()

    own = Own(output_dir=str(tmp_path), learning_rate=1e-4, report_to="none", use_cpu=True)
    load(file).apply(own)

    assert own.per_device_train_batch_size == 4
    assert own.learning_rate == 2e-4
    assert own.output_dir == f"{tmp_path}-run"


def test_without_workers_their_settings_are_turned_off(tmp_path, chosen, mine):
    save(replace(chosen, configuration=chosen.configuration.replace(dataloader_num_workers=0)), tmp_path / "b.yaml")
    mine.dataloader_num_workers, mine.dataloader_prefetch_factor, mine.dataloader_persistent_workers = 2, 8, True

    load(tmp_path / "b.yaml").apply(mine)

    assert (mine.dataloader_num_workers, mine.dataloader_prefetch_factor) == (0, None)
    assert mine.dataloader_persistent_workers is False


def test_torch_compile_that_is_off_stays_off(file, mine):
    mine.torch_compile, mine.torch_compile_backend, mine.torch_compile_mode = True, "inductor", "max-autotune"

    load(file).apply(mine)

    assert (mine.torch_compile, mine.torch_compile_backend, mine.torch_compile_mode) == (False, None, None)


def test_what_works_against_the_arguments_is_warned_of(file, mine):
    mine.auto_find_batch_size = mine.bf16_full_eval = True

    with pytest.warns(UserWarning, match="is set, and") as warned:
        load(file).apply(mine)

    said = [str(warning.message) for warning in warned]
    assert [line.partition(" ")[0] for line in said if "is set, and" in line] == [
        "auto_find_batch_size",
        "bf16_full_eval",
    ]
    assert all(warning.filename == __file__ for warning in warned if "is set, and" in str(warning.message))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("per_device_train_batch_size: 4\n", "no frozen file"),
        ("a: 1\n#: schema: 99\n", "schema 99"),
        ("a: 1\n#: schema: {1\n", "damaged"),
        ('a: 1\n#: schema: 1\n#: target: "hf"\n', "lacks"),
        ('a: 1\n#: schema: 1\n#: target: "none"\n', "lacks"),
        ("[\n#: schema: 1\n", "lacks"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path, text, said):
    path = tmp_path / "other.yaml"
    path.write_text(text)

    with pytest.raises(UsageError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("settings", "[]", "misspells settings"),
        ("machine", '"x"', "misspells machine"),
        ("measurements", "[]", "misspells measurements"),
        ("measurements", '{"step_s": "x"}', "misspells measurements.step_s"),
        ("limits", '{"host_bytes": "x"}', "misspells limits.host_bytes"),
        ("configuration", '{"optim": 5}', "misspells optim"),
        ("devices", "1e400", "misspells"),
        ("more", "[" * 100_000, "damaged"),
    ],
)
def test_provenance_of_another_kind_is_refused_in_words(file, key, value, said):
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"#: {key}: ")]
    file.write_text("\n".join([*lines, f"#: {key}: {value}\n"]))

    with pytest.raises(UsageError, match=said):
        load(file)


def test_a_path_of_another_kind_is_refused_in_words(file, chosen):
    workload = {**chosen.workload.to_dict(), "data": {"path": 5}}
    text = re.sub(r"^#: workload: .*$", f"#: workload: {json.dumps(workload)}", file.read_text(), flags=re.MULTILINE)
    file.write_text(text)

    with pytest.raises(UsageError, match=r"misspells workload\.data\.path"):
        load(file)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_a_file_of_another_is_not_overwritten(tmp_path, chosen):
    path = tmp_path / "config.yaml"
    path.write_text("mine: 1\n")

    with pytest.raises(UsageError, match="did not write"):
        save(chosen, path)
    assert path.read_text() == "mine: 1\n"

    save(chosen, path, force=True)
    assert load(path).chosen == chosen


def test_an_own_file_is_overwritten(file, qlora):
    save(qlora, file)

    assert load(file).configuration == qlora.configuration


@pytest.mark.parametrize("more", ["model: mine\n", "#: notes\n", "#: trials: 99\n"])
def test_a_file_that_another_changed_is_not_overwritten(file, chosen, more):
    text = file.read_text() + more
    file.write_text(text)

    with pytest.raises(UsageError, match="not all of it"):
        save(chosen, file)

    assert file.read_text() == text


@pytest.mark.parametrize("text", ["#: a note of mine\nmodel: mine\n", "#: schema: 1\nmodel: mine\n"])
def test_a_comment_does_not_make_a_file_ours(tmp_path, chosen, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(UsageError, match="did not write"):
        save(chosen, path)

    assert path.read_text() == text


def test_a_file_beside_old_provenance_is_not_ours(tmp_path, chosen):
    path = tmp_path / "ds.json"
    save(chosen, path, "deepspeed")
    path.write_text('{"mine": 1}')

    with pytest.raises(UsageError, match="did not write"):
        save(chosen, path, "deepspeed")


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_regular_file_is_never_written(tmp_path, chosen, force):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)

    for path in (pipe, link):
        with pytest.raises(UsageError, match="not a regular file"):
            save(chosen, path, force=force)

    assert pipe.is_fifo()


def test_a_write_protected_file_is_left(file, chosen):
    file.chmod(0o444)

    with pytest.raises(UsageError, match="write-protected"):
        save(chosen, file, force=True)

    assert file.stat().st_mode & 0o777 == 0o444


def test_json_keeps_its_provenance_beside_it(tmp_path, chosen):
    path = tmp_path / "ds.json"
    save(chosen, path, "deepspeed")

    assert json.loads(path.read_text())["train_batch_size"] == 16
    assert files.sidecar(path).exists()
    save(chosen, path, "deepspeed")


def test_a_file_that_carries_its_provenance_needs_none_beside_it(tmp_path, chosen):
    path = tmp_path / "best"
    save(chosen, path, "deepspeed")
    stale = files.sidecar(path).read_text()
    save(chosen, path, "hf")

    assert not files.sidecar(path).exists()
    files.sidecar(path).write_text(stale)
    assert load(path).target == "hf"


def test_another_file_in_the_place_of_the_provenance_is_left(tmp_path, chosen):
    path = tmp_path / "best"
    files.sidecar(path).write_text("mine: 1\n")

    with pytest.raises(UsageError, match="did not write"):
        save(chosen, path, "deepspeed")
    save(chosen, path, "hf")

    assert files.sidecar(path).read_text() == "mine: 1\n"
    assert load(path).intact


def test_a_name_as_long_as_a_name_can_be_is_loaded(tmp_path, chosen):
    save(chosen, tmp_path / ("a" * 240))

    assert load(tmp_path / ("a" * 240)).intact
    with pytest.raises(UsageError, match="too long"):
        save(chosen, tmp_path / ("a" * 300))


def test_nothing_is_left_of_a_write_that_failed(tmp_path, chosen, monkeypatch):
    path = tmp_path / "best.yaml"
    save(chosen, path)
    before = path.read_text()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(MachineError, match="No space left"):
        save(chosen, path)

    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["best.yaml"]


def test_a_folder_is_no_file(tmp_path, chosen):
    with pytest.raises(UsageError, match="is a folder"):
        save(chosen, tmp_path)
    with pytest.raises(UsageError, match="Cannot write"):
        save(chosen, tmp_path / "none" / "best.yaml")


def test_loading_imports_no_heavy_library(file):
    loaded = "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    code = f"import sys, autobatch; autobatch.load({str(file)!r}); {loaded}"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert out.stdout.strip() == "[]"


@pytest.fixture
def on_a_card(tmp_path, chosen, monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TORCH_CUDNN_SDPA_DEPRIORITIZED"):
        monkeypatch.delenv(name, raising=False)
    configuration = chosen.configuration.replace(pytorch_alloc_conf="expandable_segments:True")
    chosen = replace(chosen, configuration=configuration, machine={**chosen.machine, "device": "cuda:0"})
    save(chosen, tmp_path / "best.yaml")
    return load(tmp_path / "best.yaml")


def test_the_environment_it_was_measured_with_is_set_and_said(on_a_card, monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "other")

    on_a_card.set_environment()

    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    assert os.environ["TORCH_CUDNN_SDPA_DEPRIORITIZED"] == "1"
    assert "TORCH_CUDNN_SDPA_DEPRIORITIZED=1" in on_a_card.path.read_text().partition("#: ")[0]


def test_cuda_that_has_started_is_warned_of(on_a_card, monkeypatch):
    cuda = SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    with pytest.warns(UserWarning, match="CUDA has started already"):
        on_a_card.set_environment()


def test_a_cpu_needs_no_environment(file, monkeypatch):
    monkeypatch.delenv("TORCH_CUDNN_SDPA_DEPRIORITIZED", raising=False)

    load(file).set_environment()

    assert "TORCH_CUDNN_SDPA_DEPRIORITIZED" not in os.environ
