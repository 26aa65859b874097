"""An isolated tool runs in a process of its own, which never outlives its call."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agentloop.errors import ToolDefinitionError
from agentloop.messages import Image, Text, ToolCall, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool
from agentloop.tools.threads import run_in_thread
from tests.tools import isolated_tools as tools

ROOT = Path(__file__).parents[2]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="waits for processes that are not ours")


async def answer(made: Tool[..., Any], arguments: str = "{}", **known: Any) -> ToolResult:
    async with asyncio.timeout(5):
        return await made.call(ToolCall("1", made.name, arguments), Context(**known))


class Said:
    """What a tool says, and a wait for the first of it."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._loop = asyncio.get_running_loop()
        self._first = self._loop.create_future()

    def __call__(self, value: object) -> None:
        self.values.append(value)
        self._loop.call_soon_threadsafe(lambda: self._first.done() or self._first.set_result(value))

    async def first(self) -> Any:
        return await asyncio.wait_for(self._first, 5)


def gone(pid: int) -> bool:
    """Wait until a process has ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 5)[0])
    finally:
        os.close(process)


def reaped(pid: int) -> bool:
    """Tell whether not even the exit code of a process of ours is there any more."""
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "made",
    [
        tools.where,
        tools.where_async,
        tools.where_generated,
        tools.where_generated_async,
        tools.Calendar.where_static,
        tools.Calendar.where_in_class,
    ],
    ids=lambda made: made.name,
)
async def test_a_function_of_any_kind_runs_in_a_process_of_its_own(made: Tool[..., Any]):
    result = await answer(made)

    assert not result.is_error, result.text
    assert json.loads(result.text.strip("[]")) != os.getpid()
    assert (result.call_id, result.name) == ("1", made.name)


async def test_arguments_are_read_as_ever():
    results = [
        await answer(tools.day_after, '{"day": "2026-02-28"}'),
        await answer(tools.day_after, '{"days": 2}'),
        await answer(tools.by_hand, '{"x": 7}'),
    ]

    assert [result.text for result in results] == ["2026-03-01", "The arguments do not fit: day: is missing.", "7"]
    assert results[2].name == "take_two"


async def test_pictures_come_back_whole():
    result = await answer(tools.picture, '{"size": 4096}')

    assert result.content == (Text("drawn"), Image(data=bytes(range(256)) * 4096))


async def test_all_of_the_context_but_its_deps_crosses_over():
    said: list[object] = []
    call = ToolCall("a", "known", "{}")
    context = Context(deps=object(), run_id="r", step=3, call=call, idempotency_key="k", progress=said.append)

    result = await asyncio.wait_for(tools.known.call(call, context), 5)

    assert json.loads(result.text) == [None, "r", 3, "a", "k"]
    assert said[0] == {"half": 0.5, "at": "2026-01-02"}
    assert len(said) == 2


async def test_what_it_raises_answers_the_model_after_the_retries(caplog: pytest.LogCaptureFixture):
    said: list[object] = []

    with caplog.at_level(logging.DEBUG, logger="agentloop.tools"):
        result = await answer(tools.divide, '{"a": 1}', progress=said.append)

    assert (result.is_error, result.text) == (True, "ZeroDivisionError: division by zero")
    assert said == ["divided", "divided"]
    assert "return a / 0" in caplog.text


COUNTED = "TimeoutError: 'count' gave no result in 1 s; its process was killed, but whether it took effect is unknown"
BURNT = (
    "ChildProcessError: the process of 'burn' was ended by SIGXCPU, having used the 0.1 s of processor time that it may use, "
    "before it gave a result"
)


@pytest.mark.parametrize(
    ("made", "arguments", "words"),
    [
        (tools.leave, "{}", "SystemExit: goodbye"),
        (tools.leave_hard, "{}", "ChildProcessError: the process of 'leave_hard' ended itself with exit code 3 before it gave a result"),
        (tools.crash, "{}", "ChildProcessError: the process of 'crash' was ended by SIGSEGV before it gave a result"),
        pytest.param(tools.fill, '{"mebibytes": 400}', "MemoryError: it may use 314,572,800 bytes", marks=on_linux),
        (tools.burn, "{}", BURNT),
        (tools.backtrack, "{}", "TimeoutError: 'backtrack' gave no result in 0.2 s; its process was killed"),
        (tools.count, "{}", f"{COUNTED}. Until then it yielded:\n[0,1,2]"),
    ],
    ids=lambda value: value.name if isinstance(value, Tool) else "",
)
async def test_a_process_that_gives_no_result_answers_the_model(made: Tool[..., Any], arguments: str, words: str):
    result = await answer(made, arguments)

    assert (result.is_error, result.text) == (True, words)


async def test_a_tool_may_use_what_it_is_allowed():
    assert (await answer(tools.fill, '{"mebibytes": 100}')).text == str(100 * 2**20)


@on_linux
async def test_a_timeout_ends_all_processes_of_the_call():
    said = Said()

    result = await answer(tools.hang, progress=said)

    assert result.text == "TimeoutError: 'hang' gave no result in 1 s; its process was killed, but whether it took effect is unknown"
    assert [gone(pid) for pid in await said.first()] == [True] * 3


@on_linux
async def test_cancelling_ends_all_processes_of_the_call_and_comes_out():
    said = Said()
    task = asyncio.create_task(answer(tools.hang_for_ever, progress=said))
    family = await said.first()

    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1)

    assert done == {task}
    assert task.cancelled()
    assert reaped(family[0])
    assert [gone(pid) for pid in family] == [True] * 3


async def test_a_call_that_is_cancelled_before_a_thread_is_free_starts_nothing():
    release, said = threading.Event(), Said()
    busy = [asyncio.create_task(run_in_thread(lambda: release.wait(5))) for _ in range(32)]
    await asyncio.sleep(0)
    task = asyncio.create_task(answer(tools.hang_for_ever, progress=said))
    await asyncio.sleep(0)

    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1)
    release.set()
    await asyncio.gather(*busy)

    assert done == {task}
    assert task.cancelled()
    assert said.values == []


@on_linux
async def test_a_tool_does_not_outlive_the_process_that_watches_over_it():
    said = Said()
    task = asyncio.create_task(answer(tools.hang_for_ever, progress=said))
    supervisor, worker, grandchild = await said.first()

    os.kill(supervisor, signal.SIGKILL)
    result = await task
    os.kill(grandchild, signal.SIGKILL)

    assert result.text == "ChildProcessError: the process of 'hang_for_ever' was killed before it gave a result"
    assert gone(worker)


@on_linux
async def test_a_timeout_holds_where_the_process_that_watches_over_it_hangs():
    said = Said()
    task = asyncio.create_task(answer(tools.hang, progress=said))
    supervisor, worker, grandchild = await said.first()

    os.kill(supervisor, signal.SIGSTOP)
    result = await task
    os.kill(grandchild, signal.SIGKILL)

    assert result.text == "TimeoutError: 'hang' gave no result in 1 s; its process was killed, but whether it took effect is unknown"
    assert reaped(supervisor)
    assert gone(worker)


@on_linux
async def test_a_call_that_has_its_result_leaves_nothing_running():
    said = Said()

    result = await answer(tools.leave_things_behind, progress=said)

    assert (result.is_error, result.text) == (False, "done")
    assert [gone(pid) for pid in await said.first()] == [True] * 3


SCRIPT = """
import asyncio
from agentloop import Agent
from agentloop.testing import Scripted, calls, says
from tests.tools.isolated_tools import hang_for_ever

async def main():
    agent = Agent(Scripted(calls("hang_for_ever"), says("never")), tools=[hang_for_ever])
    async with agent.stream("go") as events:
        async for event in events:
            if event.kind == "call_progress":
                print(*event.value, flush=True)

asyncio.run(main())
"""


@on_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_app_that_is_killed_leaves_no_process_behind(number: signal.Signals):
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as app:
        family = [int(pid) for pid in app.stdout.readline().split()]  # type: ignore[union-attr]

        app.send_signal(number)

        app.wait(5)
    assert [gone(pid) for pid in family] == [True] * 3


async def test_keys_stay_at_home(monkeypatch: pytest.MonkeyPatch):
    kept = {"HOME_TOWN": "Bonn", "TOKENIZERS_PARALLELISM": "false", "MONKEY": "yes", "SERVER": "https://example.test:8080/a@b"}
    secret = {
        "OPENAI_API_KEY": "1",
        "APIKEY": "1",
        "AWS_SECRET_ACCESS_KEY": "1",
        "github_token": "1",
        "DB_PASSWORD": "1",
        "DATABASE_URL": "postgres://me:pw@db/x",
    }
    for name, value in {**kept, **secret}.items():
        monkeypatch.setenv(name, value)

    seen = json.loads((await answer(tools.environment)).text)

    assert kept.items() <= seen.items()
    assert secret.keys() & seen.keys() == set()


@pytest.mark.fault(110)
async def test_what_it_prints_goes_where_errors_go_and_nothing_is_typed(capfd: pytest.CaptureFixture[str]):
    result = await answer(tools.chat)

    assert (result.is_error, result.text) == (False, "''")
    printed = capfd.readouterr()
    assert printed.out == ""
    assert sorted(printed.err.splitlines()) == ["to nobody", "wrong", '{"say": "result"}']


async def test_a_module_that_another_process_cannot_import_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    module = ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", module)
    exec("def lost() -> int:\n    'Be lost.'\n    return 1", vars(module))  # noqa: S102
    module.lost = tool(module.lost, isolated=True)

    result = await answer(module.lost)

    assert result.text == (
        "ToolDefinitionError: tool 'lost' runs in a process of its own, which cannot import 'only_here' "
        "(ModuleNotFoundError: No module named 'only_here'); "
        "keep isolated tools in a module that needs no keys and does nothing when it is imported"
    )
    assert caplog.records[0].getMessage().startswith("tool 'lost' cannot be imported in a process of its own\nTraceback")


def test_a_tool_whose_name_is_taken_is_refused_when_it_is_collected():
    with pytest.raises(ToolDefinitionError, match=r"tests\.tools\.isolated_tools\.hidden is not it there; let it keep"):
        tools.found_elsewhere.tools()


def in_script() -> None:
    """Stand in a script."""


in_script.__module__ = "__main__"


class Library:
    def author(self) -> str:
        """Say."""
        return ""


def local() -> Callable[[], None]:
    def inside() -> None:
        """Stand inside."""

    return inside


NOT_IMPORTABLE = "isolated=True runs it in a process that must import it, which it can only do with a function of a module; move it"


@pytest.mark.parametrize(
    ("function", "given", "words"),
    [
        (local(), {"isolated": True}, f"tool 'inside': {NOT_IMPORTABLE}"),
        (lambda: None, {"isolated": True, "name": "quick"}, f"tool 'quick': {NOT_IMPORTABLE}"),
        (functools.partial(local), {"isolated": True}, f"tool 'local': {NOT_IMPORTABLE}"),
        (Library().author, {"isolated": True}, f"tool 'author': {NOT_IMPORTABLE}"),
        (
            Library.author,
            {"isolated": True},
            "tool 'author': isolated=True runs it in a process of its own, where there is no instance; make",
        ),
        (in_script, {"isolated": True}, "the script that was started cannot be imported without being run again; move it to a module"),
        (
            tools.plain,
            {"memory": 5},
            "tool 'plain': memory=5 limits a process of its own, and this tool has none; set isolated",
        ),
        (tools.plain, {"isolated": True, "memory": 0}, "tool 'plain': memory=0 leaves nothing; give bytes, or None for no limit"),
        (tools.plain, {"cpu": 1.5}, "tool 'plain': cpu=1.5 limits a process of its own"),
        (tools.plain, {"isolated": True, "cpu": float("nan")}, "tool 'plain': cpu=nan leaves nothing; give seconds, or None for no limit"),
    ],
)
def test_what_cannot_be_isolated_says_why(function: Callable[..., Any], given: Any, words: str):
    with pytest.raises(ToolDefinitionError) as caught:
        tool(function, **given)

    assert words in str(caught.value)
