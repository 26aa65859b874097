"""Agentloop runs an agent's tools.

Decorate functions, give them to an agent, run it:

    from agentloop import Agent, tool

    @tool
    def get_weather(city: str) -> str:
        "Look up the weather."
        return f"It rains in {city}."

    agent = Agent("openai:gpt-4o", tools=[get_weather])
    print(agent.run_sync("Do I need an umbrella in Paris?").text)

`Agent` is the front door (`agent.py`); `loop.py` is where reading begins. `agentloop.testing` helps to test your own agents and tools.
"""

from agentloop import events
from agentloop.agent import Agent
from agentloop.approvals import Policy
from agentloop.errors import AgentLoopError, LimitReached, ModelError, ToolDefinitionError
from agentloop.limits import Limits
from agentloop.messages import File, Image, Message, Settings, Text, user
from agentloop.models.providers import model
from agentloop.models.retries import Retries
from agentloop.models.server import Timeouts
from agentloop.result import Result
from agentloop.tools import Toolset
from agentloop.tools.context import Context
from agentloop.tools.external import external
from agentloop.tools.function import Tool, tool
from agentloop.transcript import Transcript

__all__ = [
    "Agent",
    "AgentLoopError",
    "Context",
    "File",
    "Image",
    "LimitReached",
    "Limits",
    "Message",
    "ModelError",
    "Policy",
    "Result",
    "Retries",
    "Settings",
    "Text",
    "Timeouts",
    "Tool",
    "ToolDefinitionError",
    "Toolset",
    "Transcript",
    "events",
    "external",
    "model",
    "tool",
    "user",
]
