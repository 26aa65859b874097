"""The tool by which a model gives its answer where a format, or a model, has no other way to be held to a form."""

from __future__ import annotations

from agentloop.messages import OutputSchema, ToolDescription

ANSWER = "give_final_answer"
"""The name of the tool; a decoder reads a call of it as the text of the reply."""


def answer_tool(output: OutputSchema) -> ToolDescription:
    """Describe the tool that takes the answer."""
    return ToolDescription(ANSWER, "Give the final answer. Call this once, when nothing else is left to do.", output.schema)
