"""What the formats share: tools are rendered once, and anew where the rendering would differ."""

from __future__ import annotations

import json
from typing import Any

from agentloop.messages import Request, ToolDescription, user
from agentloop.wire.openai_chat import OpenAIChat
from agentloop.wire.openai_chat_messages import ChatQuirks
from agentloop.wire.sayable import RenderedTools

TOOLS = (ToolDescription("look", "Look.", {}), ToolDescription("see", "See.", {}))


def test_the_same_tools_are_rendered_in_the_first_step_only():
    asked: list[str] = []

    def render(tool: ToolDescription) -> dict[str, Any]:
        asked.append(tool.name)
        return {"name": tool.name}

    rendered = RenderedTools()
    first, second = rendered.said(TOOLS, render), rendered.said(TOOLS, render)

    assert first == second == [{"name": "look"}, {"name": "see"}]
    assert asked == ["look", "see"]


def test_other_tools_and_another_way_are_rendered_anew():
    rendered = RenderedTools()
    said = [
        rendered.said(tools, lambda tool, way=way: {way: tool.name}, way=way)
        for tools, way in ((TOOLS, "plain"), (TOOLS, "strict"), (TOOLS[:1], "strict"), (TOOLS, "plain"))
    ]

    assert said == [
        [{"plain": "look"}, {"plain": "see"}],
        [{"strict": "look"}, {"strict": "see"}],
        [{"strict": "look"}],
        [{"plain": "look"}, {"plain": "see"}],
    ]


def test_one_wire_describes_its_tools_to_each_model_as_that_wants_them():
    schema = {"type": "object", "properties": {"city": {"type": "string", "examples": ["Rome"]}}}
    request = Request([user("Hi")], tools=(ToolDescription("look", "Look.", schema),))
    wire = OpenAIChat(ChatQuirks(gemini_schemas=True))

    first, second = (json.loads(wire.encode(request, model=model).body)["tools"][0]["function"] for model in ("gemini-3-pro", "gpt-4.1"))

    assert "examples" not in first["parameters"]["properties"]["city"]
    assert second["parameters"] == schema
