"""The command before its libraries are there."""

import sys

import pytest

from autobatch import __main__ as program


def test_ctrl_c_while_libraries_are_imported_ends_it_quietly(monkeypatch, capsys):
    class Interrupting:
        def find_spec(self, name, *_):
            if name == "autobatch.cli":
                raise KeyboardInterrupt

    for name in [name for name in sys.modules if name.startswith("autobatch.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"
