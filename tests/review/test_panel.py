import pytest
import recorded
from rich.console import Console

from autobatch import attributes
from autobatch.review.live import View
from autobatch.review.panel import StandingPanel
from autobatch.review.picture import Scene
from autobatch.settings import Configuration
from autobatch.units import GIB
from autobatch.verdict import Kind

TRIED = Configuration(
    per_device_train_batch_size=8, gradient_accumulation_steps=2, precision="bf16", gradient_checkpointing=True
)
WHY = {
    attributes.WHY: "12.4 samples/s expected in 18.0 GiB, 97 % to fit; expected gain 2.1 %",
    attributes.LEFT_TO_GAIN: 12.3,
}


@pytest.fixture
def panel():
    """Return the panel of a search that has the most to tell."""
    view = View()
    view.begin(Scene("llama-3.2-korean-3b", 1800.0, recorded.LIMITS, lambda: {"phase": "typical", "host_bytes": GIB}))
    view.stage("search")
    for number, kind in enumerate([Kind.OK, Kind.CUDA_OOM_TRAIN, Kind.OVER_LIMIT, Kind.CUDA_OOM_TRAIN]):
        view.trial_started(number, TRIED, WHY)
        view.trial_finished(number, TRIED, recorded.verdict(kind, 8, 2, 0.66, 18.0))
        view.message(f"note {number}: {'12,457 training samples, the longest of 1,024 tokens ' * 2}")
    view.trial_started(4, TRIED, WHY)
    return StandingPanel(view.picture)


def drawn(panel, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(panel)
    return capture.get().splitlines()


@pytest.mark.parametrize(
    ("width", "height"), [(40, 24), (80, 24), (40, 12), (63, 10), (64, 10), (30, 8), (200, 60), (20, 5)]
)
def test_the_panel_is_whole_in_a_terminal_of_any_size(panel, width, height):
    lines = drawn(panel, width, height)
    assert len(lines) <= height
    assert lines[-1].startswith("╰")
    for name in ("budget", "probe", "best"):
        assert any(line.startswith(f"│ {name}") for line in lines)


def test_a_small_terminal_has_what_matters_whole(panel):
    text = " ".join(line.strip("│ ") for line in drawn(panel, 40, 24))
    for rows in ("30 min left of 30 min", "trial 4, typical", "12.0 samples/s, trial 0"):
        assert rows in text
    assert "gradient checkpointing, 2 workers" in " ".join(text.split())
    assert "host" in text


def test_a_large_terminal_has_everything_whole(panel):
    text = "\n".join(drawn(panel, 200, 60))
    for part in ("97 % to fit; expected gain 2.1 %", "note 3", "note 1", "trial 1: ", "safe to 48.0", "12.3 % over"):
        assert part in text
    assert "…" not in text


def test_a_terminal_without_room_for_all_leaves_out_the_oldest_first(panel):
    text = "\n".join(drawn(panel, 200, 12))
    assert "trial 3: " in text
    assert "note 3" in text
    assert "trial 1: " not in text
