"""Which city is nearer, and how long is the day there?"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from math import acos, cos, pi, radians, sin
from typing import Literal

from agentloop import Agent, tool
from agentloop.events import Event
from agentloop.models import Model

Show = Callable[[Event], Awaitable[None]]
City = Literal["Berlin", "Lisbon", "Oslo"]
PLACES = {
    "Berlin": (52.52, 13.41),
    "Lisbon": (38.72, -9.14),
    "Oslo": (59.91, 10.75),
}


@dataclass
class Trip:
    """What the agent must answer with."""

    city: str
    kilometres: int
    hours_of_daylight: float


@tool(effect="read")
def distance(start: City, end: City) -> int:
    """Measure the way between two cities, in kilometres."""
    (lat1, lon1), (lat2, lon2) = [map(radians, PLACES[c]) for c in (start, end)]
    cosine = sin(lat1) * sin(lat2) + cos(lat1) * cos(lat2) * cos(lon1 - lon2)
    return round(6371 * acos(min(1, cosine)))


@tool(effect="read")
def daylight(city: City, day: date) -> float:
    """Tell how many hours the sun is up."""
    lat = radians(PLACES[city][0])
    tilt = radians(-23.44) * cos(2 * pi * (day.timetuple().tm_yday + 10) / 365)
    dawn = (sin(radians(-0.83)) - sin(lat) * sin(tilt)) / (cos(lat) * cos(tilt))
    return round(24 / pi * acos(max(-1, min(1, dawn))), 1)


TOOLS = (distance, daylight)


async def plan(question: str, *, model: Model, show: Show) -> Trip:
    """Ask, and show what happens on the way."""
    agent = Agent(model, tools=TOOLS, output=Trip)
    async with agent.stream(question) as stream:
        async for event in stream:
            await show(event)
    return stream.result.output
