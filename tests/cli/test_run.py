from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from agentloop import Transcript
from agentloop.testing import Gateway, Turn, always, calls, cut, fails, refuses, says, slow, status
from agentloop.testing.pytest_plugin import OpenGateway

from .conftest import PATIENCE

Command = Callable[..., Result]
Module = Callable[[str], None]
Process = Callable[..., "subprocess.Popen[str]"]

WEATHER = """
    RAIN = {"Paris": 0.8, "Oslo": 0.1}

    @tool(effect="read")
    def rain(city: str) -> float:
        "Look up the chance of rain."
        print("looking up", city)
        return RAIN[city]
    """


def at(gateway: Gateway, *arguments: str) -> tuple[str, ...]:
    """Ask the scripted gateway."""
    return ("run", "Rain?", "-m", "scripted", "--base-url", gateway.base_url, *arguments)


def test_the_answer_goes_to_stdout_and_all_else_to_stderr(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(WEATHER)
    gateway = scripted_gateway(calls("rain", city="Paris").saying("I look."), says("Take one.\n\tReally: \x1b[1m80 %\x1b[0m."))

    ended = agentloop(*at(gateway, "-T", "mytools:rain"))

    assert ended.exit_code == 0
    # Into a pipe the answer goes as the model wrote it.
    assert ended.stdout == "Take one.\n\tReally: \x1b[1m80 %\x1b[0m.\n"
    *before, finished = ended.stderr.splitlines()
    # The tool only reads, so it may print while the reply still comes.
    assert [line for line in before if line != "looking up Paris"] == ["I look.", '● rain(city="Paris")']
    assert "looking up Paris" in before
    assert finished.startswith('✓ rain(city="Paris")  ')
    assert finished.endswith("s 3 B")


def test_a_failing_call_says_why_on_its_line(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(WEATHER)
    gateway = scripted_gateway(calls("rain", city="Rome"), says("No idea."))

    ended = agentloop(*at(gateway, "-T", "mytools:rain"))

    assert "✗ rain(city=\"Rome\")  KeyError: 'Rome'" in ended.stderr.splitlines()
    assert (ended.exit_code, ended.stdout) == (0, "No idea.\n")


def test_hostile_names_arguments_and_results_are_escaped(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module("""
        @tool
        def echo(words: str) -> str:
            "Say it back."
            print(words)
            if "fail" in words:
                raise ValueError(words)
            return words
        """)
    hostile = "\x1b[2J\x1b]0;owned\x07\u202e[bold]\r\n"
    gateway = scripted_gateway(calls("echo", words=hostile) & calls("echo", words=f"fail{hostile}"), says("Done."))

    ended = agentloop(*at(gateway, "-T", "mytools:echo", "-v"))

    assert ended.exit_code == 0
    assert [character for character in ended.stderr if character in "\x1b\x07\u202e\r\x9b"] == []
    assert ended.stderr.count(r"\x1b[2J\x1b]0;owned\x07\u202e[bold]") >= 4


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("@tool\ndef add(a: int, b: int) -> int:\n    return a + b", "mytools:add"),
        ("def add(a: int, b: int) -> int:\n    return a + b", "mytools:add"),
        ("@tool\ndef add(a: int, b: int) -> int:\n    return a + b\nALL = [add]", "mytools:ALL"),
        ("class Maths:\n  def tools(self): return [self.add]\n  @tool\n  def add(self, a: int, b: int): return a + b", "mytools:Maths"),
        ("class Maths:\n    @staticmethod\n    def add(a: int, b: int) -> int:\n        return a + b", "mytools:Maths.add"),
    ],
    ids=["tool", "plain function", "list", "toolset", "inner function"],
)  # fmt: skip
def test_a_target_may_be_any_kind_of_tools(source: str, target: str, agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(source)
    gateway = scripted_gateway(calls("add", a=2, b=3), lambda body: says(f"It is {body['messages'][-1]['content']}."))

    ended = agentloop(*at(gateway, "-T", target))

    assert (ended.stdout, ended.exit_code) == ("It is 5.\n", 0)


def test_tools_of_several_targets_are_given_together(agentloop: Command, module: Module, folder: Path, scripted_gateway: OpenGateway):
    module(WEATHER)
    (folder / "notes.txt").write_text("Umbrella: blue.\n")
    gateway = scripted_gateway(calls("rain", city="Oslo") & calls("read_file", path="notes.txt"), says("The blue one."))

    ended = agentloop(*at(gateway, "-T", "mytools:rain", "-T", "files:root=.", "-v"))

    assert ended.exit_code == 0
    assert "Umbrella: blue." in ended.stderr


@pytest.mark.parametrize(
    ("name", "asked"),
    [("qwen3", "qwen3"), ("qwen3:8b", "qwen3:8b"), ("openai:gpt-4o", "gpt-4o"), ("openai/gpt-oss:20b", "openai/gpt-oss:20b")],
)
def test_at_a_base_url_a_bare_name_is_enough(name: str, asked: str, agentloop: Command, scripted_gateway: OpenGateway):
    gateway = scripted_gateway(says("Hello."))

    ended = agentloop("run", "Hi", "-m", name, "--base-url", gateway.base_url)

    assert ended.stdout == "Hello.\n"
    assert gateway.requests[0].body["model"] == asked
    assert "authorization" not in gateway.requests[0].headers


def test_the_model_may_be_named_by_the_environment(agentloop: Command, scripted_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch):
    gateway = scripted_gateway(says("Hello."))
    monkeypatch.setenv("AGENTLOOP_MODEL", "openai:gpt-4o")
    monkeypatch.setenv("OPENAI_BASE_URL", gateway.base_url)

    assert agentloop("run", "Hi").stdout == "Hello.\n"


def test_the_prompt_and_the_instructions_reach_the_model(agentloop: Command, scripted_gateway: OpenGateway):
    gateway = scripted_gateway(says("Bonjour."))

    agentloop("run", "-", "-m", "scripted", "--base-url", gateway.base_url, "--instructions", "Speak French.", stdin="Hello there.\n")

    (instructions, prompt) = gateway.requests[0].body["messages"]
    assert (instructions["content"], prompt["content"]) == ("Speak French.", "Hello there.\n")


def test_json_has_the_whole_result(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(f"print('imported')\n{textwrap.dedent(WEATHER)}")
    gateway = scripted_gateway(calls("rain", city="Oslo"), says("Leave it \x9bhere."))

    ended = agentloop(*at(gateway, "-T", "mytools:rain", "--json"))

    said = json.loads(ended.stdout)
    assert (said["outcome"], said["answer"], said["steps"], said["waiting"]) == ("done", "Leave it \x9bhere.", 2, [])
    assert [message.role for message in Transcript.from_json(json.dumps(said["transcript"]))] == ["user", "assistant", "tool", "assistant"]
    assert said["usage"]["output_tokens"] > 0
    assert "\x9b" not in ended.stdout


def test_json_of_a_run_that_fails_says_why_and_how_far_it_got(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(WEATHER)
    gateway = scripted_gateway(always(calls("rain", city="Oslo")))

    ended = agentloop(*at(gateway, "-T", "mytools:rain", "--json", "--max-steps", "2"))

    said = json.loads(ended.stdout)
    assert (ended.exit_code, said["outcome"], said["answer"], said["steps"]) == (4, "failed", None, 2)
    assert said["error"]["kind"] == "LimitReached"
    assert Transcript.from_json(json.dumps(said["transcript"])).replies == 2


def test_jsonl_has_each_event_on_a_line(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(WEATHER)
    gateway = scripted_gateway(calls("rain", city="Oslo"), says("Leave it here."))

    ended = agentloop(*at(gateway, "-T", "mytools:rain", "--jsonl"))

    events = [json.loads(line) for line in ended.stdout.splitlines()]
    kinds = [event["kind"] for event in events]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_ended")
    assert kinds.count("step_started") == kinds.count("replied") == 2
    assert "".join(event["text"] for event in events if event["kind"] == "text_delta") == "Leave it here."
    (call,) = (event for event in events if event["kind"] == "call_ended")
    assert (call["call"]["name"], call["result"]["content"]) == ("rain", "0.1")
    assert ended.stderr == "looking up Oslo\n"


def test_an_event_with_an_error_is_json_too(agentloop: Command, scripted_gateway: OpenGateway):
    gateway = scripted_gateway(status(429, retry_after=0.01), says("Hello."))

    ended = agentloop(*at(gateway, "--jsonl"))

    (retrying,) = (event for line in ended.stdout.splitlines() if (event := json.loads(line))["kind"] == "retrying")
    assert retrying["error"]["type"] == "RateLimited"


def test_a_request_that_is_sent_again_is_told(agentloop: Command, scripted_gateway: OpenGateway):
    gateway = scripted_gateway(status(429, retry_after=0.01, message="Slow \x1b[31mdown."), says("Hello."))

    ended = agentloop(*at(gateway))

    (line,) = ended.stderr.splitlines()
    assert line.startswith("↻ ")
    assert r"Slow \x1b[31mdown." in line
    assert line.endswith("asking again in 10 ms")


def test_without_streaming_the_calls_are_still_shown(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module(WEATHER)
    gateway = scripted_gateway(calls("rain", city="Oslo").saying("I look."), says("Leave it here."))

    ended = agentloop(*at(gateway, "-T", "mytools:rain", "--no-stream"))

    assert ["stream" in request.body for request in gateway.requests] == [False, False]
    assert ended.stdout == "Leave it here.\n"
    first, *rest = ended.stderr.splitlines()
    assert first == "I look."
    assert set(rest) >= {'● rain(city="Oslo")', "looking up Oslo"}
    assert rest[-1].startswith('✓ rain(city="Oslo")')


def test_verbose_shows_results_thoughts_progress_and_tokens(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module("""
        @tool
        def count(to: int):
            "Count."
            for number in range(to):
                yield number
        """)
    gateway = scripted_gateway(calls("count", to=2).saying(thinking="Let me\ncount."), says("Two."))

    ended = agentloop(*at(gateway, "-T", "mytools:count", "-v"))

    thought, started, first, second, finished, summary = ended.stderr.splitlines()
    assert (thought, started, first, second) == ("∴ Let me count.", "● count(to=2)", "… count: 0", "… count: 1")
    assert finished.endswith("→ [0,1]")
    assert summary.startswith("2 steps, 1 call, ")


APPROVAL = """
    @tool(needs_approval=True)
    def forget(place: str) -> str:
        open("forgotten", "w").close()
        return "gone"
    """


@pytest.mark.parametrize("form", [(), ("--json",), ("--jsonl",), ("--no-stream",)])
def test_a_call_that_needs_approval_does_not_run_where_nobody_can_be_asked(
    form: tuple[str, ...], agentloop: Command, module: Module, folder: Path, scripted_gateway: OpenGateway
):
    module(APPROVAL)
    gateway = scripted_gateway(calls("forget", place="Rome"), says("Never said."))

    ended = agentloop(*at(gateway, "-T", "mytools:forget", *form), stdin="y\n")

    assert ended.exit_code == 3
    assert 'agentloop: forget(place="Rome") needs a person\'s approval' in ended.stderr
    assert not (folder / "forgotten").exists()
    assert form != ("--json",) or json.loads(ended.stdout)["outcome"] == "paused"
    assert form != () or ended.stdout == ""


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_result_from_outside_is_asked_for_as_that_where_nobody_can_be_asked(
    form: tuple[str, ...], agentloop: Command, module: Module, scripted_gateway: OpenGateway
):
    module("""
        from agentloop.tools.external import external

        ask_guide = external("ask_guide", "Ask the guide.", parameters={"type": "object", "properties": {}})
        """)
    gateway = scripted_gateway(calls("ask_guide"), says("Never said."))

    ended = agentloop(*at(gateway, "-T", "mytools:ask_guide", *form))

    assert ended.exit_code == 3
    assert "agentloop: ask_guide() needs a result from outside, and nobody can be asked here" in ended.stderr


CODES: dict[str, tuple[list[Any], tuple[str, ...], int, str]] = {
    "done": ([says("Hello.")], (), 0, ""),
    "declined": ([refuses("No.")], (), 1, "agentloop: the model declined: No."),
    "filtered": ([says("He").ending("content_filter")], (), 1, "content filter"),
    "bad option": ([], ("--max-steps", "0"), 2, "--max-steps"),
    "two forms": ([], ("--json", "--jsonl"), 2, "--json and --jsonl exclude each other"),
    "events without a stream": ([], ("--jsonl", "--no-stream"), 2, "--no-stream"),
    "unknown plugin": ([], ("-T", "flies"), 2, "'flies'"),
    "unknown setting": ([], ("-T", "files:roof=."), 2, "'roof'"),
    "unknown module": ([], ("-T", "nowhere:it"), 2, "'nowhere:it'"),
    "no tool": ([], ("-T", "mytools:number"), 2, "'mytools:number'"),
    "one name twice": ([], ("-T", "mytools:twin", "-T", "mytools:twin"), 2, "two tools are named 'twin'"),
    "what cannot be a tool": ([], ("-T", "mytools:untyped"), 2, "'untyped'"),
    "too many steps": ([always(calls("twin"))], ("-T", "mytools:twin", "--max-steps", "1"), 4, "--max-steps"),
    "no progress": ([always(calls("twin"))], ("-T", "mytools:twin"), 4, "the same"),
    "cut by its length": ([says("He").ending("length")], (), 4, "max_tokens"),
    "key refused": ([status(401)], (), 5, "The API key is not known."),
    "stream broken": ([cut(says("Hello there, you."), after=3)], (), 5, "ended without"),
    "request refused": ([status(400, message="No\x1b[2J")], (), 5, r"No\x1b[2J"),
}  # fmt: skip


@pytest.mark.parametrize(("turns", "arguments", "code", "words"), CODES.values(), ids=CODES)
def test_the_exit_code_says_how_it_ended(
    turns: list[Any], arguments: tuple[str, ...], code: int, words: str, agentloop: Command, module: Module, scripted_gateway: OpenGateway
):
    module("number = 1\ndef twin() -> int:\n    return 1\ndef untyped(a):\n    return a")
    gateway = scripted_gateway(*turns)

    ended = agentloop(*at(gateway, *arguments))

    assert ended.exit_code == code, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Limits(" not in ended.stderr
    said = [line for line in ended.stderr.splitlines() if line.startswith("agentloop: ")]
    assert len(said) == (code != 0 and "Usage" not in ended.stderr)


def test_a_server_that_is_not_there_is_a_failure_of_the_provider(agentloop: Command, scripted_gateway: OpenGateway):
    gateway = scripted_gateway()
    address = at(gateway)
    gateway.close()

    ended = agentloop(*address)

    assert ended.exit_code == 5
    assert "agentloop: openai:scripted: cannot connect to 127.0.0.1" in ended.stderr


def test_a_missing_key_names_its_variable_and_the_demo(agentloop: Command):
    ended = agentloop("run", "Hi", "-m", "openai:gpt-4o")

    assert ended.exit_code == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "OPENAI_API_KEY" in ended.stderr
    assert "`agentloop demo`" in ended.stderr


@pytest.mark.parametrize("name", ["gpt-4o", "opnai:gpt-4o", "openai/nonsense:gpt-4o"])
def test_a_model_without_a_known_provider_is_one_sentence(name: str, agentloop: Command):
    ended = agentloop("run", "Hi", "-m", name)

    assert ended.exit_code == 2
    assert ended.stderr.startswith("agentloop: ")
    assert len(ended.stderr.splitlines()) == 1


def test_an_interrupted_run_says_so_and_closes_its_connection(process: Process):
    with Gateway(slow(says("one two three four five six"), between=1)) as gateway:
        running = process(*at(gateway, "--jsonl"))
        assert running.stdout
        while "text_delta" not in running.stdout.readline():
            assert running.poll() is None

        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE)

        assert running.returncode == 130
        assert err == "agentloop: interrupted; the run was stopped and its connection closed\n"
        assert gateway.requests[0].wait() == "abandoned"


def test_json_of_a_run_that_is_interrupted_says_how_far_it_got(process: Process, module: Module):
    module("""
        import asyncio

        @tool
        async def pay() -> str:
            await asyncio.Event().wait()
        """)
    with Gateway(calls("pay"), says("Never said.")) as gateway:
        running = process(*at(gateway, "-T", "mytools:pay", "--json"))
        assert running.stderr
        while "● pay()" not in running.stderr.readline():
            assert running.poll() is None

        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=PATIENCE)

    said = json.loads(out)
    assert (running.returncode, said["outcome"], said["answer"], said["steps"], said["waiting"]) == (130, "interrupted", None, 1, [])
    (result,) = Transcript.from_json(json.dumps(said["transcript"])).messages[-1].results
    assert "whether it took effect is unknown" in result.text


def test_an_interrupted_tool_does_not_hold_up_the_exit(process: Process, module: Module):
    module("""
        import time

        @tool
        def stuck() -> str:
            time.sleep(600)
            return "late"
        """)
    with Gateway(calls("stuck"), says("Never said.")) as gateway:
        running = process(*at(gateway, "-T", "mytools:stuck", "--jsonl"))
        assert running.stdout
        while "call_started" not in running.stdout.readline():
            assert running.poll() is None

        running.send_signal(signal.SIGINT)

        assert running.wait(PATIENCE) == 130


def test_a_run_whose_reader_goes_away_ends_quietly(process: Process):
    with Gateway(slow(says("word " * 10_000), between=0.001)) as gateway:
        running = process(*at(gateway, "--jsonl"))
        assert running.stdout
        assert running.stderr

        while "text_delta" not in running.stdout.readline():
            assert running.poll() is None
        running.stdout.close()

        assert running.wait(PATIENCE) == 141
        assert running.stderr.read() == ""
        assert gateway.requests[0].wait() == "abandoned"


def test_an_answer_in_letters_that_stdout_does_not_have_is_spelled_out(process: Process):
    with Gateway(says("Grüße.")) as gateway:
        running = process(*at(gateway), PYTHONIOENCODING="ascii")
        out, err = running.communicate(timeout=PATIENCE)

    assert (running.returncode, out, err) == (0, "Gr\\xfc\\xdfe.\n", "")


def test_without_the_extra_the_command_says_how_to_install_it(folder: Path):
    script = "import sys; sys.modules['click'] = None; from agentloop.cli import main; main()"

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603 - ours

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "agentloop: the command line needs click; pip install 'agentloop-core[cli]'\n"


def test_a_turn_that_fails_is_no_answer(agentloop: Command, scripted_gateway: OpenGateway):
    gateway = scripted_gateway(fails("The server is on fire."), always(Turn(text=("Hello.",))))

    ended = agentloop(*at(gateway))

    assert (ended.exit_code, ended.stdout) == (0, "Hello.\n")


def test_a_policy_refuses_what_does_more_than_read(agentloop: Command, module: Module, scripted_gateway: OpenGateway):
    module("""
        @tool
        def pay() -> str:
            "Pay."
            return "paid"
        """)
    gateway = scripted_gateway(calls("pay"), lambda body: says(body["messages"][-1]["content"]))

    ended = agentloop(*at(gateway, "-T", "mytools:pay", "--approvals", "read_only"))

    assert ended.exit_code == 0
    assert "paid" not in ended.stdout
    assert "not allow" in ended.stdout
