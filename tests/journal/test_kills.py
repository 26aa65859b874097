"""Kill -9 anywhere: no recorded work is done again, no effect is doubled, nothing is forgotten."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import pytest

from agentloop.journal.sqlite import SQLiteStore
from agentloop.journal.written import OUTCOME

MORTAL = Path(__file__).with_name("mortal.py")
ROOT = MORTAL.parent.parent.parent
FULL = os.environ.get("AGENTLOOP_STORM") == "full"

CALLS = 12 * 4 + 3
"""The calls of a whole run, those of the agents in it included."""


def mortal(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(MORTAL), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603


def lives(folder: Path, points: Sequence[str]) -> list[dict]:
    with mortal(folder, " ".join(points)) as driver:
        printed, errors = driver.communicate(timeout=30 + 2 * len(points))
    assert driver.returncode == 0, errors
    return [json.loads(line) for line in printed.splitlines()]


async def breaches(folder: Path, run_id: str) -> list[str]:
    """List what must never be found after a run that was killed."""
    store = SQLiteStore(folder / "runs.db")
    effects = [json.loads(line) for line in (folder / f"{run_id}.effects").read_text().splitlines()]
    records = [
        record for each in await store.runs() if each == run_id or each.startswith(f"{run_id}/") for record in await store.records(each)
    ]
    outcomes = [
        (OUTCOME.read(record.value, key=record.key), record.at) for record in records if re.fullmatch(r"\d+/\d+(/again/\d+)?", record.key)
    ]
    results = {outcome.result.text: at for outcome, at in outcomes if outcome.result}
    doubled = Counter(effect["what"] for effect in effects if effect["kind"] == "once")
    keys = {(effect["what"], effect["key"]) for effect in effects}
    return [
        *(f"{what} was sent {times} times" for what, times in doubled.items() if times > 1),
        *(f"{what} had several keys" for what, times in Counter(what for what, _ in keys).items() if times > 1),
        *(
            f"{e['what']} was done again after it was recorded"
            for e in effects
            if e["at"] > results.get(f"{e['kind']} {e['what']}", e["at"])
        ),
        *(f"{text} has a result and no effect" for text in results if _claimed(text) and not any(_says(e, text) for e in effects)),
        *([] if any(record.key == "end" and record.run_id == run_id for record in records) else ["it has no end"]),
        *([] if sum(bool(outcome.result) for outcome, _ in outcomes) >= CALLS else ["it has lost results"]),
    ]


def _claimed(text: str) -> bool:
    return text.startswith(("read ", "idempotent ", "once "))


def _says(effect: dict, text: str) -> bool:
    return text == f"{effect['kind']} {effect['what']}"


async def judge(folder: Path, runs: Sequence[dict]) -> Iterator[str]:
    unfinished = [f"{run['run']} at {run['point']}: {run['ends']}" for run in runs if run["ends"][-1] != "done"]
    found = [f"{run['run']} at {run['point']}: {breach}" for run in runs for breach in await breaches(folder, run["run"])]
    return [*unfinished, *found]


@pytest.mark.fault(129)
@pytest.mark.fault(130)
@pytest.mark.fault(131)
@pytest.mark.fault(133)
async def test_a_run_killed_at_a_boundary_of_its_journal_goes_on(tmp_path: Path):
    swept = tmp_path / "swept"
    swept.mkdir()
    lives(tmp_path, ["1000000"])
    boundaries = int((tmp_path / "boundaries").read_text())
    points = [str(point) for point in range(1, boundaries + 1, 1 if FULL else 5)]

    runs = lives(swept, points)

    assert boundaries > 200
    assert await judge(swept, runs) == []
    assert all(run["ends"][0] == "killed" for run in runs)
    print(f"{len(runs)} runs killed at boundaries of their journals, of {boundaries}: 0 re-run, 0 doubled, all done")


@pytest.mark.fault(129)
async def test_a_run_killed_at_any_moment_goes_on(tmp_path: Path):
    moments = [f"{random.uniform(0.002, 0.2):.4f}" for _ in range(1000 if FULL else 25)]  # noqa: S311

    runs = lives(tmp_path, moments)

    assert await judge(tmp_path, runs) == []
    killed = sum(end == "killed" for run in runs for end in run["ends"])
    assert killed >= len(moments) / 2
    print(f"{len(runs)} runs, killed {killed} times at random: 0 re-run, 0 doubled, all done")


@pytest.mark.fault(138)
@pytest.mark.fault(139)
async def test_processes_that_share_a_file_never_double_each_other(tmp_path: Path):
    count = 12
    stopped, killed, last = mortal(tmp_path, "share", count), mortal(tmp_path, "share", count), mortal(tmp_path, "share", count)
    try:
        for process in (stopped, killed):
            assert process.stdout.readline().startswith("run-")
        stopped.send_signal(signal.SIGSTOP)
        killed.kill()
        done = {last.stdout.readline().strip() for _ in range(count - 1)}
        stopped.kill()
        freed = monotonic()
        done.add(last.stdout.readline().strip())
        taken_over = monotonic() - freed
    finally:
        for process in (stopped, killed, last):
            process.kill()
            process.communicate()

    assert done == {f"run-{number}" for number in range(count)}
    assert [breach for run_id in sorted(done) for breach in await breaches(tmp_path, run_id)] == []
    print(f"a run whose owner was killed was finished by another process {taken_over:.2f} s later")
