"""Print how long a step takes whose calls could start while its reply still comes.

The reply is a stream of 1.5 s. Its three calls are complete after 0.1 s, and each takes 0.5 s.
Tools that only read are done when the stream is; others begin when it has ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from time import monotonic

from agentloop import Agent, model, tool
from agentloop.testing import Answer, Gateway, Piece, says
from agentloop.tools.options import Effect

STREAM = 1.5
CALL = 0.5


def chunks() -> Iterator[Piece]:
    """Say three calls, and then words until the stream ends."""

    def event(delta: dict[str, object], reason: str | None = None, *, wait: float = 0.0) -> Piece:
        chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        return Piece(f"data: {json.dumps(chunk)}\n\n".encode(), wait)

    for number in range(3):
        function = {"name": "look", "arguments": json.dumps({"number": number})}
        yield event({"tool_calls": [{"index": number, "id": f"c{number}", "type": "function", "function": function}]}, wait=0.1 / 3)
    for _ in range(14):
        yield event({"content": "word "}, wait=(STREAM - 0.1) / 14)
    yield event({}, "tool_calls")
    yield Piece(b"data: [DONE]\n\n")


async def step(effect: Effect) -> float:
    """Run one agent, and give the seconds from its first request to its second."""

    @tool(effect=effect)
    async def look(number: int) -> int:
        """Look."""
        await asyncio.sleep(CALL)
        return number

    asked: list[float] = []

    def first(_: object) -> Answer:
        asked.append(monotonic())
        return Answer(headers={"content-type": "text/event-stream"}, pieces=chunks())

    def second(_: object) -> object:
        asked.append(monotonic())
        return says("Done.")

    with Gateway(first, second) as gateway:
        async for _ in Agent(model("openai:m", base_url=gateway.base_url, key="any"), tools=[look]).stream("Go."):
            pass
    return asked[1] - asked[0]


async def main() -> None:
    """Print both, with what each could be at best."""
    await step("read")
    for effect, best in (("read", max(STREAM, 0.1 + CALL)), ("once", STREAM + CALL)):
        seconds = await step(effect)  # type: ignore[arg-type]
        print(f"{effect:5} {seconds:.3f} s, at best {best:.1f} s: {seconds - best:+.3f} s")


asyncio.run(main())
