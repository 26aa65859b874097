from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from inspect import getsource
from math import acos, cos, radians, sin
from subprocess import Popen
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agentloop.cli import demo_script
from agentloop.cli.app import app
from agentloop.cli.demo import QUESTION

from .conftest import PATIENCE, Terminal

Process = Callable[..., "Popen[str]"]


@pytest.fixture(scope="module")
def shown() -> str:
    """What one run of the demo writes."""
    return CliRunner().invoke(app, ["demo"]).stdout


def lines_with(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(rf"[●✓✗] {name}\(", line)]


def answer(text: str) -> demo_script.Trip:
    """Read the structured last line of the run."""
    line = re.search(r"^Trip\((.*)\)$", text, re.MULTILINE)
    assert line, text
    call = ast.parse(line[0], mode="eval").body
    assert isinstance(call, ast.Call)
    fields: Any = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return demo_script.Trip(**fields)


def kilometres(start: str, end: str) -> float:
    (lat1, lon1), (lat2, lon2) = ([radians(angle) for angle in demo_script.PLACES[city]] for city in (start, end))
    return 6371 * acos(sin(lat1) * sin(lat2) + cos(lat1) * cos(lat2) * cos(lon1 - lon2))


def test_the_demo_runs_without_a_key_or_a_network(process: Process):
    # Whatever is asked of this proxy fails.
    ended = process("demo", HTTP_PROXY="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")
    out, err = ended.communicate(timeout=PATIENCE)

    assert (ended.returncode, err) == (0, "")
    assert QUESTION in out
    assert "\x1b" not in out


def test_the_demo_calls_two_tools_in_one_reply(shown: str):
    first, second, *ended = lines_with(shown, "distance")
    assert (first, second) == ('● distance(start="Berlin", end="Oslo")', '● distance(start="Berlin", end="Lisbon")')
    results = {line.split("(")[1].split(")")[0]: float(line.rpartition("→ ")[2]) for line in ended}
    assert results['start="Berlin", end="Oslo"'] == pytest.approx(kilometres("Berlin", "Oslo"), abs=1)
    assert results['start="Berlin", end="Lisbon"'] == pytest.approx(kilometres("Berlin", "Lisbon"), abs=1)


def test_the_demo_shows_a_call_that_fails_and_is_corrected(shown: str):
    _, failed, _, corrected = lines_with(shown, "daylight")
    assert failed.startswith('✗ daylight(city="Oslo", day="21.06.2026")')
    assert "day" in failed.partition(")")[2]
    assert corrected.startswith('✓ daylight(city="Oslo", day="2026-06-21")')


def test_the_demo_ends_with_an_answer_made_of_the_results(shown: str):
    trip = answer(shown)
    assert (trip.city, trip.kilometres) == ("Oslo", round(kilometres("Berlin", "Oslo")))
    assert trip.hours_of_daylight == float(lines_with(shown, "daylight")[-1].rpartition("→ ")[2])
    assert 18 < trip.hours_of_daylight < 19


def test_the_scripted_model_follows_what_the_tools_say(agentloop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(demo_script.PLACES, "Lisbon", (52.5, 13.0))

    shown = agentloop("demo").stdout

    assert answer(shown).city == "Lisbon"
    assert answer(shown).kilometres < 50
    assert all('city="Lisbon"' in line for line in lines_with(shown, "daylight"))


def test_the_demo_shows_the_script_that_it_runs(shown: str):
    assert getsource(demo_script) in shown


def test_what_the_demo_says_comes_next_is_there(shown: str, agentloop: Callable[..., Result]):
    *_, after = shown.partition("## Go on")
    commands = [shlex.split(line)[1:] for line in after.splitlines() if line.startswith("agentloop ")]

    listed = [agentloop(*command) for command in commands if command[0] == "tools"]
    asked = [agentloop(*command) for command in commands if command[0] == "run" and "openai:gpt-4o" in command]

    assert ["distance" in result.stdout for result in listed] == [True]
    # All that is missing is a key.
    assert ["OPENAI_API_KEY" in result.stderr for result in asked] == [True]


def test_the_demo_at_a_terminal_has_colours_and_completes_calls_in_place(terminal: Callable[..., Terminal]):
    screen = terminal("demo")

    assert screen.end() == 0
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", screen.shown)
    assert "\x1b[1A" in screen.shown
    assert answer(screen.text).city == "Oslo"


def test_the_demo_at_a_terminal_has_no_colours_where_none_are_wanted(terminal: Callable[..., Terminal]):
    screen = terminal("demo", NO_COLOR="1")

    assert screen.end() == 0
    assert re.findall(r"\x1b\[[0-9;]*(?:3|4|9|10)[0-9][0-9;]*m", screen.shown) == []
    assert answer(screen.text).city == "Oslo"


def test_the_demo_ends_quietly_when_its_reader_goes_away(process: Process):
    running = process("demo")
    assert running.stdout
    assert running.stderr

    running.stdout.readline()
    running.stdout.close()

    assert running.wait(PATIENCE) == 141
    assert running.stderr.read() == ""
