"""The first page of the gateway's documents: a model asks for the weather in Boston.

Without a key it talks to a scripted gateway on this machine; with OPENAI_API_KEY (and OPENAI_BASE_URL) to a real server.
"""

import os
from typing import Annotated, Literal

from agentloop import Agent, model, tool
from agentloop.models import Model
from agentloop.testing import Gateway, calls, says

NOVEMBER_CELSIUS = {"boston": 7.4, "phoenix": 18.2, "san francisco": 14.1}


@tool(effect="read")
def get_current_weather(
    location: Annotated[str, "The city and state, e.g. San Francisco, CA"],
    unit: Literal["celsius", "fahrenheit"] = "fahrenheit",
) -> str:
    """Get the current weather in a given location"""  # noqa: D415  # the documents' words
    celsius = NOVEMBER_CELSIUS[location.partition(",")[0].lower()]
    return f"{celsius:.0f} °C" if unit == "celsius" else f"{celsius * 9 / 5 + 32:.0f} °F"


def ask(asked: str | Model) -> None:
    agent = Agent(asked, tools=[get_current_weather])
    print(agent.run_sync("What's the weather like in Boston today?").text)


if os.environ.get("OPENAI_API_KEY"):
    ask("openai:gpt-4o-2024-08-06")
else:
    script = calls("get_current_weather", location="Boston, MA"), lambda body: says(f"It is {body['messages'][-1]['content']}.")
    with Gateway(*script) as gateway:
        ask(model("openai:gpt-4o-2024-08-06", base_url=gateway.base_url))
