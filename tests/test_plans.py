"""Plans: nothing has an effect while one is made, and what is carried out is what was read."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from agentloop import Agent, Context, Message, Policy, Text, Transcript, external, tool, user
from agentloop.errors import BadReply, BadTranscript, ConfigurationError, JournalMismatch, PlanOutdated, RunUndone
from agentloop.flows import flow
from agentloop.journal import Journal
from agentloop.journal.memory import MemoryStore
from agentloop.journal.runs import Runs
from agentloop.journal.sqlite import SQLiteStore
from agentloop.messages import Reply, Request, ToolCall, ToolResult
from agentloop.models import Hear
from agentloop.plans import Plan
from agentloop.testing import Scripted, always, calls, fails, says
from agentloop.tools.hosted import MCPServer, WebSearch


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path: Path):
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


def sender(made: list[str], **options):
    def preview(to: str, words: str = "") -> str:
        return f"would send {words!r} to {to}"

    @tool(preview=preview, **options)
    def send(to: str, words: str = "") -> str:
        "Send."
        made.append(f"{to}: {words}")
        return f"sent to {to}"

    return send


@tool(effect="read")
def look(what: str) -> str:
    "Look something up."
    return f"{what} is fine"


def listed(plan: Plan) -> list[str]:
    return [f"{call.name} {call.arguments}" for call in plan.calls]


async def test_a_plan_holds_the_calls_with_an_effect_and_does_none_of_them():
    made: list[str] = []
    model = Scripted(calls("look", what="Ann"), calls("send", to="Ann", words="Hi"), says("I would greet Ann."))
    agent = Agent(model, tools=[look, sender(made, destructive=True, open_world=True)])

    plan = await agent.plan("Greet Ann.")

    assert made == []
    assert listed(plan) == ['send {"to":"Ann","words":"Hi"}']
    assert plan.text == "I would greet Ann."
    call = plan.calls[0]
    assert (call.effect, call.destructive, call.open_world, call.preview) == ("once", True, True, "would send 'Hi' to Ann")
    assert model.heard[1].results[0].content == "Ann is fine"
    assert model.heard[2].results[0].content == "would send 'Hi' to Ann"


async def test_a_model_is_told_the_same_of_the_tools_while_it_plans():
    agent = Agent(Scripted(says("Nothing to do.")), tools=[look, sender([]), external("ask", "Ask.")], instructions="Be kind.")
    await agent.plan("Hm.")
    planned = agent.model.heard[0]
    agent.model = Scripted(says("Nothing to do."))

    await agent.run("Hm.")

    assert agent.model.heard[0] == planned


async def test_without_a_preview_the_model_reads_that_the_call_is_planned():
    @tool
    def delete(name: str) -> None:
        "Delete."
        raise AssertionError

    model = Scripted(calls("delete", name="a"), says("Planned."))

    plan = await Agent(model, tools=[delete]).plan("Delete a.")

    assert plan.calls[0].preview == model.heard[1].results[0].content
    assert plan.calls[0].preview.startswith("Planned, and not done yet: 'delete' is called like this once the plan is approved.")


async def test_a_preview_that_fails_tells_the_model_and_plans_nothing():
    def preview(to: str) -> str:
        raise LookupError(f"nobody is called {to}")

    @tool(preview=preview)
    def send(to: str) -> str:
        "Send."
        return to

    model = Scripted(calls("send", to="Nobody"), says("It cannot be done."))

    plan = await Agent(model, tools=[send]).plan("Greet.")

    assert plan.calls == ()
    assert model.heard[1].results[0].content == "LookupError: nobody is called Nobody"


async def test_an_approved_plan_is_carried_out_to_the_letter_and_in_its_order(store):
    made: list[str] = []
    letters = [
        '{ "to" :\t"Zoë \\u0041 😀" ,"words":"  two  spaces "}',
        '{"words":"b","to":"B"}',
        '{"to":"B","words":"b"}',
        '{"to":"B","words":"b"}',
    ]
    first = Message("assistant", (Text("First."), ToolCall("a", "send", letters[0]), ToolCall("b", "look", '{"what":"x"}')))
    second = Message("assistant", tuple(ToolCall(f"c{n}", "send", letter) for n, letter in enumerate(letters[1:])))
    model = Says(first, second, Message("assistant", (Text("Planned."),)), Message("assistant", (Text("All sent."),)))
    agent = Agent(model, tools=[look, sender(made)], journal=store)
    plan = await agent.plan("Greet all.")
    plan.approve()

    result = await agent.carry_out(plan)

    assert [call.arguments for call in plan.calls] == letters
    assert [call.arguments for message in result.transcript for call in message.calls if call.name == "send"] == letters
    assert made == ["Zoë A 😀:   two  spaces ", "B: b", "B: b", "B: b"]
    assert result.text == "All sent."
    assert [each.text for each in result.transcript.messages[-2].results] == ["sent to B"] * 3
    assert model.heard[-1].settings.tool_choice == "none"


async def test_calls_of_one_reply_are_made_side_by_side_and_those_of_the_next_after_them():
    order: list[str] = []
    both = asyncio.Barrier(2)

    @tool
    async def write(name: str) -> str:
        "Write."
        if name != "last":
            await asyncio.wait_for(both.wait(), 5)
        order.append(name)
        return name

    model = Scripted(calls("write", name="a") & calls("write", name="b"), calls("write", name="last"), says("Plan."), says("Done."))
    agent = Agent(model, tools=[write])
    plan = await agent.plan("Write.")
    plan.approve()

    await agent.carry_out(plan)

    assert (sorted(order[:2]), order[2]) == (["a", "b"], "last")


async def test_a_plan_is_stored_as_json_and_carried_out_in_another_process(store):
    made: list[str] = []
    stored = (await Agent(Scripted(calls("send", to="Ann"), says("Plan.")), tools=[sender(made)]).plan("Greet.")).to_json()
    read = Plan.from_json(stored)
    read.approve()
    approved = read.to_json()

    plan = Plan.from_json(approved)
    result = await Agent(Scripted(says("Sent.")), tools=[sender(made)], journal=store).carry_out(plan)

    assert (made, result.text) == (["Ann: "], "Sent.")
    assert plan.fingerprint == read.fingerprint
    assert json.loads(stored)["decisions"] == {}


async def test_the_fingerprint_of_a_plan_is_that_of_its_calls_and_their_order():
    async def planned(*turns) -> str:
        return (await Agent(Scripted(*turns, says("Plan.")), tools=[sender([]), look]).plan("Greet.")).fingerprint

    one, other = calls("send", to="Ann"), calls("send", to="Bob")

    same = {await planned(one, other), await planned(one, calls("look", what="x"), other)}
    different = {await planned(other, one), await planned(one & other), await planned(one), await planned()}

    assert len(same) == 1
    assert len(same | different) == 5


async def test_single_calls_of_a_plan_are_denied_and_changed():
    made: list[str] = []
    turns = [calls("send", to=to) for to in ("Ann", "Bob", "Cid")]
    model = Scripted(*turns, says("Plan."), says("Two of three."))
    agent = Agent(model, tools=[sender(made)])
    plan = await agent.plan("Greet all.")
    plan.deny(plan.calls[0].id, "Ann is away.")
    plan.approve(plan.calls[1].id, arguments={"to": "Bo", "words": "Hello"})
    assert [call.arguments for call in plan.waiting] == ['{"to":"Cid"}']
    plan.approve()

    result = await agent.carry_out(plan)

    said = [each.text for message in result.transcript for each in message.results]
    assert made == ["Bo: Hello", "Cid: "]
    assert said[0] == "The user denied this call: Ann is away."
    assert said[1].startswith('A person changed the arguments of this call to {"to":"Bo","words":"Hello"}')


async def test_a_plan_on_which_somebody_has_not_spoken_is_not_begun():
    made: list[str] = []
    agent = Agent(Scripted(calls("send", to="Ann") & calls("send", to="Bob"), says("Plan.")), tools=[sender(made)])
    plan = await agent.plan("Greet.")
    plan.approve(plan.calls[0].id)

    with pytest.raises(ConfigurationError, match=r"nobody has spoken on the calls of 'send' yet; say plan\.approve\(\)"):
        await agent.carry_out(plan)

    assert made == []


async def test_after_a_failed_call_the_later_ones_are_not_made_and_the_model_is_told():
    made: list[str] = []

    @tool
    def pay(amount: int) -> str:
        "Pay."
        raise ConnectionError("the bank is closed")

    turns = [calls("send", to="Ann"), calls("pay", amount=3), calls("send", to="Bob"), calls("look", what="x")]
    model = Scripted(*turns, says("Plan."), says("The bank is closed."))
    agent = Agent(model, tools=[sender(made), pay, look])
    plan = await agent.plan("Pay and tell.")
    plan.approve()

    result = await agent.carry_out(plan)

    assert (made, result.text) == (["Ann: "], "The bank is closed.")
    assert model.heard[-1].instructions.endswith("A call failed, so these were not made: send.")


async def test_a_model_that_calls_more_after_a_plan_is_not_heeded():
    made: list[str] = []
    model = Scripted(calls("send", to="Ann"), says("Plan."), says("Sent, and now Bob.") & calls("send", to="Bob"))
    agent = Agent(model, tools=[sender(made)])
    plan = await agent.plan("Greet.")
    plan.approve()

    result = await agent.carry_out(plan)

    assert (made, result.text) == (["Ann: "], "Sent, and now Bob.")


async def test_a_tool_that_changed_since_asks_again_before_anything_is_done():
    made: list[str] = []
    turns = [calls("look", what="x"), calls("send", to="Ann"), calls("pay")]

    @tool
    def pay() -> None:
        "Pay."
        made.append("paid")

    plan = await Agent(Scripted(*turns, says("Plan.")), tools=[sender(made), pay, look]).plan("Greet.")
    plan.approve()

    @tool
    def send(to: str, copy_to: str = "the boss") -> str:
        "Send, and tell the boss."
        made.append(f"{to} and {copy_to}")
        return "sent"

    changed = Agent(Scripted(says("Sent.")), tools=[send, pay, look])

    with pytest.raises(PlanOutdated, match="'send' changed since the plan was made, and nothing was done") as outdated:
        await changed.carry_out(plan)
    assert made == []
    again = outdated.value.plan
    assert [call.name for call in again.waiting] == ["send"]
    again.approve()
    await changed.carry_out(again)
    assert made == ["Ann and the boss", "paid"]


async def test_a_plan_whose_tool_is_gone_or_takes_its_arguments_no_more_is_not_begun():
    plan = await Agent(Scripted(calls("send", to="Ann"), says("Plan.")), tools=[sender([])]).plan("Greet.")
    plan.approve()

    @tool
    def send(address: str) -> str:
        "Send."
        return address

    with pytest.raises(ConfigurationError, match="the agent has no tool 'send' any more; plan anew"):
        await Agent(Scripted()).carry_out(plan)
    with pytest.raises(ConfigurationError, match="the planned call of 'send' cannot be made: The arguments do not fit"):
        await Agent(Scripted(), tools=[send]).carry_out(plan)
    plan.approve(plan.calls[0].id, arguments={"too": "Ann"})
    with pytest.raises(ConfigurationError, match="the planned call of 'send' cannot be made: The arguments do not fit"):
        await Agent(Scripted(), tools=[sender([])]).carry_out(plan)


async def test_a_policy_holds_while_planning_and_while_carrying_out():
    made: list[str] = []
    turns = [calls("send", to="Ann"), says("Plan."), says("Denied.")]

    denied = Agent(Scripted(*turns[:2]), tools=[sender(made)], approvals=Policy(tools={"send": "deny"}))
    read_only = Agent(Scripted(*turns[:2]), tools=[sender(made)], approvals="read_only")
    unattended = Agent(Scripted(*turns[:2]), tools=[sender(made, needs_approval=True)], approvals="deny")
    asking = Agent(Scripted(*turns), tools=[sender(made, needs_approval=True)], approvals="ask")
    for agent in (denied, read_only, unattended):
        assert (await agent.plan("Greet.")).calls == ()
        assert agent.model.heard[1].results[0].content == "The policy does not allow this call of 'send'; it was not made."
    plan = await asking.plan("Greet.")
    plan.approve()
    asking.approvals = Policy(once="deny")
    await asking.carry_out(plan)

    assert made == []
    assert asking.model.heard[-1].results[0].content == "The policy does not allow this call of 'send'; it was not made."


async def test_what_needs_a_persons_word_is_planned_though_it_only_reads():
    @tool(effect="read", needs_approval=True)
    def open_letter(name: str) -> str:
        "Open a letter."
        return f"Dear {name}"

    agent = Agent(Scripted(calls("open_letter", name="Ann"), says("Plan."), says("Read.")), tools=[open_letter])

    plan = await agent.plan("Read it.")
    plan.approve()
    result = await agent.carry_out(plan)

    assert listed(plan) == ['open_letter {"name":"Ann"}']
    assert result.transcript.messages[-2].results[0].text == "Dear Ann"


async def test_an_agent_in_an_agent_is_one_planned_call_unless_all_in_it_only_reads():
    made: list[str] = []
    writer = Agent(Scripted(calls("send", to="Ann"), says("Written.")), tools=[sender(made), look], name="writer")
    reader = Agent(Scripted(calls("look", what="Ann"), says("She is fine.")), tools=[look], name="reader")
    turn = calls("writer", task="Write.") & calls("sly", task="Write.") & calls("reader", task="Ann?")
    tools = [
        writer.as_tool("Writes."),
        writer.as_tool("Says it reads.", name="sly", effect="read"),
        reader.as_tool("Reads.", effect="read"),
    ]
    boss = Agent(Scripted(turn, says("Plan."), says("Done.")), tools=tools)

    plan = await boss.plan("Go.")

    assert made == []
    assert [call.name for call in plan.calls] == ["writer", "sly"]
    assert boss.model.heard[1].results[2].content == "She is fine."
    plan.approve(plan.calls[0].id)
    plan.deny(plan.calls[1].id)
    result = await boss.carry_out(plan)
    assert (made, result.text) == (["Ann: "], "Done.")
    assert result.transcript.messages[-2].results[0].text == "Written."


async def test_a_tool_that_runs_an_agent_in_planning_gives_it_no_rights():
    made: list[str] = []
    inner = Agent(Scripted(calls("send", to="Ann"), says("I may not.")), tools=[sender(made)], name="inner")
    asked = inner.as_tool("Hidden.", effect="read")

    @tool(effect="read")
    async def research(task: str, context: Context) -> str:
        "Research."
        return (await asked.call(ToolCall(context.call.id, "inner", json.dumps({"task": task})), context)).text

    boss = Agent(Scripted(calls("research", task="Write."), says("Plan.")), tools=[research])

    plan = await boss.plan("Go.")

    assert (made, plan.calls) == ([], ())
    assert inner.model.heard[1].results[0].content == "The policy does not allow this call of 'send'; it was not made."


async def test_tools_of_every_kind_are_planned_and_none_of_them_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "planned_away.py").write_text(
        "import pathlib\n\n\ndef burn(name: str) -> str:\n    'Burn.'\n    pathlib.Path(name).touch()\n    return name\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module: ModuleType = __import__("planned_away")
    monkeypatch.delitem(sys.modules, "planned_away")
    monkeypatch.setitem(sys.modules, "planned_away", module)
    made: list[str] = []

    class Desk:
        @tool(effect="idempotent", lock="desk", max_concurrency=1, retries=2)
        async def file(self, name: str) -> str:
            "File."
            made.append(name)
            return name

    isolated = tool(module.burn, isolated=True)
    turn = calls("burn", name=str(tmp_path / "burnt")) & calls("file", name="a") & calls("ask", question="b") & calls("nothing")
    schema = {"type": "object", "properties": {"question": {"type": "string"}}}
    agent = Agent(Scripted(turn, says("Plan.")), tools=[isolated, Desk().file, external("ask", "Ask.", parameters=schema, effect="read")])

    plan = await agent.plan("Go.")

    assert [call.name for call in plan.calls] == ["burn", "file", "ask"]
    assert (made, (tmp_path / "burnt").exists()) == ([], False)


async def test_bad_arguments_and_unknown_tools_have_no_place_in_a_plan():
    model = Scripted(calls("send", too="Ann") & calls("sent", to="Ann") & calls("send", to="Ann"), says("Plan."))

    plan = await Agent(model, tools=[sender([])]).plan("Greet.")

    assert listed(plan) == ['send {"to":"Ann"}']
    assert [result.is_error for result in model.heard[1].results] == [True, True, False]


async def test_what_the_provider_does_itself_cannot_be_planned_if_it_may_have_an_effect():
    server = MCPServer(name="crm", url="https://crm.example")

    with pytest.raises(ConfigurationError, match="the provider runs 'mcp' itself, so it cannot be planned"):
        await Agent(Scripted(), tools=[server]).plan("Go.")
    plan = await Agent(Scripted(says("Found.")), tools=[WebSearch()]).plan("Go.")

    assert plan.text == "Found."


async def test_a_plan_goes_on_a_conversation_and_leaves_it_as_it_is():
    made: list[str] = []
    before = Transcript([user("I am Ann."), Message("assistant", (ToolCall("call_0_0", "look", '{"what":"a"}'),))])
    before.add_result(ToolResult("call_0_0", "seen"))
    before.add(Message("assistant", (Text("Hello Ann."),)))
    agent = Agent(Scripted(calls("send", to="Ann"), says("Plan."), says("Sent.")), tools=[sender(made), look])

    plan = await agent.plan("Greet me.", transcript=before)
    plan.approve()
    result = await agent.carry_out(plan)

    assert len(before) == 4
    assert made == ["Ann: "]
    assert [message.text for message in result.transcript][:5:4] == ["I am Ann.", "Greet me."]
    assert result.text == "Sent."


async def test_a_plan_is_carried_out_once_in_a_journal(store):
    made: list[str] = []
    agent = Agent(Scripted(calls("send", to="Ann"), says("Plan."), says("Sent.")), tools=[sender(made)], journal=store)
    plan = await agent.plan("Greet.")
    plan.approve()

    first = await agent.carry_out(plan)
    second = await agent.carry_out(plan)

    assert (first.text, second.text, made) == ("Sent.", "Sent.", ["Ann: "])
    assert await store.runs() == [plan.run_id]
    other = Plan.from_json(plan.to_json())
    other.deny(other.calls[0].id)
    with pytest.raises(JournalMismatch, match="carries out another plan, or other words on it"):
        await agent.carry_out(other)


async def test_a_plan_whose_run_was_cut_off_goes_on_by_its_name_and_stays_held_to_the_plan(store):
    made: list[str] = []
    turns = [calls("send", to="Ann"), calls("send", to="Bob"), says("Plan.")]
    agent = Agent(Scripted(*turns, fails(BadReply("gone"))), tools=[sender(made)], journal=store)
    plan = await agent.plan("Greet.")
    plan.approve()
    with pytest.raises(BadReply):
        await agent.carry_out(plan, run_id="mail")
    eager = Agent(Scripted(says("Sent, and more.") & calls("send", to="Cid")), tools=[sender(made)], journal=store)

    result = await eager.resume("mail")

    assert (result.text, made) == ("Sent, and more.", ["Ann: ", "Bob: "])


async def test_a_plan_killed_at_any_record_makes_no_call_twice_and_none_that_was_not_planned(tmp_path: Path):
    for at in range(1, 30):
        made: list[str] = []
        store = SQLiteStore(tmp_path / f"{at}.db")
        life: list[asyncio.Task] = []
        agent = Agent(Scripted(calls("send", to="Ann"), calls("send", to="Bob"), says("Plan.")), tools=[sender(made)], journal=store)
        plan = await agent.plan("Greet.")
        plan.approve()
        carried = Agent(Scripted(always(says("Sent."))), tools=[sender(made)], journal=Ending(store, life, at))

        life.append(asyncio.ensure_future(carried.carry_out(plan)))
        cut = (await asyncio.wait_for(asyncio.gather(*life, return_exceptions=True), 5))[0]
        result = await Agent(Scripted(always(says("Sent."))), tools=[sender(made)], journal=store).carry_out(plan)
        while result.paused:
            await Runs(store).deny(plan.run_id, result.waiting[0].id)
            result = await Agent(Scripted(always(says("Sent."))), tools=[sender(made)], journal=store).resume(plan.run_id)

        assert made in (["Ann: ", "Bob: "], ["Ann: "], [])
        if not isinstance(cut, asyncio.CancelledError):
            assert made == ["Ann: ", "Bob: "]
            return
    raise AssertionError("no life was long enough")


async def test_a_plan_that_was_carried_out_is_undone_as_any_run(store):
    done: list[str] = []

    @tool(undo=lambda what: done.append(f"cancel {what}"))
    def book(what: str) -> str:
        "Book."
        done.append(f"book {what}")
        return what

    agent = Agent(Scripted(calls("book", what="a"), calls("book", what="b"), says("Plan."), says("Done.")), tools=[book], journal=store)
    plan = await agent.plan("Book.")
    plan.approve(plan.calls[0].id, arguments={"what": "c"})
    plan.approve()
    await agent.carry_out(plan)

    await agent.undo(plan.run_id)

    assert done == ["book c", "book b", "cancel b", "cancel c"]
    with pytest.raises(RunUndone):
        await agent.carry_out(plan)


async def test_a_stored_plan_whose_calls_are_not_the_models_is_refused():
    plan = await Agent(Scripted(calls("send", to="Ann"), says("Plan.")), tools=[sender([])]).plan("Greet.")
    stored = json.loads(plan.to_json())
    stored["calls"][0]["arguments"] = '{"to":"Bob"}'

    with pytest.raises(BadTranscript, match="the calls of the stored plan are not those that the model made"):
        Plan.from_json(json.dumps(stored))
    with pytest.raises(BadTranscript, match="this is no stored plan"):
        Plan.from_json(b"{}")
    with pytest.raises(BadTranscript, match=r"the plan has no call 'x'; it has: planned_\w+ \(send\)"):
        plan.approve("x")


async def test_what_was_decided_on_a_plan_answers_no_call_of_a_conversation_that_goes_on_from_it(store):
    made: list[str] = []

    @tool(preview=lambda to: "would send")
    def send(to: str) -> str:
        "Send."
        if not made:
            made.append("failed")
            raise ConnectionError("no line")
        made.append(to)
        return f"sent to {to}"

    model = Scripted(
        calls("send", to="Ann"),
        calls("look", what="Zoe"),
        calls("look", what="Ann") & calls("send", to="Cid"),
        says("Plan."),
        says("It failed."),
        calls("look", what="Bob") & calls("send", to="Dan"),
        says("Bob is found."),
    )
    agent = Agent(model, tools=[send, look], journal=store)
    plan = await agent.plan("Greet.")
    plan.approve(plan.calls[0].id)
    plan.deny(plan.calls[1].id)
    stopped = await agent.carry_out(plan)

    result = await agent.run("Look Bob up.", transcript=stopped.transcript)

    assert [each.text for each in result.transcript.messages[-2].results] == ["Bob is fine", "sent to Dan"]
    assert made == ["failed", "Dan"]


async def test_what_was_decided_on_a_plan_answers_no_call_of_a_fork(store):
    made: list[str] = []
    model = Scripted(calls("look", what="Ann"), calls("send", to="Ann"), says("Plan."), says("Done."))
    agent = Agent(model, tools=[look, sender(made)], journal=store)
    plan = await agent.plan("Greet.")
    plan.deny(plan.calls[0].id)
    await agent.carry_out(plan)
    fork = await Runs(store).fork(plan.run_id, at=0)

    other = Agent(Scripted(calls("look", what="Bob"), calls("send", to="Bob"), says("Sent.")), tools=[look, sender(made)], journal=store)
    result = await other.resume(fork)

    assert [each.text for message in result.transcript for each in message.results] == ["Bob is fine", "sent to Bob"]


async def test_a_call_that_is_wanted_more_often_is_planned_and_made_as_often():
    made: list[str] = []
    times = 7
    agent = Agent(Scripted(*[calls("send", to="Ann")] * times, says("Plan."), says("Done.")), tools=[sender(made)])

    plan = await agent.plan("Ring seven times.")
    plan.approve()
    await agent.carry_out(plan)

    assert len(plan.calls) == len(made) == times


async def test_a_plan_in_a_flow_may_use_tools_that_run_agents(store):
    helper = Agent(Scripted(always(says("I would."))), name="helper")

    @tool(effect="read")
    async def consult(question: str) -> str:
        "Consult."
        return (await helper.run(question)).text

    @tool
    async def tell(words: str) -> str:
        "Tell."
        return (await helper.run(words)).text

    agent = Agent(
        Scripted(calls("consult", question="Go?"), calls("tell", words="Go."), says("Plan."), says("Done.")), tools=[consult, tell]
    )
    came_to: list[str] = []

    @flow
    async def planned() -> str:
        plan = await agent.plan("Go.")
        plan.approve()
        result = await agent.carry_out(plan)
        came_to.extend(each.text for message in result.transcript for each in message.results)
        return (await helper.run("And you?")).text

    assert (await planned.run(journal=store, run_id="f")).output == "I would."
    assert came_to == ["I would.", "I would."]
    assert [name for name in await store.runs() if name != "f"] == ["f/0-helper"]


class Says:
    """A model that says these messages to the letter, which no scripted turn can."""

    name = "letters"

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.heard: list[Request] = []

    async def ask(self, request: Request, hear: Hear) -> Reply:
        self.heard.append(request)
        message = self.messages.pop(0)
        return Reply(message.parts, "tool_calls" if message.calls else "stop")


class Ending:
    """A store whose process ends while so many records are written."""

    def __init__(self, store: SQLiteStore, life: list[asyncio.Task], left: int) -> None:
        self._store, self._life, self._left = store, life, left

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    @asynccontextmanager
    async def open(self, run_id, works):
        async with self._store.open(run_id, works) as journal:
            yield EndingJournal(journal, self)

    async def count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._life[0].cancel()
            await asyncio.sleep(5)


class EndingJournal:
    def __init__(self, journal: Journal, ending: Ending) -> None:
        self._journal, self._ending = journal, ending
        self.wait, self.spawn = journal.wait, journal.spawn

    async def step(self, key, fn, *args):
        await self._ending.count()
        value = await self._journal.step(key, fn, *args)
        await self._ending.count()
        return value
