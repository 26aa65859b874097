"""Measures all subjects side by side in interleaved rounds, each in a process of its own, and prints their figures as ratios."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Timer
from time import monotonic
from typing import Any, Self

import loop
from measures import FAST, FLOOR, FLOORS, FORMATS, MEASURES, OURS, PEERS, Measure, Took

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".cache" / "bench"
QUIET = {"LANGSMITH_TRACING": "false", "AGNO_TELEMETRY": "false", "OTEL_SDK_DISABLED": "true", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
MOST_SECONDS = 900

Figures = dict[str, dict[str, list[float]]]
"""By measure, by subject, by round."""


@dataclass(slots=True)
class Table:
    """What was found."""

    figures: Figures = field(default_factory=dict[str, dict[str, list[float]]])
    missing: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Why a subject has no figure, by measure."""

    def note(self, measure: Measure, subject: str, took: Took | dict[str, str]) -> None:
        """Write a figure down, or why there is none."""
        if isinstance(reason := took.get("failed"), str):
            self.miss(measure, subject, reason)
        else:
            self.figures.setdefault(measure.name, {}).setdefault(subject, []).append(round(measure.figure(took), 4))  # type: ignore[arg-type]

    def miss(self, measure: Measure, subject: str, reason: str) -> None:
        """Write down why there is no figure; no paths and addresses of this machine."""
        self.missing.setdefault(measure.name, {})[subject] = re.sub(r"(https?:/)?/\S+", "...", reason)[:300]


class Worker:
    """A process in which a subject is measured."""

    def __init__(self, subject: str, base_url: str) -> None:
        options = json.dumps({"spoken": subject.partition("-")[2]} if subject in FORMATS else {})
        command = [python(subject), str(HERE / "worker.py"), str(file_of(subject)), base_url, options]
        environment = {**os.environ, **QUIET}
        self._log = (ENVIRONMENTS / f"{subject}.run.log").open("w", encoding="utf-8")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, env=environment)  # noqa: S603

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()

    def measure(self, wanted: dict[str, Any], *, seconds: float = MOST_SECONDS) -> Took | dict[str, str]:
        """Have it measured, as long as it does not take too long."""
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        assert self._process.stdout is not None  # noqa: S101  # the same
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(wanted) + "\n")
            self._process.stdin.flush()
        began = monotonic()
        patience = Timer(seconds, self._process.kill)
        patience.start()
        line = self._process.stdout.readline()
        patience.cancel()
        if not line and monotonic() - began >= seconds:
            return {"failed": f"it took more than {seconds:g} s"}
        if line:
            return json.loads(line)  # type: ignore[no-any-return]
        self._log.flush()
        last = Path(self._log.name).read_text(encoding="utf-8").strip().rpartition("\n")[2]
        return {"failed": f"its process ended: {last[:200]}"}


def file_of(subject: str) -> Path:
    """Find a subject's file."""
    folder = "floors" if subject in FLOORS else "peers" if subject in PEERS else "."
    return HERE / folder / f"{subject.partition('-')[0]}.py"


def python(subject: str) -> str:
    """Find the interpreter of a subject's environment."""
    name = "floors" if subject in FLOORS else FAST.replace("-", "_") if subject == FAST else subject.partition("-")[0]
    return str(ENVIRONMENTS / name / "bin" / "python")


@contextmanager
def server() -> Iterator[str]:
    """Start the server, and give its base URL."""
    command = [python(FLOOR), str(HERE / "server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as serving:  # noqa: S603
        assert serving.stdout is not None  # noqa: S101  # it is a pipe
        yield f"http://127.0.0.1:{serving.stdout.readline().strip()}/v1"
        serving.communicate()


def measure_all(measure: Measure, subjects: list[str], base_url: str, *, rounds: int, table: Table) -> None:
    """Make the rounds of one measure."""
    if not measure.wanted:
        measure_imports(measure, subjects, rounds=rounds, table=table)
        return
    with TemporaryDirectory() as folder, ExitStack() as open_workers:
        wanted = dict(measure.wanted)
        if count := wanted.pop("functions", 0):
            wanted["file"] = str(Path(folder) / "functions.py")
            Path(wanted["file"]).write_text("".join(map(loop.source, range(count))), encoding="ascii")
        workers: dict[str, Worker] = {}
        failed: set[str] = set()
        for _ in range(rounds):
            for subject in subjects:
                if subject in failed:
                    continue
                if subject not in workers:
                    workers[subject] = open_workers.enter_context(Worker(subject, base_url))
                    if measure.untimed:
                        workers[subject].measure(measure.untimed)
                took = workers[subject].measure(wanted)
                table.note(measure, subject, took)
                if "failed" in took:
                    failed.add(subject)
                if measure.fresh:
                    workers.pop(subject).__exit__()


def measure_imports(measure: Measure, subjects: list[str], *, rounds: int, table: Table) -> None:
    """Import in fresh interpreters; the first time compiles, and is not counted."""
    for number in range(rounds + 1):
        for subject in subjects:
            nothing, seconds = interpreter(subject, "pass"), interpreter(subject, statement_of(subject))
            if number and nothing is not None and seconds is not None:
                table.note(measure, subject, {"cpu": seconds - nothing})
            elif seconds is None:
                table.note(measure, subject, {"failed": "it cannot be imported"})


def statement_of(subject: str) -> str:
    """Read what a subject imports."""
    line = next(line for line in file_of(subject).read_text(encoding="utf-8").splitlines() if line.startswith("IMPORT = "))
    return str(json.loads(line.removeprefix("IMPORT = ")))


def interpreter(subject: str, statement: str) -> float | None:
    """Run the statement in a fresh interpreter, and give its CPU seconds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | QUIET
    child = os.posix_spawn(python(subject), [python(subject), "-c", statement], environment)
    _, status, usage = os.wait4(child, 0)
    return None if status else usage.ru_utime + usage.ru_stime


def lines(measure: Measure, table: Table) -> Iterator[str]:
    """Say what one measure came to: medians, spreads, and ratios to the floor and to ours, each of the same round."""
    found = table.figures.get(measure.name, {})
    yield f"{measure.name} ({measure.unit}){'; goal: ' + measure.goal if measure.goal else ''}"
    for subject, figures in found.items():
        spread = f"{min(figures):,.1f} to {max(figures):,.1f}" if len(figures) > 1 else ""
        floor, ours = shown(ratio(figures, found.get(FLOOR))), shown(ratio(figures, found.get(OURS)))
        yield f"  {subject:18}{median(figures):12,.1f}  {spread:26}{floor:>10} x floor {ours:>10} x ours"
    for subject, reason in table.missing.get(measure.name, {}).items():
        yield f"  {subject:18}{'-':>12}  {reason}"


def ratio(figures: list[float], others: list[float] | None) -> float | None:
    """Give the median of the ratios of each round."""
    ratios = [figure / other for figure, other in zip(figures, others or (), strict=False) if other > 0]
    return round(median(ratios), 4) if ratios else None


def shown(ratio: float | None) -> str:
    """Write a ratio."""
    return "-" if ratio is None else f"{ratio:,.2f}"


def versions() -> dict[str, str]:
    """Read which releases were measured."""
    code = "import json, sys; from importlib.metadata import version; print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    found: dict[str, str] = {}
    for subject in (*FLOORS, OURS, *PEERS):
        line = next(line for line in file_of(subject).read_text(encoding="utf-8").splitlines() if line.startswith("PACKAGES = "))
        packages = [name.strip('" ') for name in line.partition("(")[2].strip(") ").split(",") if name.strip()]
        asked = subprocess.run([python(subject), "-c", code, *packages], capture_output=True, text=True, check=False)  # noqa: S603
        if asked.returncode == 0:
            found |= {f"{subject}: {name}" if name == "openai" else name: version for name, version in json.loads(asked.stdout).items()}
    return found


def save(table: Table) -> None:
    """Write the figures into the table of the day, which may have others already."""
    path = HERE / "history" / f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"figures": {}, "missing": {}}
    for measure, found in table.figures.items():
        # Ratios hold within a run only, so they are written down with the figures, which another run may replace in part.
        kept["figures"].setdefault(measure, {}).update(
            {
                subject: {
                    "figures": figures,
                    "times the floor": ratio(figures, found.get(FLOOR)),
                    "times ours": ratio(figures, found.get(OURS)),
                }
                for subject, figures in found.items()
            }
        )
    for measure, reasons in table.missing.items():
        kept["missing"].setdefault(measure, {}).update(reasons)
    kept |= {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count(), "versions": versions()}
    path.write_text(written(kept) + "\n", encoding="utf-8")


def written(table: dict[str, Any]) -> str:
    """Write a table so that a line of the file is a subject's figures of a measure."""
    text = json.dumps(table, indent=1)
    return re.sub(r"\[[^]]*\]", lambda found: " ".join(found[0].split()), text)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only ours and the floor, in a minute")
    parser.add_argument("--only", default="", help="only measures whose names hold this; several with |")
    parser.add_argument("--subjects", default="", help="only these, with commas")
    parser.add_argument("--rounds", type=int, default=0, help="how many rounds, instead of each measure's own number")
    parser.add_argument("--save", action="store_true", help="write the figures to bench/history")
    given = parser.parse_args()
    named = given.subjects.split(",") if given.subjects else [FLOOR, OURS] if given.quick else None
    table = Table()
    with server() as base_url:
        for measure in MEASURES:
            rounds = given.rounds or (measure.quick if given.quick else measure.rounds)
            subjects = [each for each in measure.subjects if named is None or each in named]
            if not rounds or not subjects or not any(part in measure.name for part in given.only.split("|")):
                continue
            ready = [each for each in subjects if Path(python(each)).exists() and not (ENVIRONMENTS / f"{each}.failed").exists()]
            for subject in sorted({*subjects} - {*ready}):
                reason = ENVIRONMENTS / f"{subject}.failed"
                words = reason.read_text(encoding="utf-8").strip() if reason.exists() else "it is not installed: see bench/environments"
                table.miss(measure, subject, words)
            measure_all(measure, ready, base_url, rounds=rounds, table=table)
            print(*lines(measure, table), sep="\n", flush=True)
            if given.save:
                save(table)


if __name__ == "__main__":
    main()
    sys.exit()
