"""A job put together."""

from types import SimpleNamespace

from autobatch.job.run import when_ready


class Parent(SimpleNamespace):
    """A process to fork from, which is ready once it was waited for."""

    def ensure(self):
        self.told.append("ready")
        self.facts = {"ready": 1}


def test_the_card_is_looked_at_once_probes_can_start():
    told = []
    gate = when_ready(Parent(facts={}, told=told), lambda: told.append("free"), told.append)

    gate()
    gate()

    assert told == ["importing the libraries, once for all probes", "ready", "free", "ready", "free"]
