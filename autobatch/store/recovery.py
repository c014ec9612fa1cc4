"""At the next start: what was in flight when a search was killed gets its verdict, and its orphans their end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autobatch import attributes
from autobatch.errors import AutobatchError
from autobatch.isolation import cgroup
from autobatch.safe_files import parse_json
from autobatch.store import rows
from autobatch.store.database import Database
from autobatch.store.ledger import Ledger
from autobatch.store.orphans import PATIENCE_S, kill_orphans
from autobatch.store.owner import Process
from autobatch.store.rows import Event, Probe
from autobatch.verdict import Kind, Verdict

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_LAST_SAMPLES = 5
_STARTED = (
    "SELECT owner_id, facts FROM ab_owners JOIN ab_probes USING (owner_id) JOIN ab_events USING (probe_id)"
    " WHERE boot_id = ? AND event = 'started'"
)


@dataclass(frozen=True)
class Recovery:
    """What a recovery found.

    Attributes:
        killed: probes that were in flight, now `killed_in_flight`; their trials have failed, their configurations are
            quarantined.
        untold: probes that had ended when the search was killed before it told Optuna; their trials still run, and
            their verdicts are to be told.

    """

    killed: tuple[Probe, ...]
    untold: tuple[Probe, ...]


def recover(ledger: Ledger, storage: BaseStorage) -> Recovery:
    """Close what dead searches left open, in the ledger, among the processes, and in Optuna's trials.

    Call it before the GPU's lock is taken: an orphan holds that until it is killed here. What living searches have in
    flight is left alone. A recovery that is killed itself is completed by the next.

    Raises:
        DatabaseError: the database cannot be read or written.

    """
    killed = close_dead(ledger)
    return Recovery(killed, tuple(_settle_trials(ledger.database, storage)))


def close_dead(ledger: Ledger) -> tuple[Probe, ...]:
    """Do the ledger's, the processes' and their cgroups' part of `recover`; return what was in flight.

    Raises:
        DatabaseError: the database cannot be read or written.

    """
    killed = tuple(_close_dead(ledger.database))
    cgroup.remove_left(_cgroups_of_dead(ledger.database))
    return killed


def _close_dead(database: Database) -> Iterator[Probe]:
    with database.reading() as connection:
        owners = rows.owners(connection)
    for owner_id, owner in owners.items():
        if _is_alive(database, owner_id, owner):
            continue
        _await_programs(database, owner_id)
        with database.reading() as connection:
            in_flight = rows.in_flight_of(connection, owner_id)
        for probe in in_flight:
            yield from _close(database, probe, owner)
        kill_orphans(owner, None)
        with database.transaction() as connection:
            rows.end_owner(connection, owner_id)


def _cgroups_of_dead(database: Database) -> list[Path]:
    """Return the cgroups that probes of ended searches had in this boot: any of them may still be there.

    Those of probes that ended in order, too: a process that was stuck in the kernel keeps its cgroup beyond the search.
    """
    with database.reading() as connection:
        started = connection.execute(_STARTED, (Process.current().boot_id,)).fetchall()
    # who lives is asked after that: a search that begins in between is not among what was read
    alive = _alive(database)
    return [path for owner_id, facts in started if owner_id not in alive for path in _cgroups(facts)]


def _cgroups(facts: str) -> list[Path]:
    """Return the cgroups that a journal names; none where it cannot be read."""
    try:
        read = parse_json(str(facts), "a row")
    except AutobatchError:
        return []
    named = read.get("cgroups") if isinstance(read, dict) else None
    return [Path(name) for name in named if isinstance(name, str)] if isinstance(named, list) else []


def _await_programs(database: Database, owner_id: int) -> None:
    """Wait for what a search was starting when it was killed: it bears our mark only once its program has begun.

    Until then it holds the search's descriptors, and with them the owner's byte.
    """
    deadline = time.monotonic() + PATIENCE_S
    while database.mark.is_held(owner_id) and time.monotonic() < deadline:
        time.sleep(0.01)


def _close(database: Database, probe: Probe, owner: Process) -> Iterator[Probe]:
    """Give a probe its end; yield it, unless another process was quicker."""
    with database.reading() as connection:
        events = rows.events(connection, probe.probe_id)
    verdict = _verdict(probe, owner, events)
    with database.transaction() as connection:
        if rows.end_probe(connection, probe.probe_id, verdict):
            yield rows.by_id(connection, probe.probe_id)


def _alive(database: Database) -> set[int]:
    with database.reading() as connection:
        owners = rows.owners(connection)
    return {owner_id for owner_id, owner in owners.items() if _is_alive(database, owner_id, owner)}


def _is_alive(database: Database, owner_id: int, owner: Process) -> bool:
    """Tell whether a search lives, in this container or in another one that shares the database."""
    current = Process.current()
    if owner.boot_id != current.boot_id:
        return False
    if owner.pid_namespace == current.pid_namespace:
        return owner.is_alive
    return database.mark.is_held(owner_id)


def _verdict(probe: Probe, owner: Process, events: list[Event]) -> Verdict:
    """Kill the orphans of a probe, and say all that is known of its end."""
    started = next((event.facts for event in events if event.event == "started"), None)
    killed, left = kill_orphans(owner, started)
    samples = [{"at": event.at, **event.facts} for event in events if event.event == "sample"]
    evidence = {
        "cause": _cause(owner),
        "found_at": time.time(),
        "boot_id": owner.boot_id,
        "search_pid": owner.pid,
        "started": started,
        "last_samples": samples[-_LAST_SAMPLES:],
        "intents": [event.facts.get("reason") for event in events if event.event == "intent"],
        "orphans_killed": killed,
        "orphans_left": left,
    }
    last = max((event.at for event in events), default=probe.begun_at)
    return Verdict(Kind.KILLED_IN_FLIGHT, evidence=evidence, duration_s=max(0.0, last - probe.begun_at))


def _cause(owner: Process) -> str:
    current = Process.current()
    if owner.boot_id != current.boot_id:
        return "the machine was restarted"
    if owner.pid_namespace != current.pid_namespace:
        return "the search's container ended"
    return "the search was killed"


def _settle_trials(database: Database, storage: BaseStorage) -> Iterator[Probe]:
    """Fail Optuna's running trials that nobody runs; yield those that have a verdict to be told."""
    from optuna.trial import TrialState

    alive = _alive(database)
    for study in storage.get_all_studies():
        for trial in storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,)):  # noqa: SLF001 - Optuna has no public way from a study to its id
            with database.reading() as connection:
                probes = rows.of_trial(connection, study.study_name, trial.number)
            if any(probe.owner_id in alive for probe in probes) or (alive and not probes):
                continue
            if not probes and attributes.WORKLOAD not in study.user_attrs:
                continue  # another program's, which may be at work
            if probes and probes[-1].kind != Kind.KILLED_IN_FLIGHT:
                yield probes[-1]
            else:
                _fail(storage, trial, probes)


def _fail(storage: BaseStorage, trial: FrozenTrial, probes: list[Probe]) -> None:
    from optuna.trial import TrialState

    for probe in probes[-1:]:
        kind = Kind.KILLED_IN_FLIGHT
        noted = {attributes.VERDICT: str(kind), attributes.HINT: Verdict(kind).hint}
        noted |= {attributes.STAGE: probe.stage, attributes.DIGEST: probe.digest}
        for key, value in noted.items():
            storage.set_trial_user_attr(trial._trial_id, key, value)  # noqa: SLF001 - as above: a trial by its study
    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # noqa: SLF001 - as above
