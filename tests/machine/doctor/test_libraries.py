from __future__ import annotations

import compileall
import importlib.metadata
import sys

import pytest

from autobatch.machine.doctor import libraries, software
from autobatch.machine.doctor.finding import Level


def test_everything_needed_is_here():
    found = list(libraries.versions())
    assert [finding.level for finding in found] == [Level.OK]
    assert f"torch {importlib.metadata.version('torch')}" in found[0].what


def test_what_is_missing_or_too_old_is_a_problem_with_the_command(monkeypatch):
    real = software.version
    monkeypatch.setattr(software, "version", lambda name: {"peft": None, "optuna": "4.1.0"}.get(name, real(name)))
    problems = [finding for finding in libraries.versions() if finding.level is Level.PROBLEM]
    assert [finding.do.split("'")[1] for finding in problems] == ["peft>=0.18", "optuna>=5.0"]


@pytest.mark.parametrize(
    ("files", "cuda", "level"),
    [
        (["libbitsandbytes_cuda130.so", "libbitsandbytes_cpu.so"], (13, 0), Level.OK),
        (["libbitsandbytes_cuda128.so"], (12, 4), Level.OK),
        (["libbitsandbytes_cuda128.so"], (13, 0), Level.PROBLEM),
        (["libbitsandbytes_cpu.so"], (12, 8), Level.PROBLEM),
    ],
)
def test_bitsandbytes_needs_a_library_of_the_same_cuda(tmp_path, files, cuda, level):
    for name in files:
        (tmp_path / name).touch()
    (found,) = libraries.bitsandbytes_build(tmp_path, cuda, {})
    assert found.level is level


def test_libraries_that_are_compiled_at_every_start_are_a_warning(tmp_path):
    (found,) = libraries.bytecode(tmp_path, written=False)
    assert (found.level, f"compileall -q -j 0 {tmp_path.parent}" in found.do) == (Level.WARNING, True)
    assert list(libraries.bytecode(tmp_path, written=True)) == []
    (tmp_path / "__init__.py").touch()
    assert compileall.compile_dir(tmp_path, quiet=2)
    assert list(libraries.bytecode(tmp_path, written=False)) == []


def test_an_override_of_bitsandbytes_is_a_warning(tmp_path):
    (tmp_path / "libbitsandbytes_cuda130.so").touch()
    found = list(libraries.bitsandbytes_build(tmp_path, (13, 0), {"BNB_CUDA_VERSION": "121"}))
    assert [finding.level for finding in found] == [Level.WARNING, Level.OK]


def test_the_unofficial_pynvml_is_a_folder_of_modules(tmp_path, monkeypatch):
    assert list(libraries.nvml_binding()) == []
    (tmp_path / "pynvml").mkdir()
    (tmp_path / "pynvml" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    (found,) = libraries.nvml_binding()
    assert (found.level, "uninstall" in found.do) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("line", "cuda"),
    [
        ("cuda: Optional[str] = '13.0'", (13, 0)),
        ("cuda = '12.8'", (12, 8)),
        ("cuda: Optional[str] = None", None),
        ("", None),
    ],
)
def test_torchs_cuda_is_read_without_importing_it(tmp_path, monkeypatch, line, cuda):
    (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\n{line}\nhip: Optional[str] = '6.4'\n")
    monkeypatch.setattr(software, "folder", lambda _: tmp_path)
    assert software.torch_cuda.__wrapped__() == cuda
