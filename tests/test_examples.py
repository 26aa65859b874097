"""The examples run as they are, and the first sends what the gateway's documents send."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentloop.testing import Gateway, calls, says

EXAMPLES = Path(__file__).parent.parent / "examples"

PRINTS = {
    "files.py": '● grep({"pattern":"harbour"})\n● read_file({"path":"letters/may.txt"})\nThe letter says: 2\tthe harbour is open again.\n',
    "flow.py": 'It asks {"question":"Book Casa Lua and TP 571?"}\nbooked Casa Lua and TP 571\n',
    "two_agents.py": "Malta has 172,000 people more.\n",
    "weather.py": "It is 45 °F.\n",
    "web_search.py": (
        "The harbour of Oslo is clean enough to swim in again, says the city.\n"
        "● 'The harbour of Oslo is clean enough to swim in again'\n"
        "  Oslo's harbour https://example.org/oslo\n"
    ),
}

# ../shared/gateway/chat-tools.txt, the request's example.
DOCUMENTED: dict[str, Any] = {
    "model": "gpt-4o-2024-08-06",
    "messages": [{"role": "user", "content": "What's the weather like in Boston today?"}],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_current_weather",
                "description": "Get the current weather in a given location",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                    },
                    "required": ["location"],
                },
            },
        }
    ],
}
MAY_BE_THERE = {"default", "additionalProperties", "strict", "stream", "stream_options"}


def run(name: str, **variables: str) -> str:
    without_keys = {key: value for key, value in os.environ.items() if not re.match(r"(OPENAI|XAIX)_", key)}
    environment = without_keys | {"PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"} | variables
    done = subprocess.run(  # noqa: S603  # our own example
        [sys.executable, EXAMPLES / name], capture_output=True, encoding="utf-8", timeout=30, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_extras(value: Any) -> Any:
    match value:
        case dict():
            return {key: without_extras(inner) for key, inner in value.items() if key not in MAY_BE_THERE}
        case list():
            return [without_extras(inner) for inner in value]
        case _:
            return value


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs_without_a_key_and_prints_what_it_should(path: Path):
    assert run(path.name) == PRINTS[path.name]


def test_the_weather_example_sends_the_body_of_the_documents():
    with Gateway(calls("get_current_weather", location="Boston, MA", unit="celsius"), says("Mild."), key="sk-test") as gateway:
        printed = run("weather.py", OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=gateway.base_url)

    assert printed == "Mild.\n"
    assert without_extras(gateway.requests[0].body) == DOCUMENTED
    assert gateway.requests[1].body["messages"][-1]["content"] == "7 °C"


def test_the_web_search_example_sends_the_body_of_the_documents():
    with Gateway(says("Good news."), key="sk-test") as gateway:
        printed = run("web_search.py", XAIX_API_KEY="sk-test", XAIX_BASE_URL=gateway.base_url)

    assert printed == "Good news.\n"
    # ../shared/gateway/responses-web-search.txt, the request's example.
    assert (gateway.requests[0].path, gateway.requests[0].body) == (
        "/v1/responses",
        {"model": "gpt-4.1", "tools": [{"type": "web_search_preview"}], "input": "What was a positive news story from today?"},
    )
