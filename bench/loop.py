"""The loop that all floors share: send the whole transcript, call the functions, append, repeat; and the tools that all subjects call."""

# ruff: noqa: ARG001 - the tools are there to be called, and look nothing up

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pydantic_core import from_json, to_json

PAGE = "What is known of this is not much, but it is enough to fill a page of a few lines. " * 9
PROMPT = "Look into this, step by step, until all of it is done."
NAP_SECONDS = 0.05
SLOW_SECONDS = 0.3
SPOKEN = 10
"""How many replies of a model in the process call tools."""


async def look(query: str, limit: int = 10) -> str:
    """Look something up.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    # A text of its own each time, so that what keeps it is seen to hold it.
    return PAGE + query


async def nap(query: str, limit: int = 10) -> str:
    """Look something up, which takes 50 ms.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    await asyncio.sleep(NAP_SECONDS)
    return PAGE


def blocking_nap(query: str, limit: int = 10) -> str:
    """Look something up, which blocks for 50 ms.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    time.sleep(NAP_SECONDS)
    return PAGE


async def look_slowly(query: str, limit: int = 10) -> str:
    """Look something up, which takes 300 ms.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    await asyncio.sleep(SLOW_SECONDS)
    return PAGE


async def save(text: str) -> str:
    """Save a text.

    Args:
        text: What to save.
    """
    return f"{len(text)} characters"


def source(number: int) -> str:
    """Write a function like `look` under a name of its own."""
    return f'''
async def look_{number}(query: str, limit: int = 10) -> str:
    """Look something up.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    return query
'''


TOOLS: dict[str, Callable[..., Any]] = {each.__name__: each for each in (look, nap, blocking_nap, look_slowly, save)}
"""What every subject offers its model. Those that cannot take coroutine functions offer blocking ones that do the same."""

_TEXT = {"type": "string"}
_ARGUMENTS = {"type": "object", "properties": {"query": _TEXT, "limit": {"type": "integer", "default": 10}}, "required": ["query"]}
_SAVE = {"type": "object", "properties": {"text": _TEXT}, "required": ["text"]}
DESCRIPTIONS = [
    {
        "type": "function",
        "function": {"name": name, "description": str(tool.__doc__), "parameters": _SAVE if name == "save" else _ARGUMENTS},
    }
    for name, tool in TOOLS.items()
]

Json = dict[str, Any]
Post = Callable[[bytes], Awaitable[bytes]]
Stream = Callable[[bytes], AsyncIterator[bytes]]


async def run(post: Post, model: str, messages: list[Json] | None = None) -> str:
    """Repeat until the model calls nothing, behind what was said before, and give its last words."""
    messages = [{"role": "user", "content": PROMPT}] if messages is None else messages
    while True:
        body = to_json({"model": model, "messages": messages, "tools": DESCRIPTIONS})
        message = from_json(await post(body))["choices"][0]["message"]
        messages.append(message)
        if not message.get("tool_calls"):
            return str(message["content"])
        messages += await results(message["tool_calls"])


async def run_incrementally(post: Post, model: str) -> str:
    """Do the same, and encode each message once: the bytes of what was said before are kept."""
    start = b'{"model":' + to_json(model) + b',"tools":' + to_json(DESCRIPTIONS) + b',"messages":['
    said = [to_json({"role": "user", "content": PROMPT})]
    while True:
        message = from_json(await post(start + b",".join(said) + b"]}"))["choices"][0]["message"]
        said.append(to_json(message))
        if not message.get("tool_calls"):
            return str(message["content"])
        said += map(to_json, await results(message["tool_calls"]))


async def stream(chunks: Stream, model: str) -> AsyncIterator[str]:
    """Do the same with streamed replies, and give the words as they come."""
    messages: list[Json] = [{"role": "user", "content": PROMPT}]
    while True:
        words: list[str] = []
        calls: list[Json] = []
        rest = b""
        body = {"model": model, "messages": messages, "tools": DESCRIPTIONS, "stream": True, "stream_options": {"include_usage": True}}
        async for chunk in chunks(to_json(body)):
            *events, rest = (rest + chunk).split(b"\n\n")
            for event in events:
                if event == b"data: [DONE]" or not (choices := from_json(event[6:])["choices"]):
                    continue
                delta = choices[0]["delta"]
                if text := delta.get("content"):
                    words.append(text)
                    yield text
                for piece in delta.get("tool_calls", ()):
                    _grow(calls, piece)
        for call in calls:
            call["function"]["arguments"] = "".join(call["function"]["arguments"])
        message: Json = {"role": "assistant", "content": "".join(words)}
        if not calls:
            return
        messages += [message | {"tool_calls": calls}, *await results(calls)]


def _grow(calls: list[Json], piece: Json) -> None:
    if piece["index"] == len(calls):
        calls.append({"id": piece["id"], "type": "function", "function": {"name": piece["function"]["name"], "arguments": []}})
    calls[piece["index"]]["function"]["arguments"].append(piece["function"]["arguments"])


async def results(calls: list[Json]) -> list[Json]:
    """Call the functions, side by side where there are several."""
    contents = [await answer(calls[0])] if len(calls) == 1 else await asyncio.gather(*map(answer, calls))
    return [{"role": "tool", "tool_call_id": call["id"], "content": content} for call, content in zip(calls, contents, strict=True)]


async def answer(call: Json) -> str:
    """Call a function with the model's JSON."""
    function = TOOLS[call["function"]["name"]]
    arguments = from_json(call["function"]["arguments"])
    if asyncio.iscoroutinefunction(function):
        return str(await function(**arguments))
    return str(await asyncio.to_thread(function, **arguments))
