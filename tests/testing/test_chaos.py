"""The chaos kit: a good agent comes through, and each kind of bad one is found out."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from agentloop import Agent, tool
from agentloop.errors import ConfigurationError, StreamBroken
from agentloop.messages import Message, Reply, Request
from agentloop.models import Hear, Model
from agentloop.testing import calls, chaos, says

SCRIPT = [calls("look", place="sea") & calls("pay", amount=3), says("It is paid, and the sea was seen.")]
A_FEW = ["status 503", "cut in half, as if whole", "no UTF-8"]


@tool(effect="read")
async def look(place: str) -> str:
    """Look."""
    await asyncio.sleep(0)
    return f"seen {place}"


@tool
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def sound(model: Model) -> Agent[str]:
    return Agent(model, tools=[look, pay])


@pytest.mark.fault(114, 120, 121, 122)
async def test_a_good_agent_comes_through_every_fault_and_every_cancellation():
    report = await chaos(sound, "Pay.", script=SCRIPT)

    rows = {row.fault: row for row in report.rows}
    assert rows["status 503"].outcomes == {"answered": 4, "ServerError": 4}
    assert rows["silent"].outcomes == {"answered": 4, "ModelTimeout": 4}
    assert rows["the tool 'pay' raises"].outcomes == {"answered": 2}
    assert rows["cancelled at await"].outcomes["CancelledError"] > 50
    assert report.cases > 300
    assert str(report).splitlines()[-1].split() == ["all", str(report.cases), "every", "invariant", "held"]


@pytest.mark.parametrize("wire", ["responses", "messages", "gemini"])
async def test_the_other_formats_come_through_as_well(wire: str):
    report = await chaos(sound, "Pay.", script=SCRIPT, wires=[wire], faults=A_FEW)

    assert [row.fault for row in report.rows] == [
        "nothing",
        *A_FEW,
        "the tool 'look' raises",
        "the tool 'pay' raises",
        "cancelled at await",
    ]


async def test_an_agent_that_waits_for_a_person_comes_through():
    careful = tool(pay.function, needs_approval=True)

    report = await chaos(lambda model: Agent(model, tools=[look, careful]), "Pay.", script=SCRIPT, faults=["status 400"])

    assert report.rows[0].outcomes == {"paused": 2}


async def test_a_fault_that_there_is_not_is_refused_with_the_list():
    with pytest.raises(ConfigurationError, match=r"no fault 'status 418'; choose of: status 400, "):
        await chaos(sound, "Pay.", script=SCRIPT, faults=["status 418"])


async def found(make, *, faults=(), script=SCRIPT) -> str:
    with pytest.raises(AssertionError) as complaint:
        await chaos(make, "Pay.", script=script, faults=faults)
    return str(complaint.value)


async def test_a_tool_that_leaves_a_task_behind_is_found():
    kept: list[asyncio.Task[None]] = []

    @tool(name="pay")
    async def leave(amount: int) -> str:
        """Pay."""
        kept.append(asyncio.create_task(asyncio.sleep(30)))
        return "paid"

    words = await found(lambda model: Agent(model, tools=[look, leave]))

    for task in kept:
        task.cancel()
    assert "the run does not hold even where nothing goes wrong" in words
    assert "tasks: Task-" in words


async def test_a_tool_that_leaves_a_thread_behind_is_found():
    over = threading.Event()

    @tool(name="pay")
    def leave(amount: int) -> str:
        """Pay."""
        threading.Thread(target=over.wait, args=(30,), name="stray").start()
        return "paid"

    words = await found(lambda model: Agent(model, tools=[look, leave]))

    over.set()
    assert "threads: stray still runs" in words


async def test_a_tool_that_swallows_its_cancellation_is_found():
    @tool(name="pay")
    async def stubborn(amount: int) -> str:
        """Pay."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.Event().wait()
        return "paid"

    words = await found(lambda model: Agent(model, tools=[stubborn]), script=[calls("pay", amount=3), says("Done.")])

    assert "s after it was cancelled; in the case: cancelled at await " in words


class Around:
    """A model around the one that is given."""

    name = "around"

    def __init__(self, model: Model) -> None:
        self.model = model

    async def ask(self, request: Request, hear: Hear) -> Reply:
        return await self.model.ask(request, hear)


async def test_a_model_that_says_its_calls_twice_is_found():
    class Twice(Around):
        async def ask(self, request: Request, hear: Hear) -> Reply:
            reply = await super().ask(request, hear)
            return replace(reply, parts=reply.parts * 2) if reply.calls else reply

    words = await found(lambda model: sound(Twice(model)))

    assert "effects: 'pay' did its work 2 times, and the model called it 1 times" in words


async def test_a_model_that_takes_a_part_for_the_whole_is_found():
    class Hasty(Around):
        async def ask(self, request: Request, hear: Hear) -> Reply:
            try:
                return await super().ask(request, hear)
            except StreamBroken as broken:
                if broken.partial.text:
                    return broken.partial
                raise

    words = await found(lambda model: sound(Hasty(model)), faults=["cut, as if whole", "cut in half, as if whole"])

    assert (
        "answer: the run answers 'It is paid, and the ', and the model said 'It is paid, and the sea was seen.'; in the case: cut in half"
        in words
    )


async def test_an_error_that_is_none_of_ours_is_found():
    class Raw(Around):
        async def ask(self, request: Request, hear: Hear) -> Reply:
            try:
                return await super().ask(request, hear)
            except StreamBroken as broken:
                raise ValueError("cut") from broken

    words = await found(lambda model: sound(Raw(model)), faults=["cut in half, as if whole"])

    assert "errors: the run ended with ValueError: cut, which is no AgentLoopError; in the case: cut in half, as if whole, turn 1" in words


async def test_a_model_that_leaves_results_out_is_found():
    class Forgetful(Around):
        async def ask(self, request: Request, hear: Hear) -> Reply:
            kept = [Message(each.role, each.parts[:1]) if each.role == "tool" else each for each in request.messages]
            return await super().ask(replace(request, messages=kept), hear)

    words = await found(lambda model: sound(Forgetful(model)))

    assert "requests: a provider would refuse one: " in words


async def test_a_model_that_goes_on_though_it_was_cancelled_is_found():
    class Deaf(Around):
        async def ask(self, request: Request, hear: Hear) -> Reply:
            try:
                return await super().ask(request, hear)
            except asyncio.CancelledError:
                return await super().ask(request, hear)

    words = await found(lambda model: sound(Deaf(model)))

    assert "cancelling: the run was cancelled, and ended with a result; in the case: cancelled at await " in words
