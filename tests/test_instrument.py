import subprocess
import sys

import autobatch
from autobatch.instrument import FOLDER


def test_outside_a_search_a_loop_goes_on_as_it_is(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)

    with autobatch.probe() as p:
        assert not p.searching
        assert p.setting("per_device_train_batch_size", 3) == 3
        assert list(p.batches([1, 2])) == [1, 2]
        p.step()


def test_it_can_be_called_whatever_was_imported_before():
    code = (
        "import autobatch.probe, autobatch, sys\nwith autobatch.probe() as p: p.step()\nprint('torch' in sys.modules)"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert out.stdout == "False\n"
