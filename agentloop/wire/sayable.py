"""What all formats must say alike: names that providers take, arguments that are JSON objects, bodies that are UTF-8."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic_core import PydanticSerializationError, from_json, to_json

from agentloop.errors import ConfigurationError
from agentloop.messages import HostedTool, Message, Opaque, OutputSchema, Part, Request, State, ToolCall, ToolDescription
from agentloop.tools.dialects import openai_strict, plain
from agentloop.wire.lenient import as_object

_LONGEST_ID = 40
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


class RenderedTools:
    """The tools as a format says them: an agent asks with the same ones in every step, and they are rendered in the first."""

    def __init__(self) -> None:
        """Nothing is rendered yet."""
        self._last: tuple[Sequence[ToolDescription], object, list[dict[str, Any]]] = ((), None, [])

    def said(
        self, tools: Sequence[ToolDescription], render: Callable[[ToolDescription], dict[str, Any]], *, way: object = None
    ) -> list[dict[str, Any]]:
        """Say each tool as `render` does; `way` is all that the rendering depends on beside the tool."""
        known, known_way, said = self._last
        if known is not tools or known_way != way:
            said = [render(tool) for tool in tools]
            self._last = (tools, way, said)
        return said


def bearer(key: str | None) -> dict[str, str]:
    """Show the key, where there is one, as a bearer token."""
    return {"authorization": f"Bearer {key}"} if key else {}


def call_name(name: str) -> str:
    """Make a name that every provider takes; one that no tool can have was answered with an error, and is said back all the same."""
    return name if _NAME.fullmatch(name) else re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "_"


def call_id(call: ToolCall) -> str:
    """Say by which id a call is known to the provider: its own where any provider would take it, else ours."""
    if call.provider_id and _ID.fullmatch(call.provider_id):
        return call.provider_id
    return re.sub(r"[^A-Za-z0-9_-]", "_", call.id)[-_LONGEST_ID:] or "_"


def arguments_text(call: ToolCall) -> str:
    """Say the arguments as JSON text.

    Providers refuse a call in the transcript whose arguments are no JSON object, and some gateways drop it without a word.
    """
    try:
        return call.arguments if isinstance(from_json(call.arguments, allow_inf_nan=False), dict) else "{}"
    # A TypeError is what pydantic-core says of half a surrogate pair.
    except (TypeError, ValueError):
        return "{}"


def arguments_object(call: ToolCall) -> dict[str, Any]:
    """Say the arguments as a JSON object; what is none becomes an empty one."""
    return cast("dict[str, Any]", from_json(arguments_text(call)))


def own(state: State | None, origin: str) -> dict[str, Any] | None:
    """Read the state of a part that `origin` made, which must be a JSON object; None where somebody else made it."""
    return dict(as_object(from_json(state.data))) if state is not None and state.origin == origin else None


def own_opaque(message: Message, origin: str) -> Iterator[dict[str, Any]]:
    """Read the parts of the message that `origin` made and nobody else understands."""
    for part in message.parts:
        if isinstance(part, Opaque) and (state := own(part.state, origin)) is not None:
            yield state


def base64_text(data: bytes | None) -> str:
    """Say bytes as base64."""
    return base64.b64encode(data or b"").decode()


def data_url(media_type: str, data: bytes | None) -> str:
    """Say bytes as a data URL."""
    return f"data:{media_type};base64,{base64_text(data)}"


def instructions_of(request: Request, *, tells_form: bool) -> str:
    """Say the instructions, and behind them in words the form of the answer where it cannot be given beside tools."""
    if request.output is None or not tells_form:
        return request.instructions
    form = to_json(plain(request.output.schema)).decode()
    words = f"When you have what you need, answer with JSON that fits this schema, and nothing else: {form}"
    return f"{request.instructions}\n\n{words}".lstrip()


def named_form(output: OutputSchema) -> dict[str, Any]:
    """Say the form of the answer as both of OpenAI's formats have it, strictly where that can be."""
    strict = openai_strict(output.schema)
    return {"name": output.name, "schema": strict or plain(output.schema), "strict": strict is not None}


def not_offered(tool: HostedTool, *, origin: str, offered: str) -> ConfigurationError:
    """Make the error for a hosted tool that a format does not have."""
    return ConfigurationError(f"{origin} offers no {tool.kind!r}; it offers {offered}")


def not_for_users(part: Part) -> ConfigurationError:
    """Make the error for a part that no user can show."""
    return ConfigurationError(f"a user message cannot hold a {part.kind}; give it Text, Image or File")


def as_json(body: Mapping[str, Any] | list[dict[str, Any]]) -> bytes:
    """Write a body or a piece of one; a number beyond all bounds (`1e400` reads as one) becomes null, for JSON has no word for it.

    Raises:
        ConfigurationError: It holds something that JSON has no form for.
    """
    try:
        return to_json(body, inf_nan_mode="null")
    except PydanticSerializationError:
        # A lone surrogate (from os.listdir, say) has no UTF-8; servers refuse such a request whole.
        try:
            return to_json(_without_surrogates(body), inf_nan_mode="null")
        except PydanticSerializationError as error:
            raise ConfigurationError(f"the request has no JSON form: {error}; check Settings(extra=...)") from error


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case Mapping():
            return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [_without_surrogates(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value
