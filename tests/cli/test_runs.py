"""The commands for runs that are written down."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from agentloop.testing import Gateway, calls, recorded, says, slow, status
from agentloop.testing.pytest_plugin import OpenGateway

from .conftest import PATIENCE, Terminal

Command = Callable[..., Result]
Module = Callable[[str], None]
Process = Callable[..., "subprocess.Popen[str]"]
AtTerminal = Callable[..., Terminal]

TOOLS = """
    import os
    from agentloop import Agent
    from agentloop.testing import Scripted, calls, says

    @tool
    def send(to: str) -> str:
        "Send a letter."
        with open("sent", "a") as sent:
            sent.write(to + "\\n")
        return f"sent to {to}"

    @tool
    def crash(to: str) -> str:
        "Send a letter, and lose the process."
        if os.path.exists("crashed"):
            return send(to)
        with open("crashed", "w"):
            os._exit(9)

    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        "Pay."
        return f"paid {amount}"

    clerk = Agent(Scripted(calls("pay", amount=9), says("The clerk is done.")), tools=[pay], name="clerk")
    boss = Agent(Scripted(calls("send", to="Al"), calls("pay", amount=3) & calls("clerk", task="Pay 9."), says("All paid.")),
                 tools=[send, pay, clerk.as_tool("Pays.")], name="boss")
    last = Agent(Scripted(says("All paid.")), tools=[send, pay, Agent(Scripted(says("The clerk is done.")), tools=[pay],
                 name="clerk").as_tool("Pays.")], name="boss")
    short = Agent(Scripted(says("Enough.")), name="short")
    """

JOURNAL = ("--journal", "runs.db")


def at(gateway: Gateway, *arguments: str) -> tuple[str, ...]:
    return ("-m", "scripted", "--base-url", gateway.base_url, "-T", "mytools:pay", "-T", "mytools:send", *JOURNAL, *arguments)


def paused(agentloop: Command, module: Module) -> Result:
    """Begin the run "r": a letter is sent, and then a payment and one of the clerk's wait."""
    module(TOOLS)
    return agentloop("run", "Pay all.", "-a", "mytools:boss", *JOURNAL, "--run-id", "r")


def finished(agentloop: Command, module: Module) -> Result:
    paused(agentloop, module)
    agentloop("runs", "approve", "r", "call_1_0")
    agentloop("runs", "approve", "r/1/1")
    return agentloop("runs", "resume", "r", "-a", "mytools:last")


def test_a_run_that_waits_is_answered_and_resumed_by_later_commands(agentloop: Command, module: Module, folder: Path):
    first = paused(agentloop, module)
    approved = agentloop("runs", "approve", "r", "call_1_0")
    answered = agentloop("runs", "answer", "r", "--result", "paid by hand")
    resumed = agentloop("runs", "resume", "r", "-a", "mytools:last")

    assert first.exit_code == 3
    assert "to go on: agentloop runs resume r --journal runs.db -a mytools:boss" in first.stderr
    assert approved.stderr == "approved: pay(amount=3); 1 call still waits\n"
    assert answered.stderr == "answered: pay(amount=9); resume the run to go on\n"
    assert (resumed.exit_code, resumed.stdout) == (0, "All paid.\n")
    assert "send(" not in resumed.stderr
    assert (folder / "sent").read_text() == "Al\n"


def test_runs_are_listed_and_shown(agentloop: Command, module: Module):
    paused(agentloop, module)

    listed, shown = agentloop("runs", "list"), agentloop("runs", "show", "r")

    assert re.fullmatch(r"r  waiting  \d{4}-\d\d-\d\d \d\d:\d\d  2 steps  0 tokens  boss: Pay all\.\n", listed.stdout)
    assert shown.stdout.splitlines()[1:] == [
        ">  Pay all.",
        '0  ✓ send(to="Al")  10 B → sent to Al',
        "1  ● pay(amount=3)",
        '   ● clerk(task="Pay 9.")',
        "",
        shown.stdout.splitlines()[6],
        "  >  Pay 9.",
        "  0  ● pay(amount=9)",
        "",
        "?  pay(amount=9)  needs an approval",
        "   agentloop runs approve r/1/1 call_0_0  (or deny)",
        "?  pay(amount=3)  needs an approval",
        "   agentloop runs approve r call_1_0  (or deny)",
    ]
    assert shown.stdout.splitlines()[6].startswith("  r/1/1  clerk  waiting  1 step  0 tokens  ")


def test_runs_are_listed_and_shown_as_json(agentloop: Command, module: Module):
    paused(agentloop, module)

    listed = json.loads(agentloop("runs", "list", "--json").stdout)
    shown = json.loads(agentloop("runs", "show", "r", "--json").stdout)

    assert [(run["run_id"], run["status"], run["steps"]) for run in listed] == [("r", "waiting", 2)]
    assert [each["call"]["name"] for each in shown["waiting"]] == ["pay", "pay"]
    assert (len(shown["transcript"]["messages"]), shown["spawned"][0]["run_id"]) == (4, "r/1/1")


def test_a_word_needs_a_call_that_is_clear(agentloop: Command, module: Module):
    paused(agentloop, module)

    several = agentloop("runs", "approve", "r")
    unknown = agentloop("runs", "deny", "r", "call_7_0")
    agentloop("runs", "deny", "r/1/1")
    last = agentloop("runs", "deny", "r", "--reason", "Too much.")
    none = agentloop("runs", "deny", "r")

    assert (several.exit_code, unknown.exit_code, last.exit_code, none.exit_code) == (1, 1, 0, 1)
    assert "which call of 'r' is meant is not clear" in several.stderr
    assert "r call_1_0 (pay)" in unknown.stderr
    assert "the run 'r' waits for no word" in none.stderr


def test_arguments_of_an_approval_are_checked(agentloop: Command, module: Module):
    paused(agentloop, module)

    wrong = agentloop("runs", "approve", "r", "call_1_0", "--arguments", "[3]")
    right = agentloop("runs", "approve", "r", "call_1_0", "--arguments", '{"amount": 4}')
    agentloop("runs", "deny", "r/1/1")
    agentloop("runs", "resume", "r", "-a", "mytools:last")

    assert (wrong.exit_code, right.exit_code) == (2, 0)
    assert "paid 4" in json.dumps(json.loads(agentloop("runs", "show", "r", "--json").stdout)["transcript"])


def test_a_finished_run_is_replayed_with_and_without_its_agent(agentloop: Command, module: Module, folder: Path):
    finished(agentloop, module)
    before = (folder / "sent").read_text()

    alone, lived = agentloop("runs", "replay", "r"), agentloop("runs", "replay", "r", "-a", "mytools:boss")

    assert (alone.exit_code, alone.stdout) == (lived.exit_code, lived.stdout) == (0, "All paid.\n")
    assert alone.stderr.split("  ")[0] == '✓ send(to="Al")'
    assert '✓ send(to="Al")' in lived.stderr
    assert (folder / "sent").read_text() == before


def test_a_replay_by_another_agent_says_where_it_diverges(agentloop: Command, module: Module):
    finished(agentloop, module)

    ended = agentloop("runs", "replay", "r", "-a", "mytools:short")

    assert ended.exit_code == 1
    assert "the replay of the run 'r' diverges at '1/1': nothing is recorded there, and it would call 'clerk'" in ended.stderr


def test_a_fork_goes_its_own_way_and_is_compared(agentloop: Command, module: Module):
    finished(agentloop, module)

    forked = agentloop("runs", "fork", "r", "--at", "1", "--prompt", "Pay nobody.")
    fork = forked.stdout.strip()
    resumed = agentloop("runs", "resume", fork, "-a", "mytools:short")
    diff = agentloop("runs", "diff", "r", fork)

    assert re.fullmatch(r"r-[0-9a-f]{6}", fork)
    assert f"agentloop runs resume {fork}" in forked.stderr
    assert resumed.stdout == "Enough.\n"
    assert diff.stdout.splitlines()[2:6] == [
        "@@ step 0 @@",
        '  calls send({"to":"Al"})',
        '  send({"to":"Al"}) → sent to Al',
        "+ user Pay nobody.",
    ]
    assert "fork of r at 1" in agentloop("runs", "list").stdout
    assert agentloop("runs", "diff", "r", "r").stdout == "nothing differs\n"


def test_an_exported_run_is_a_model_for_tests(agentloop: Command, module: Module, folder: Path):
    finished(agentloop, module)

    ended = agentloop("runs", "export", "r", "-o", "run.json")

    assert (ended.exit_code, recorded(folder / "run.json").replies_left) == (0, 5)
    assert (folder / "run.json").stat().st_mode & 0o777 == 0o600
    assert agentloop("runs", "export", "r").stdout == (folder / "run.json").read_text()


def test_what_is_exported_to_a_terminal_does_nothing_there(agentloop: Command, module: Module, folder: Path):
    module("""
        from agentloop import Agent
        from agentloop.testing import Scripted, says

        rude = Agent(Scripted(says("\\x9b31mred \\u202e hidden, in Grün")))
        """)
    agentloop("run", "Hi.", "-a", "mytools:rude", *JOURNAL, "--run-id", "r")
    agentloop("runs", "export", "r", "-o", "run.json")

    shown = agentloop("runs", "export", "r").stdout

    assert "\\u009b31mred \\u202e hidden, in Grün" in shown
    assert json.loads(shown) == json.loads((folder / "run.json").read_text())


def test_a_run_is_followed_to_its_end(agentloop: Command, module: Module):
    finished(agentloop, module)

    told, lines = agentloop("runs", "follow", "r"), agentloop("runs", "follow", "r", "--jsonl")

    assert told.stdout.splitlines()[0] == '0  ● send(to="Al")'
    assert "   ? pay(amount=3)  needs an approval" in told.stdout.splitlines()
    assert told.stdout.splitlines()[-1] == "2  All paid."
    keys = [json.loads(line)["key"] for line in lines.stdout.splitlines()]
    assert (keys[:2], keys[-2:]) == (["input", "0/reply"], ["2/reply", "end"])


def test_hostile_words_are_escaped_wherever_a_run_is_shown(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(TOOLS)
    hostile = "\x1b[2J\x1b]0;owned\x07\u202e"
    gateway = scripted_gateway(calls("send", to=hostile).saying(hostile), calls("pay", amount=1), status(500), status(500))
    agentloop("run", hostile, *at(gateway, "--run-id", "r"))
    agentloop("runs", "deny", "r", "--reason", hostile)
    fork = agentloop("runs", "fork", "r", "--at", "0", "--prompt", "Else.").stdout.strip()

    shown = [
        agentloop("runs", *words)
        for words in (("list",), ("show", "r", "-v"), ("diff", "r", fork), ("list", "--json"), ("show", "r", "--json"))
    ]

    assert [ended.exit_code for ended in shown] == [0] * 5
    assert [character for ended in shown for character in ended.output if character in "\x1b\x07\u202e\r\x9b"] == []
    assert all(r"owned" in ended.output for ended in shown)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("runs", "list"), "there is no journal 'runs.db'"),
        (("runs", "resume", "r", "-a", "mytools:last"), "there is no journal 'runs.db'"),
        (("runs", "resume", "r"), "who shall answer is not said"),
        (("run", "Go.", "-a", "mytools:boss", "-T", "mytools:pay"), "-T is the agent's own where -a names one"),
        (("run", "Go.", "-a", "mytools:pay"), "'mytools:pay' is a Tool and no Agent"),
        (("run", "Go.", "-a", "mytools:nobody"), "'mytools:nobody' cannot be loaded"),
        (("run", "Go.", "-a", "nothing"), "'nothing' names no agent"),
        (("run", "Go.", "-a", "mytools:boss", "--run-id", "r"), "give --journal too"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_command_that_cannot_work_says_why(command: tuple[str, ...], words: str, agentloop: Command, module: Module, folder: Path):
    module(TOOLS)

    ended = agentloop(*command)

    assert (ended.exit_code, words in ended.stderr) == (2, True), ended.stderr
    assert not (folder / "runs.db").exists()


def test_an_unknown_run_is_named_with_those_there_are(agentloop: Command, module: Module):
    paused(agentloop, module)

    ended = agentloop("runs", "show", "q")

    assert (ended.exit_code, ended.stderr) == (1, "agentloop: there is no run 'q'; the newest are: r\n")


def test_a_run_whose_provider_failed_says_how_to_go_on(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(TOOLS)
    gateway = scripted_gateway(calls("send", to="Al"), status(401), says("Done."))

    failed = agentloop("run", "Go.", *at(gateway, "--run-id", "r", "--instructions", "Be brief."))
    resumed = agentloop("runs", "resume", "r", *at(gateway))

    assert failed.exit_code == 5
    way_on = f"agentloop runs resume r --journal runs.db -m scripted --base-url {gateway.base_url} --instructions 'Be brief.'"
    assert f"to go on: {way_on} -T mytools:pay -T mytools:send" in failed.stderr
    assert (resumed.exit_code, resumed.stdout) == (0, "Done.\n")


def test_ctrl_c_says_how_to_go_on(terminal: AtTerminal, agentloop: Command, module: Module):
    module(TOOLS)
    with Gateway(calls("send", to="Al"), slow(says("Never."), before=60)) as gateway, Gateway(says("Done.")) as later:
        screen = terminal("run", "Go.", *at(gateway, "--run-id", "r"))
        screen.wait_for("✓ send")
        screen.type("\x03")

        assert screen.end() == 130
        assert "to go on: agentloop runs resume r --journal runs.db" in " ".join(screen.text.split())
        assert agentloop("runs", "resume", "r", *at(later)).stdout == "Done.\n"


@pytest.mark.parametrize(
    ("keys", "said", "sent"),
    [("m\n", "sent to Al", True), ("r\nI saw it\n", "I saw it", False), ("t\n", "whether it took effect is unknown", False)],
    ids=["make it again", "give its result", "tell the model"],
)
def test_a_call_in_doubt_is_asked_about_at_the_terminal(
    keys: str, said: str, sent: bool, terminal: AtTerminal, process: Process, agentloop: Command, module: Module, folder: Path
):
    module(TOOLS)
    options = ("-T", "mytools:crash", *JOURNAL)
    with Gateway(calls("crash", to="Al"), says("Done.")) as gateway:
        asked = ("-m", "scripted", "--base-url", gateway.base_url, *options)
        killed = process("run", "Go.", *asked, "--run-id", "r")
        assert killed.wait(PATIENCE) == 9

        screen = terminal("runs", "resume", "r", *asked)
        screen.wait_for("[m]ake it again, [r]esult (you give it), [t]ell the model that nobody knows, [q]uit: ")
        first, _, rest = keys.partition("\n")
        screen.type(f"{first}\n")
        if rest:
            screen.wait_for("  result: ")
            screen.type(rest)

        assert screen.end() == 0
    assert "crash was begun, and then cut off; nobody knows whether it took effect" in screen.text
    assert screen.text.rstrip().endswith("Done.")
    transcript = json.loads(agentloop("runs", "show", "r", "--json").stdout)["transcript"]
    assert said in transcript["messages"][2]["parts"][0]["content"]
    assert (folder / "sent").exists() is sent


def test_a_call_in_doubt_is_answered_by_a_later_command(process: Process, agentloop: Command, module: Module):
    module(TOOLS)
    with Gateway(calls("crash", to="Al"), says("Done.")) as gateway:
        options = ("-m", "scripted", "--base-url", gateway.base_url, "-T", "mytools:crash", *JOURNAL)
        assert process("run", "Go.", *options, "--run-id", "r").wait(PATIENCE) == 9

        nobody = agentloop("runs", "resume", "r", *options)
        shown = agentloop("runs", "show", "r")
        answered = agentloop("runs", "answer", "r", "--result", "It arrived.")
        resumed = agentloop("runs", "resume", "r", *options)

    assert nobody.exit_code == 3
    assert 'crash(to="Al") was begun and cut off, and needs a person\'s word on what it came to' in nobody.stderr
    assert "is in doubt: begun, and then cut off" in shown.stdout
    assert (answered.exit_code, resumed.stdout) == (0, "Done.\n")


def test_an_agent_in_an_agent_asks_at_the_terminal(terminal: AtTerminal, module: Module):
    module(TOOLS)

    screen = terminal("run", "Pay all.", "-a", "mytools:boss", *JOURNAL)
    screen.wait_for("[q]uit: ")
    screen.type("y\n")
    screen.wait_for("amount = 9\n  [y]es, [n]o (tell the model why), [e]dit the arguments, [q]uit: ")
    screen.type("y\n")

    assert screen.end() == 0
    assert screen.text.rstrip().endswith("All paid.")
    assert "a tool of an agent that is not known here" in screen.text
