"""Two agents in one plain async function: one gathers facts with tools, one writes them up as a typed answer."""

import asyncio
from dataclasses import dataclass

from agentloop import Agent, tool
from agentloop.testing import Scripted, calls, says

PEOPLE = {"Iceland": 402_000, "Malta": 574_000}


@tool(effect="read")
def people_of(country: str) -> int:
    """Count the people of a country."""
    return PEOPLE[country]


@dataclass
class Comparison:
    """Which of two countries has more people, and how many more."""

    larger: str
    difference: int


async def main() -> None:
    """Gather, then compare."""
    research = Scripted(
        calls("people_of", country="Iceland") & calls("people_of", country="Malta"),
        lambda request: says(f"Iceland has {request.results[0].text} people, Malta {request.results[1].text}."),
    )
    writing = Scripted(lambda request: says(f'{{"larger": "Malta", "difference": {574_000 - 402_000}}}'))

    facts = await Agent(research, tools=[people_of], name="researcher").run("How many people live in Iceland and in Malta?")
    result = await Agent(writing, output=Comparison, name="writer").run(f"Compare them. {facts.text}")

    print(f"{result.output.larger} has {result.output.difference:,} people more.")


if __name__ == "__main__":
    asyncio.run(main())
