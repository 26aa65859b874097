"""An agent with the tools of an installed plugin: it finds a word in the files of a folder."""

import asyncio
import tempfile
from pathlib import Path

from agentloop import Agent, plugins
from agentloop.testing import Scripted, calls, says


async def main(folder: Path) -> None:
    """Let the model look for `harbour` and read the file in which it stands."""
    model = Scripted(
        calls("grep", pattern="harbour"),
        calls("read_file", path="letters/may.txt"),
        lambda request: says(f"The letter says: {request.results[0].text.splitlines()[-1]}"),
    )
    agent = Agent(model, tools=[plugins.tools("files", root=folder)], instructions="Answer from the files alone.")

    async for event in agent.stream("What do the letters say of the harbour?"):
        match event.kind:
            case "call_started":
                print(f"● {event.call.name}({event.call.arguments})")
            case "text_delta":
                print(event.text, end="")
            case _:
                pass
    print()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        letters = Path(name) / "letters"
        letters.mkdir()
        (letters / "april.txt").write_text("The rain has stopped.\n")
        (letters / "may.txt").write_text("Dear Ada,\nthe harbour is open again.\n")
        asyncio.run(main(Path(name)))
