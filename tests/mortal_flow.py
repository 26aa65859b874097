"""The example of a flow, whose process is killed at boundaries of its journal: `python mortal_flow.py FOLDER EVERY`.

Each life is a child of its own. A person answers what it asks: yes, and where a booking is in doubt, what the ledger says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path

from agentloop.journal.runs import Runs
from agentloop.journal.sqlite import SQLiteStore
from examples.flow import trip
from tests.journal.mortal import Deadly


async def live(folder: Path, run_id: str, at: int | None) -> None:
    store = Deadly(SQLiteStore(folder / "runs.db"), at)
    ledger = folder / f"{run_id}.ledger"
    result = await trip.run("Lisbon", ledger, journal=store, run_id=run_id)
    while result.paused:
        for asked in result.waiting:
            if asked.question.wants == "outcome" and ledger.exists():
                (folder / f"{run_id}.doubt").touch()
                await Runs(store).answer(asked.run_id, asked.call.id, result="booked Casa Lua and TP 571")
            else:
                await Runs(store).approve(asked.run_id, asked.call.id)
        result = await trip.resume(run_id, journal=store)
    (folder / f"{run_id}.output").write_text(result.output)
    (folder / "boundaries").write_text(str(store.passed))


def lived(folder: Path, run_id: str, at: int | None) -> str:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(live(folder, run_id, at))
        except BaseException:  # noqa: BLE001  # the parent reads how it ended
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else "done" if os.waitstatus_to_exitcode(status) == 0 else "failed"


def report(folder: Path, at: int | None) -> None:
    """Live one run until it is done, and print how it went."""
    run_id = f"run-{at}"
    ends = [lived(folder, run_id, at)]
    while ends[-1] == "killed":
        # Every other run dies a second time.
        ends.append(lived(folder, run_id, at if at % 2 and len(ends) == 1 else None))
    output, ledger, doubt = (folder / f"{run_id}.{kind}" for kind in ("output", "ledger", "doubt"))
    how = "in doubt" if doubt.exists() else "booked"
    print(json.dumps([at, ends, how, output.read_text(), ledger.read_text().splitlines()]), flush=True)


def main() -> None:
    folder, every = Path(sys.argv[1]), int(sys.argv[2])
    report(folder, None)
    boundaries = int((folder / "boundaries").read_text())
    # The booking is near the end.
    for at in sorted({*range(1, boundaries + 1, every), *range(boundaries - 5, boundaries + 1)}):
        report(folder, at)


if __name__ == "__main__":
    main()
