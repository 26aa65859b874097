"""The second page of the gateway's documents: a model searches the web, and each statement bears its source.

Without a key it talks to a scripted gateway on this machine; with XAIX_API_KEY to the real one.
"""

import os

from agentloop import Agent, model
from agentloop.messages import Citation
from agentloop.models import Model
from agentloop.testing import Gateway, says
from agentloop.tools.hosted import WebSearch

NEWS = "The harbour of Oslo is clean enough to swim in again, says the city."
SOURCE = Citation("https://example.org/oslo", "Oslo's harbour", start=0, end=NEWS.index(","))


def ask(asked: str | Model) -> None:
    result = Agent(asked, tools=[WebSearch()]).run_sync("What was a positive news story from today?")
    print(result.text)
    for source in result.citations:
        print(f"● {result.text[source.start : source.end]!r}\n  {source.title} {source.url}")


if os.environ.get("XAIX_API_KEY"):
    ask("xaix/responses:gpt-4.1")
else:
    with Gateway(says(NEWS).searching("good news today").citing(SOURCE)) as gateway:
        ask(model("xaix/responses:gpt-4.1", base_url=gateway.base_url))
