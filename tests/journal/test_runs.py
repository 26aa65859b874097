"""The runs of a store are looked after without reading more than is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from agentloop import Agent, tool
from agentloop.journal.memory import MemoryStore
from agentloop.journal.reading import families
from agentloop.journal.runs import Runs
from agentloop.journal.store import Record
from agentloop.testing import Scripted, calls, says


class Counting(MemoryStore):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.names = 0
        self.read: list[str] = []

    async def records(self, run_id: str, *, after: int = 0) -> Sequence[Record]:
        self.read.append(run_id)
        return await super().records(run_id, after=after)

    async def runs(self) -> Sequence[str]:
        self.names += 1
        return await super().runs()


class Queued(MemoryStore):
    """Names a run that nobody has taken up yet."""

    async def runs(self) -> Sequence[str]:
        return [*await super().runs(), "queued"]


@tool(needs_approval=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def test_all_runs_are_listed_with_one_look_at_their_names():
    store = Counting()
    friend = Agent(Scripted(says("Dry."), says("Wet.")), name="friend").as_tool("Knows.")
    boss = Agent(Scripted(*(reply for _ in range(2) for reply in (calls("friend", task="?"), says("So.")))), tools=[friend], journal=store)
    for name in ("a", "ab"):
        await boss.run("Rain?", run_id=name)
    store.names, store.read = 0, []

    listed = await Runs(store).list()

    assert [each.run_id for each in listed] == ["a", "ab"]
    assert store.names == 1
    assert sorted(store.read) == ["a", "a/0/0", "ab", "ab/0/0"]


async def test_what_a_run_waits_for_is_found_without_the_records_of_others():
    store = Counting()
    for name in ("a", "b"):
        await Agent(Scripted(calls("pay", amount=1)), tools=[pay], journal=store).run("Pay.", run_id=name)
    store.names, store.read = 0, []

    (waiting,) = await Runs(store).waiting("a")

    assert (waiting.run_id, store.names, set(store.read)) == ("a", 1, {"a"})


async def test_a_run_that_has_not_begun_hides_no_other():
    store = Queued()
    await Agent(Scripted(says("Hi.")), journal=store).run("Hello.", run_id="a")

    assert [each.run_id for each in await Runs(store).list()] == ["a"]


def test_runs_that_others_spawned_are_sorted_to_them_whatever_slashes_their_names_have():
    sorted_ = families(["x/y", "r", "r/0/0", "r/0/0/1/0", "rs", "x/y/2"])

    assert sorted_ == {"x/y": ["x/y", "x/y/2"], "r": ["r", "r/0/0", "r/0/0/1/0"], "rs": ["rs"]}
