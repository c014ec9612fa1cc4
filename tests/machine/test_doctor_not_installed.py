import importlib.metadata

from autobatch.machine.doctor import libraries
from autobatch.machine.doctor.finding import Level


def test_a_source_folder_is_said_and_versions_are_listed_all_the_same(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(libraries.importlib.metadata, "requires", requires)
    found = list(libraries.versions())
    assert found[0].level is Level.NOTE
    assert "not installed" in found[0].what
    assert "optuna 5" in found[-1].what
