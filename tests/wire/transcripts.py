"""One table of requests that every wire encodes: whatever a transcript may hold, of whichever maker."""

from __future__ import annotations

import json
from typing import Any

from agentloop.messages import (
    Citation,
    File,
    Image,
    Message,
    Opaque,
    OutputSchema,
    Part,
    Refusal,
    Request,
    ResultPart,
    Settings,
    State,
    Text,
    Thinking,
    ToolCall,
    ToolDescription,
    ToolResult,
    user,
)
from agentloop.tools.hosted import CodeExecution, FileSearch, ImageGeneration, Location, MCPServer, ProviderTool, WebSearch

PICTURE = b"\x89PNG\r\n\x1a\n-picture"
PAPER = b"%PDF-1.7 paper"
SOUND = b"RIFF-sound"

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WEATHER = ToolDescription("get_weather", "Look up the weather.", CITY)
STRICT = ToolDescription("get_weather", "Look up the weather.", CITY, strict=True)
NOW = ToolDescription("now", "Tell the time.", {"type": "object", "properties": {}, "additionalProperties": False})
TRIP = ToolDescription(
    "plan",
    "Plan a trip.",
    {
        "type": "object",
        "properties": {
            "stops": {"type": "array", "items": {"$ref": "#/$defs/Stop"}, "minItems": 1},
            "by": {"enum": ["train", "boat"], "default": "train"},
            "days": {"type": "integer", "minimum": 1, "maximum": 30},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["stops"],
        "additionalProperties": False,
        "$defs": {
            "Stop": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "nights": {"type": "integer"}},
                "required": ["place"],
                "additionalProperties": False,
            }
        },
    },
)
BILL = OutputSchema(
    "Bill",
    {
        "type": "object",
        "properties": {"item": {"type": "string"}, "total": {"type": "number"}},
        "required": ["item", "total"],
        "additionalProperties": False,
    },
)


def says(*parts: str | Part) -> Message:
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def call(number: int, arguments: str = '{"city":"Rome"}', name: str = "get_weather", **known: Any) -> ToolCall:
    return ToolCall(f"call_0_{number}", name, arguments, **known)


def results(*contents: str | tuple[ResultPart, ...], is_error: bool = False, name: str = "get_weather") -> Message:
    return Message(
        "tool", tuple(ToolResult(f"call_0_{number}", content, is_error=is_error, name=name) for number, content in enumerate(contents))
    )


def state(origin: str, **data: Any) -> State:
    return State(origin, json.dumps(data, separators=(",", ":")))


def asks(*messages: Message, **rest: Any) -> Request:
    return Request([user("Hi"), *messages], **rest)


_REASONING = state(
    "openai/responses", type="reasoning", id="rs_1", summary=[{"type": "summary_text", "text": "Rome?"}], encrypted_content="e=="
)
_FUNCTION_CALL = state("openai/responses", id="fc_1", status="completed")
_MESSAGE = state("openai/responses", id="msg_1", status="completed")
_SIGNED = state("anthropic/messages", signature="s==")
_THOUGHT = state("gemini/gemini", thoughtSignature="t==")
_CHAT_THOUGHT = state("openai/chat", field="reasoning_content")

_TURNS_OF_ALL = [
    says(Thinking("Rome?", _REASONING), call(0, provider_id="call_abc", state=_FUNCTION_CALL)),
    results("sun"),
    says(Thinking("Oslo?", _SIGNED), "Oslo next.", ToolCall("call_1_0", "get_weather", '{"city":"Oslo"}', provider_id="toolu_01")),
    Message("tool", (ToolResult("call_1_0", "rain", name="get_weather"),)),
    says(ToolCall("call_2_0", "get_weather", '{"city":"Bonn"}', state=_THOUGHT)),
    Message("tool", (ToolResult("call_2_0", "fog", name="get_weather"),)),
    says(Thinking("Done.", _CHAT_THOUGHT), "Sun, rain and fog."),
    user("Thanks."),
]

REQUESTS: dict[str, Request] = {
    "words": Request([user("Hi")]),
    "instructions": Request([user("Hi")], instructions="Be brief."),
    "a system message at the start": Request([Message("system", (Text("Be brief."),)), user("Hi")], instructions="You keep a shop."),
    "a system message in the middle": asks(says("Hello."), Message("system", (Text("Now be rude."),)), user("Again.")),
    "user messages in a row": asks(user("Are you there?"), user("Hello?")),
    "a conversation": asks(says("Hello."), user("How are you?"), says("Well."), user("Good.")),
    "a call": asks(says(call(0)), results("sun"), tools=(WEATHER,)),
    "parallel calls": asks(says(call(0), call(1, '{"city":"Oslo"}')), results("sun", "rain"), tools=(WEATHER,)),
    "text beside calls": asks(says("Let me look.", call(0)), results("sun"), tools=(WEATHER,)),
    "calls in two steps": asks(
        says(call(0)),
        results("sun"),
        says(ToolCall("call_1_0", "now")),
        Message("tool", (ToolResult("call_1_0", "noon", name="now"),)),
        says("Sun."),
        user("Thanks."),
        tools=(WEATHER, NOW),
    ),
    "empty arguments": asks(says(call(0, "{}", "now")), results("noon", name="now"), tools=(NOW,)),
    "arguments that do not parse": asks(says(call(0, '{"city":')), results("no JSON", is_error=True), tools=(WEATHER,)),
    "arguments that are no object": asks(
        says(call(0, "[1]"), call(1, "null")), results("no object", "no object", is_error=True), tools=(WEATHER,)
    ),
    "an error result": asks(says(call(0)), results("KeyError: 'Rome'", is_error=True), tools=(WEATHER,)),
    "an empty result": asks(says(call(0)), results(""), tools=(WEATHER,)),
    "results that are JSON": asks(says(call(0), call(1), call(2)), results('{"sky": "blue"}', '["sun", "rain"]', "null"), tools=(WEATHER,)),
    "a name that no tool can have": asks(
        says(call(0, "{}", "functions.wétter ")),
        results("There is no such tool.", is_error=True, name="functions.wétter "),
        tools=(WEATHER,),
    ),
    "a picture in a result": asks(says(call(0)), results((Text("Here."), Image(data=PICTURE))), tools=(WEATHER,)),
    "pictures and a paper in parallel results": asks(
        says(call(0), call(1)),
        results(
            (Image(data=PICTURE, media_type="image/jpeg"), Image(url="https://example.org/a.png")),
            (File(data=PAPER, media_type="application/pdf", name="a.pdf"),),
        ),
        tools=(WEATHER,),
    ),
    "a picture by its address": Request([user("What is this?", Image(url="https://example.org/a.png", detail="low"))]),
    "a picture by its bytes": Request([user("What is this?", Image(data=PICTURE))]),
    "a paper": Request([user("Read.", File(data=PAPER, media_type="application/pdf", name="a.pdf"))]),
    "a paper by its address": Request([user("Read.", File(url="https://example.org/a.pdf", media_type="application/pdf", name="a.pdf"))]),
    "a sound": Request([user("Listen.", File(data=SOUND, media_type="audio/wav", name="a.wav"))]),
    "turns of all makers": asks(*_TURNS_OF_ALL, tools=(WEATHER,)),
    "turns of all makers, thinking on": asks(*_TURNS_OF_ALL, tools=(WEATHER,), settings=Settings(effort="high")),
    "things that only their maker understands": asks(
        says(
            Thinking("Search.", _REASONING),
            Opaque(
                state("openai/responses", type="web_search_call", id="ws_1", status="completed", action={"type": "search", "query": "sun"})
            ),
            Opaque(state("anthropic/messages", type="redacted_thinking", data="r==")),
            Opaque(state("gemini/gemini", executableCode={"language": "PYTHON", "code": "1"})),
            Opaque(state("nobody/morse", type="beep")),
            Text("It shines.", _MESSAGE),
        ),
        user("Sure?"),
    ),
    "a reply that only its maker understands": asks(says(Thinking("Hm.", state("nobody/morse", beep=1))), user("And?")),
    "ids of all kinds": asks(
        says(
            call(0, provider_id="D681PevKs"),
            call(1, provider_id="functions.get_weather:0"),
            call(2, provider_id="x" * 200),
            call(3, provider_id=None),
            call(4, provider_id="call_00_abcdefghijklmnopqrstuvwxyz0123456789"),
        ),
        results("1", "2", "3", "4", "5"),
        tools=(WEATHER,),
    ),
    "a refusal": asks(says(Refusal("I would rather not.")), user("Please.")),
    "citations": asks(says(Text("The sun shines.", _MESSAGE), Citation("https://example.org/sun", "Sun", 4, 7)), user("Sure?")),
    "a picture that a model made": asks(says("Here it is.", Image(data=PICTURE)), user("Bluer, please.")),
    "a picture made beside a call": asks(says(Image(data=PICTURE), call(0)), results("sun"), tools=(WEATHER,)),
    "blanks": asks(says(" \n"), user(""), says("", call(0)), results(" "), tools=(WEATHER,)),
    "characters of all kinds": asks(
        says(call(0, '{"city":"Zürich 🏔"}')), results("a\u2028b\u0000c \ud83d d"), user("👍🏽 \x85"), tools=(WEATHER,)
    ),
    "a tool without parameters": Request([user("Hi")], tools=(NOW,)),
    "a strict tool": Request([user("Hi")], tools=(STRICT,)),
    "a tool with a rich schema": Request([user("Hi")], tools=(TRIP,)),
    "all settings": Request(
        [user("Hi")],
        tools=(WEATHER,),
        settings=Settings(
            temperature=0.5,
            top_p=0.9,
            max_tokens=900,
            stop=("END",),
            seed=7,
            tool_choice="auto",
            parallel_tool_calls=False,
            metadata={"user_id": "u1"},
        ),
    ),
    "effort": Request([user("Hi")], settings=Settings(effort="low", max_tokens=9000)),
    "no effort": Request([user("Hi")], settings=Settings(effort="none")),
    "a tool must be called": Request([user("Hi")], tools=(WEATHER, NOW), settings=Settings(tool_choice="required")),
    "this tool must be called": Request([user("Hi")], tools=(WEATHER, NOW), settings=Settings(tool_choice="now")),
    "no tool may be called": Request([user("Hi")], tools=(WEATHER,), settings=Settings(tool_choice="none")),
    "a tool must be called, thinking on": Request([user("Hi")], tools=(WEATHER,), settings=Settings(tool_choice="required", effort="high")),
    "a typed answer": Request([user("Two teas.")], output=BILL),
    "a typed answer beside tools": asks(says(call(0)), results("sun"), tools=(WEATHER,), output=BILL),
    "streamed": Request([user("Hi")], stream=True),
    "web search": Request([user("What is new?")], hosted=(WebSearch(),)),
    "web search with wishes": Request(
        [user("What is new?")],
        hosted=(WebSearch(context="low", location=Location(country="FR", city="Paris"), most_uses=3),),
        tools=(WEATHER,),
    ),
    "code execution": Request([user("2**64?")], hosted=(CodeExecution(),)),
    "file search": Request([user("Find.")], hosted=(FileSearch(stores=("store_1",), most_results=5),)),
    "image generation": Request([user("Draw.")], hosted=(ImageGeneration(size="1024x1024", quality="low"),)),
    "a remote MCP server": Request([user("Ask it.")], hosted=(MCPServer(name="docs", url="https://example.org/mcp", tools=("search",)),)),
    "a tool in the provider's words": Request([user("Go.")], hosted=(ProviderTool({"type": "beep"}),)),
    "further fields": Request([user("Hi")], settings=Settings(extra={"top_k": 3})),
    "cached for an hour": asks(says("Hello."), user("More."), instructions="Long.", tools=(WEATHER,), settings=Settings(cache="1h")),
    "not cached": asks(says("Hello."), user("More."), instructions="Long.", tools=(WEATHER,), settings=Settings(cache="off")),
}
