"""The process in which a subject is measured: it reads what to do as lines of JSON, and writes what it took."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import resource
import statistics
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns, perf_counter, process_time
from types import ModuleType
from typing import Any

Took = dict[str, float]
ENDS = "The work is done."


async def runs(subject: Any, *, model: str, times: int = 1, at_once: int = 1) -> Took:
    """Make runs, so many at once, and give the CPU and the time that they took, and how much the memory grew at most."""
    waiting = iter(range(times))
    before = _resident()

    async def line() -> None:
        for _ in waiting:
            said = await subject.run(model)
            # agno's answer is all that was said on the way, too.
            if not said.strip().endswith(ENDS):
                raise ValueError(f"a run of {model} ended with {said!r:.200}")

    began, used = perf_counter(), process_time()
    await asyncio.gather(*(line() for _ in range(at_once)))
    used, took = process_time() - used, perf_counter() - began
    return {"cpu": used, "wall": took, "memory": _peak() - before}


async def in_the_middle(subject: Any, *, steps: int) -> Took:
    """Make the ten steps in the middle of a run of so many, and give the CPU of each, which is that of the whole where it grows evenly.

    Where they are cheap, a hundred more are made, and only those counted, without what is done once with all that was said before.
    """
    made = steps // 20 * 10
    ten = await _behind(subject, made, further=10)
    if ten > 1:
        return {"cpu": ten / 10}
    return {"cpu": (await _behind(subject, made, further=110) - ten) / 100}


async def _behind(subject: Any, made: int, *, further: int) -> float:
    before = await subject.said(made)
    used = process_time()
    said = await subject.run_behind(before, f"s{made + further - 1}p2")
    used = process_time() - used
    if not said.strip().endswith(ENDS):
        raise ValueError(f"the run ended with {said!r:.200}")
    return used


async def a_call_more(subject: Any, *, calls: int) -> Took:
    """Make runs that differ by the calls of each reply, and give the CPU of each call: of reading, validating, making and sending it."""
    few = await runs(subject, model="s10p1", times=2)
    many = await runs(subject, model=f"s10p{1 + calls}", times=2)
    return {"cpu": (many["cpu"] - few["cpu"]) / calls / 20}


async def streamed(subject: Any, *, model: str) -> Took:
    """Stream one run, and give what it took, and how long its text is."""
    began, used = perf_counter(), process_time()
    length = 0
    async for text in subject.stream(model):
        length += len(text)
    return {"cpu": process_time() - used, "wall": perf_counter() - began, "length": length}


async def first(subject: Any, *, times: int) -> Took:
    """Give the seconds from the first byte's leaving to the first delta at the user."""
    seconds: list[float] = []
    for _ in range(times):
        begun = False
        async for text in subject.stream("b"):
            if not begun:
                seconds.append((monotonic_ns() - int(text)) / 1e9)
                begun = True
    return {"wall": statistics.median(seconds)}


async def decorated(subject: Any, *, file: str) -> Took:
    """Make tools of all functions of a file, and give the CPU of each."""
    found = _load(Path(file))
    functions = [each for each in vars(found).values() if inspect.isfunction(each)]
    decorate = _load(Path(inspect.getfile(type(subject)))).decorate
    decorate(functions.pop())
    used = process_time()
    for function in functions:
        decorate(function)
    return {"cpu": (process_time() - used) / len(functions)}


async def held(subject: Any, *, model: str) -> Took:
    """Give the bytes that a run holds at its end and at most, over those of its transcript as JSON."""
    await subject.transcript("s10p2")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    result, size = await subject.transcript(model)
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return {"held": (now - before) / size, "most": (most - before) / size}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _load(file: Path) -> ModuleType:
    """Load a file under a name that hides no package."""
    name = f"bench_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # noqa: S101  # it is a Python file
    assert spec.loader is not None  # noqa: S101  # the same
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MEASURES: dict[str, Callable[..., Awaitable[Took]]] = {
    each.__name__: each for each in (runs, in_the_middle, a_call_more, streamed, first, decorated, held)
}


def main() -> None:
    """Measure what the lines say, until there is none."""
    # What the subject prints must not pass for figures.
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    module = _load(Path(sys.argv[1]))

    async def subject_made() -> Any:
        return module.Subject(sys.argv[2], **json.loads(sys.argv[3]))

    with asyncio.Runner() as runner:
        subject = runner.run(subject_made())
        for line in sys.stdin:
            wanted: dict[str, Any] = json.loads(line)
            measure = MEASURES.get(wanted["measure"]) or getattr(module, wanted["measure"])
            del wanted["measure"]
            kind = str(wanted.get("model", "b"))[0]
            if reason := getattr(module, "CANNOT", {}).get(kind):
                told.write(json.dumps({"failed": reason}) + "\n")
                continue
            try:
                took = runner.run(measure(subject, **wanted))
            except Exception as error:  # noqa: BLE001  # a subject may fail in any way, which the table says
                took = {"failed": f"{type(error).__name__}: {error}"[:300]}
            told.write(json.dumps(took) + "\n")


if __name__ == "__main__":
    main()
