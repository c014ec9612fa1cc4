"""Where this process stands in the control groups: v1, v2, both (hybrid) or none.

Every function takes `root`, the folder that stands for `/`, so that recorded trees can be read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

Version = Literal["v1", "v2", "hybrid", "none"]

ROOT = Path("/")


@dataclass(frozen=True)
class Group:
    """A control group of ours in one hierarchy."""

    folder: Path
    """Its own control files."""
    mount: Path
    """The topmost folder of the hierarchy that is visible here."""
    version: Literal[1, 2]

    def upwards(self) -> Iterator[Path]:
        """Yield our own folder, then each visible ancestor, up to the mount."""
        yield self.folder
        if self.folder != self.mount:
            for parent in self.folder.parents:
                yield parent
                if parent == self.mount:
                    return


@dataclass(frozen=True)
class CgroupPaths:
    """Our groups by what they control; None where that controller is not to be had."""

    version: Version
    memory: Group | None
    pids: Group | None
    unified: Group | None
    """Our group in the v2 hierarchy, whatever it controls: `cgroup.kill` works there."""


@dataclass(frozen=True)
class _Mount:
    root: str
    point: str
    kind: str
    options: frozenset[str]


def read(root: Path = ROOT, pid: int | Literal["self"] = "self") -> CgroupPaths:
    """Return the groups of a process by /proc/PID/cgroup and its mountinfo; all None where they cannot be read."""
    mounts = _mounts(_text(root / "proc" / str(pid) / "mountinfo"))
    paths = dict(_memberships(_text(root / "proc" / str(pid) / "cgroup")))
    unified = _unified(root, mounts, paths)
    memory = _legacy(root, mounts, paths, "memory") or _enabled(unified, "memory")
    pids = _legacy(root, mounts, paths, "pids") or _enabled(unified, "pids")
    return CgroupPaths(_version(mounts), memory, pids, unified)


def number(path: Path) -> int | None:
    """Return the number in a control file; None for `max`, and where it is not there or is none."""
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"\d{1,20}", text) else None


def words(path: Path) -> list[str]:
    """Return the words of a control file; empty where it cannot be read."""
    return _text(path).split()


def table(path: Path) -> dict[str, int]:
    """Return a control file of `name number` lines, such as memory.stat; empty where it cannot be read."""
    return {name: int(value) for name, value in re.findall(r"^(\S+) (\d{1,20})$", _text(path), re.MULTILINE)}


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the cores' worth of time that the tightest quota, whole hierarchy up, gives us; None without one."""
    mounts = _mounts(_text(root / "proc" / "self" / "mountinfo"))
    paths = dict(_memberships(_text(root / "proc" / "self" / "cgroup")))
    group = _legacy(root, mounts, paths, "cpu") or _unified(root, mounts, paths)
    quotas = (_quota(folder) for folder in (group.upwards() if group else ()))
    return min((quota for quota in quotas if quota), default=None)


def _quota(folder: Path) -> float | None:
    """Return quota over period of one group: cpu.max holds both in v2."""
    quota, period = [*words(folder / "cpu.max"), "", ""][:2]
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _version(mounts: list[_Mount]) -> Version:
    legacy = any(mount.kind == "cgroup" for mount in mounts)
    unified = any(mount.kind == "cgroup2" for mount in mounts)
    if legacy and unified:
        return "hybrid"
    return "v1" if legacy else "v2" if unified else "none"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _memberships(text: str) -> Iterator[tuple[str, str]]:
    """Yield (controller, path); the controller of the v2 line is empty."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, path


def _mounts(text: str) -> list[_Mount]:
    """Return the cgroup mounts that can be reached: a later mount hides those at and below its point."""
    found: list[_Mount] = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, more = left.split(), right.split()
        if len(fields) > 4 and len(more) > 2:  # noqa: PLR2004 - fields of mountinfo
            point = _unescaped(fields[4])
            found = [old for old in found if not f"{old.point}/".startswith(f"{point.rstrip('/')}/")]
            if more[0] in {"cgroup", "cgroup2"}:
                found.append(_Mount(_unescaped(fields[3]), point, more[0], frozenset(more[2].split(","))))
    return found


def _unescaped(text: str) -> str:
    """Undo mountinfo's octal escapes of spaces and the like."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


def _legacy(root: Path, mounts: list[_Mount], paths: dict[str, str], controller: str) -> Group | None:
    for mount in mounts:
        if mount.kind == "cgroup" and controller in mount.options and controller in paths:
            return _group(root, mount, paths[controller], 1)
    return None


def _unified(root: Path, mounts: list[_Mount], paths: dict[str, str]) -> Group | None:
    mount = next((mount for mount in mounts if mount.kind == "cgroup2"), None)
    return _group(root, mount, paths[""], 2) if mount and "" in paths else None


def _enabled(group: Group | None, controller: str) -> Group | None:
    """Return the v2 group if the controller is there; the root of the whole hierarchy has no limits to read."""
    if group is None:
        return None
    listed = any(controller in _text(folder / "cgroup.controllers").split() for folder in group.upwards())
    return group if listed else None


def _group(root: Path, mount: _Mount, path: str, version: Literal[1, 2]) -> Group:
    """Place a membership below its mount; what cannot be placed there falls back to the mount."""
    point = root / mount.point.lstrip("/")
    above = PurePosixPath(mount.root).parts.count("..")
    try:
        folder = point / PurePosixPath(path).relative_to("/" if above else mount.root)
    except ValueError:
        folder = point
    if above:
        folder = _holding_us(point, above) / folder.relative_to(point)
    inside = ".." not in folder.relative_to(point).parts and folder.is_dir()
    return Group(folder if inside else point, point, version)


def _holding_us(point: Path, depth: int) -> Path:
    """Return the root of our cgroup namespace: as many levels below the mount as the mount's root lies above it.

    The namespace hides the names of those levels, so it is the one with our process in it or below it.
    """
    ours = str(os.getpid())
    for top in point.glob("/".join("*" * depth)):
        if any(ours in words(procs) for procs in top.rglob("cgroup.procs")):
            return top
    return point
