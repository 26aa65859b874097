"""What was cut can be read on, page by page."""

from __future__ import annotations

import json

import pytest

from agentloop.messages import ToolCall
from agentloop.tools.context import Context
from agentloop.tools.read_on import read_on

TEXT = "0123456789" * 50_000


async def read(start: int) -> str:
    call = ToolCall("1", "read_result", json.dumps({"call_id": "7", "start": start}))
    return (await read_on({"7": TEXT}.get).call(call, Context())).text


@pytest.mark.parametrize("start", [-200_000, -1, 0])
async def test_a_start_before_the_beginning_is_the_beginning(start: int):
    page, told = (await read(start)).split("\n")

    assert page == TEXT[:99_000]
    assert told == "[401,000 more characters; go on with start=99000]"


async def test_the_last_page_says_nothing_of_more():
    assert await read(499_995) == "56789"
