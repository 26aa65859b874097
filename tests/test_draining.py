"""A process that is told to stop ends its runs in good order, and they can be resumed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from agentloop import Agent, tool
from agentloop.draining import draining
from agentloop.errors import Drained
from agentloop.journal.memory import MemoryStore
from agentloop.testing import Scripted, calls, says

ROOT = Path(__file__).parent.parent


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.fault(142)
async def test_nothing_new_begins_and_what_runs_is_finished():
    made: list[str] = []

    @tool
    async def send(to: str) -> str:
        "Send."
        terminate()
        await asyncio.sleep(0.05)
        made.append(to)
        return f"sent to {to}"

    model, store = Scripted(calls("send", to="ann"), says("Done.")), MemoryStore()

    async with draining():
        with pytest.raises(Drained, match="resume it") as stopped:
            await Agent(model, tools=[send], journal=store).run("Send it.", run_id="mail")

    assert made == ["ann"]
    assert len(model.heard) == 1
    assert stopped.value.result.transcript.messages[-1].results[0].content == "sent to ann"
    resumed = await Agent(Scripted(says("Done.")), tools=[send], journal=store).resume("mail")
    assert (resumed.text, made) == ("Done.", ["ann"])


@pytest.mark.fault(142)
async def test_what_outlasts_its_grace_is_cancelled_and_in_doubt():
    begun = asyncio.Event()

    @tool
    async def send(to: str) -> str:
        "Send."
        begun.set()
        await asyncio.sleep(60)
        return to

    store = MemoryStore()
    agent = Agent(Scripted(calls("send", to="ann")), tools=[send], journal=store)

    async with draining(grace=0.05):
        task = asyncio.create_task(agent.run("Send it.", run_id="mail"))
        await asyncio.wait_for(begun.wait(), 5)
        terminate()
        with pytest.raises(Drained):
            await asyncio.wait_for(task, 5)

    resumed = await agent.resume("mail")
    assert [call.name for call in resumed.waiting] == ["send"]
    assert resumed.transcript.questions[resumed.waiting[0].id].wants == "outcome"


async def test_a_second_signal_ends_the_grace():
    begun = asyncio.Event()

    @tool
    async def think() -> str:
        "Think."
        begun.set()
        await asyncio.sleep(60)
        return ""

    async with draining(grace=60):
        task = asyncio.create_task(Agent(Scripted(calls("think")), tools=[think]).run("Think."))
        await asyncio.wait_for(begun.wait(), 5)
        terminate()
        await asyncio.sleep(0)
        terminate()

        with pytest.raises(Drained):
            await asyncio.wait_for(task, 5)


async def test_a_run_that_is_cancelled_by_somebody_else_stays_cancelled():
    begun = asyncio.Event()

    @tool
    async def think() -> str:
        "Think."
        begun.set()
        await asyncio.sleep(60)
        return ""

    async with draining(grace=0.05) as drain:
        task = asyncio.create_task(Agent(Scripted(calls("think")), tools=[think]).run("Think."))
        await asyncio.wait_for(begun.wait(), 5)
        task.cancel()
        drain.begin()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


async def test_a_run_that_needs_nothing_more_is_done():
    @tool
    def look() -> str:
        "Look."
        return "sun"

    class Last(Scripted):
        async def ask(self, request, hear):
            drain.begin()
            return await super().ask(request, hear)

    async with draining() as drain:
        assert (await Agent(Last(says("Sun.")), tools=[look]).run("Sun?")).text == "Sun."


@pytest.mark.parametrize("store", [None, MemoryStore()])
async def test_agents_in_agents_end_with_the_run_that_they_are_in(store: MemoryStore | None):
    begun = asyncio.Event()

    @tool
    async def think() -> str:
        "Think."
        begun.set()
        await asyncio.sleep(60)
        return ""

    inner = Agent(Scripted(calls("think")), tools=[think], name="inner")
    outer = Agent(Scripted(calls("inner", task="Think.")), tools=[inner.as_tool("Thinks.", effect="read")], journal=store)

    async with draining(grace=0.05):
        task = asyncio.create_task(outer.run("Think."))
        await asyncio.wait_for(begun.wait(), 5)
        terminate()

        with pytest.raises(Drained) as stopped:
            await asyncio.wait_for(task, 5)

    assert [call.name for call in stopped.value.result.transcript.next_move().calls] == ["inner"]


async def test_an_agent_in_an_agent_begins_nothing_new_either():
    @tool
    async def think() -> str:
        "Think."
        terminate()
        await asyncio.sleep(0.05)
        return "thought"

    inner = Agent(Scripted(calls("think")), tools=[think], name="inner")
    outer = Agent(Scripted(calls("inner", task="Think.")), tools=[inner.as_tool("Thinks.")])

    async with draining():
        with pytest.raises(Drained) as stopped:
            await outer.run("Think.")

    assert [call.name for call in stopped.value.result.transcript.next_move().calls] == ["inner"]


@pytest.mark.fault(142)
def test_a_process_with_a_stuck_tool_ends_in_time(tmp_path: Path):
    script = tmp_path / "stuck.py"
    script.write_text(
        "import asyncio, time\n"
        "from agentloop import Agent, tool\n"
        "from agentloop.draining import draining\n"
        "from agentloop.testing import Scripted, calls\n"
        "@tool(timeout=None)\n"
        "def stuck() -> str:\n"
        "    'Be stuck.'\n"
        "    print('stuck', flush=True)\n"
        "    time.sleep(600)\n"
        "async def main():\n"
        "    async with draining(grace=0.2):\n"
        "        await Agent(Scripted(calls('stuck')), tools=[stuck]).run('Go.')\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(  # noqa: S603 - a script of ours
        [sys.executable, script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        started = monotonic()
        process.terminate()

        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()

    assert "agentloop.errors.Drained" in errors
    assert monotonic() - started < 5
