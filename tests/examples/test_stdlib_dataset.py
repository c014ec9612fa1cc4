import importlib.util
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "stdlib_dataset.py"
SOURCE = '''
def documented(x):
    """Return what was given, twice over.

    More.
    """
    y = x
    return y * 2


def bare():
    return 1


def short():
    """Too short."""
    return 2
'''


def load_script():
    spec = importlib.util.spec_from_file_location("stdlib_dataset", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_documented_function_is_a_sample():
    found = list(load_script().functions(SOURCE))

    assert found == [("y = x\nreturn y * 2", "Return what was given, twice over.")]


def test_the_library_gives_a_set(tmp_path):
    path = tmp_path / "set.jsonl"

    subprocess.run([sys.executable, str(SCRIPT), str(path), "--limit", "100"], check=True, timeout=120)

    samples = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(samples) == 100
    assert all(sample["text"] and sample["summary"] for sample in samples)
