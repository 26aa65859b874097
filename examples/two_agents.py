"""Two agents in one plain async function: one gathers facts with a tool, one writes them up as a typed answer."""

import asyncio
import re
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
    larger: str
    difference: int


def comparing(request):
    """Stand in for a model that reads two numbers."""
    (few, _), (many, country) = sorted((int(count), name) for count, name in re.findall(r"(\d+) in (\w+)", request.text))
    return says(f'{{"larger": "{country}", "difference": {many - few}}}')


async def main():
    asking = calls("people_of", country="Iceland") & calls("people_of", country="Malta")
    reporting = lambda request: says("{} in Iceland, {} in Malta".format(*(result.text for result in request.results)))

    facts = await Agent(Scripted(asking, reporting), tools=[people_of]).run("How many people live in Iceland and in Malta?")
    result = await Agent(Scripted(comparing), output=Comparison).run(f"Compare them: {facts.text}")
    print(f"{result.output.larger} has {result.output.difference:,} people more.")


asyncio.run(main())
