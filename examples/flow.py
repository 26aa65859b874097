"""A flow: three agents in one plain async function, a branch and a question. Killed anywhere, it goes on where it was."""

import asyncio
import tempfile
from pathlib import Path

from agentloop import Agent
from agentloop.flows import flow, step, wait
from agentloop.journal.runs import Runs
from agentloop.testing import Scripted, always, says

SAYING = {"scout": "sunny", "hotels": "Casa Lua", "flights": "TP 571"}
scout, hotels, flights = (Agent(Scripted(always(says(words))), name=name) for name, words in SAYING.items())


def book(hotel: str, flight: str, ledger: Path) -> str:
    with ledger.open("a") as lines:
        lines.write(f"{hotel}, {flight}\n")
    return f"booked {hotel} and {flight}"


@flow
async def trip(city: str, ledger: Path) -> str:
    if (await scout.run(f"What is the weather in {city}?")).text != "sunny":
        return "stayed at home"
    hotel, flight = await asyncio.gather(hotels.run(city), flights.run(city))
    agreed = await wait(f"Book {hotel.text} and {flight.text}?", answer=bool)
    return await step(book, hotel.text, flight.text, ledger) if agreed else "not booked"


async def main(folder: Path) -> None:
    paused = await trip.run("Lisbon", folder / "ledger", journal=folder / "runs.db", run_id="trip-1")
    print("It asks", *(asked.call.arguments for asked in paused.waiting))
    await Runs(folder / "runs.db").approve("trip-1", paused.waiting[0].call.id)
    print((await trip.resume("trip-1", journal=folder / "runs.db")).output)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
