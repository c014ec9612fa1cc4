import socket

import pytest

from autobatch.daemon.notify import notify, without_notification


@pytest.fixture
def listener(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        address = str(tmp_path / "notify")
        channel.bind(address)
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield channel


def test_a_message_arrives_as_it_is(listener):
    notify("READY=1")
    assert listener.recv(100) == b"READY=1"


def test_an_abstract_address_is_understood(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0autobatch-test-notify")
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@autobatch-test-notify")
        notify("WATCHDOG=1")
        assert channel.recv(100) == b"WATCHDOG=1"


def test_nobody_who_listens_is_no_trouble(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def test_children_do_not_speak_in_our_name():
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "PATH": "/bin"}
    assert without_notification(environment) == {"PATH": "/bin"}
