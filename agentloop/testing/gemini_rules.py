"""What a request to Gemini's generateContent must be for Google to take it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentloop.testing.answers import Problem
from agentloop.testing.gemini_contents import content_problems, named, transcript_problems
from agentloop.testing.schema_rules import is_list, is_number, is_object, is_one_of, object_of, openapi_problems, parameters_problems

Json = Mapping[str, Any]

# The fields of the API, by Google's SDK 3.4; the model's name stands in the path.
_FIELDS = (
    "cachedContent", "contents", "generationConfig", "labels", "modelArmorConfig", "safetySettings", "serviceTier", "store",
    "systemInstruction", "toolConfig", "tools",
)  # fmt: skip
_SETTINGS = (
    "audioTimestamp", "candidateCount", "enableAffectiveDialog", "enableEnhancedCivicAnswers", "frequencyPenalty", "imageConfig",
    "logprobs", "maxOutputTokens", "mediaResolution", "modelSelectionConfig", "presencePenalty", "responseFormat",
    "responseJsonSchema", "responseLogprobs", "responseMimeType", "responseModalities", "responseSchema", "routingConfig", "seed",
    "speechConfig", "stopSequences", "temperature", "thinkingConfig", "topK", "topP",
)  # fmt: skip
_HOSTED = (
    "codeExecution", "computerUse", "enterpriseWebSearch", "exaAiSearch", "fileSearch", "googleMaps", "googleSearch",
    "googleSearchRetrieval", "mcpServers", "parallelAiSearch", "retrieval", "urlContext",
)  # fmt: skip
_FUNCTION = ("name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
_JSON_TYPES = ("application/json", "text/x.enum")
_MOST_STOPS = 5
# From this generation on Google wants signed calls, and takes functions beside structured output.
_THIRD = 3


def gemini_problem(body: Any, *, model: str) -> Problem | None:
    """Say why Google would refuse this body for this model, or None."""
    if not is_object(body):
        return Problem(message="Invalid JSON payload received: the body must be an object.")
    return next((Problem(message=words) for words in _problems(named(body), model)), None)


def is_third_generation(model: str) -> bool:
    """Whether the model is of the generation that names its calls and wants their signatures back, or later."""
    return (_generation(model) or 0) >= _THIRD


def _generation(model: str) -> int | None:
    found = re.match(r"(?:models/)?gemini-(\d+)", model)
    return int(found[1]) if found else None


def _problems(body: Json, model: str) -> Iterator[str]:
    yield from (_unknown(name) for name in body if name not in _FIELDS)
    contents = body.get("contents")
    if not is_list(contents) or not contents:
        yield "contents is not specified: there must be a list with a content in it."
        return
    yield from transcript_problems(contents, wants_signatures=is_third_generation(model))
    yield from _instruction_problems(body.get("systemInstruction"))
    names = [*_declared_names(body)]
    yield from _tool_problems(body.get("tools"))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"Duplicate function declaration found: {twice[0]}"
    yield from _config_problems(body.get("toolConfig"), names)
    yield from _setting_problems(body.get("generationConfig"), model, has_functions=bool(names))
    safety = body.get("safetySettings", [])
    for number, setting in enumerate(safety if is_list(safety) else [safety]):
        if not {"category", "threshold"} <= object_of(setting).keys():
            yield f"safety_settings[{number}]: 'category' and 'threshold' are needed."


def _instruction_problems(instruction: Any) -> Iterator[str]:
    if instruction is None:
        return
    instruction = named(instruction)
    yield from content_problems({**instruction, "role": "user"}, place="system_instruction")
    if not all("text" in object_of(part) for part in instruction.get("parts") or ()):
        yield "system_instruction: only text is allowed."


def _declared_names(body: Json) -> Iterator[str]:
    for tool in body["tools"] if is_list(body.get("tools")) else ():
        functions = named(tool).get("functionDeclarations")
        yield from (str(object_of(function).get("name")) for function in (functions if is_list(functions) else ()))


def _tool_problems(tools: Any) -> Iterator[str]:
    if tools is not None and not is_list(tools):
        yield "Invalid value at 'tools': it must be a list."
        return
    for number, tool in enumerate(tools or ()):
        place = f"tools[{number}]"
        said = named(tool)
        if not said:
            yield f"{place}: one of functionDeclarations, {', '.join(_HOSTED)} is needed."
        yield from (_unknown(name, place) for name in said if name not in {"functionDeclarations", *_HOSTED})
        functions = said.get("functionDeclarations", [])
        if not is_list(functions):
            yield f"Invalid value at '{place}.function_declarations': it must be a list."
            return
        for index, function in enumerate(functions):
            yield from _function_problems(named(function), f"{place}.function_declarations[{index}]")


def _function_problems(function: Json, place: str) -> Iterator[str]:
    yield from (_unknown(name, place) for name in function if name not in _FUNCTION)
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield (
            f"Invalid value at '{place}.name': {name!r}. It must start with a letter or an underscore, and hold letters, digits, "
            "underscores, dots, colons and dashes, at most 64."
        )
    if not isinstance(function.get("description", ""), str):
        yield f"Invalid value at '{place}.description': it must be a string."
    if "parameters" in function and "parametersJsonSchema" in function:
        yield f"{place}: parameters and parameters_json_schema cannot both be set."
    if "parameters" in function:
        yield from (f"{place}.parameters{wrong}" for wrong in openapi_problems(function["parameters"], is_object_needed=True))
    if "parametersJsonSchema" in function:
        yield from (f"{place}.parameters_json_schema: {wrong}" for wrong in parameters_problems(function["parametersJsonSchema"]))


def _config_problems(config: Any, names: Sequence[str]) -> Iterator[str]:
    if config is None:
        return
    config = named(config)
    known = ("functionCallingConfig", "includeServerSideToolInvocations", "retrievalConfig")
    yield from (_unknown(name, "tool_config") for name in config if name not in known)
    if "functionCallingConfig" not in config:
        return
    calling = named(config["functionCallingConfig"])
    place = "tool_config.function_calling_config"
    known = ("mode", "allowedFunctionNames", "streamFunctionCallArguments")
    yield from (_unknown(name, place) for name in calling if name not in known)
    mode = calling.get("mode", "AUTO")
    if not isinstance(mode, str) or mode not in _MODES:
        yield f"Invalid value at '{place}.mode': {mode!r} is none of {', '.join(_MODES)}."
    allowed = calling.get("allowedFunctionNames", [])
    if not is_list(allowed):
        yield f"Invalid value at '{place}.allowed_function_names': it must be a list."
        return
    if allowed and mode not in {"ANY", "VALIDATED"}:
        yield f"{place}.allowed_function_names: it should only be set when the mode is ANY or VALIDATED, not {mode}."
    if unknown := [name for name in allowed if name not in names]:
        yield f"{place}.allowed_function_names: {unknown[0]!r} is not among the function declarations."
    if mode in {"ANY", "VALIDATED"} and not names:
        yield "Function calling config is set without function_declarations."


def _setting_problems(settings: Any, model: str, *, has_functions: bool) -> Iterator[str]:
    if settings is None:
        return
    if not is_object(settings):
        yield "Invalid value at 'generation_config': it must be an object."
        return
    said = named({name: value for name, value in settings.items() if value is not None})
    place = "generation_config"
    yield from (_unknown(name, place) for name in said if name not in _SETTINGS)
    for name, most in (("temperature", 2), ("topP", 1)):
        if name in said and not (is_number(said[name]) and 0 <= said[name] <= most):
            yield f"{place}.{name}: it must be a number from 0 to {most}."
    for name in ("maxOutputTokens", "topK"):
        if name in said and not (is_number(said[name]) and said[name] >= 1):
            yield f"{place}.{name}: it must be a number above 0."
    if said.get("candidateCount", 1) != 1:
        yield f"{place}.candidateCount: this gateway scripts one candidate."
    stops = said.get("stopSequences", [])
    if not is_list(stops) or len(stops) > _MOST_STOPS or not all(isinstance(stop, str) for stop in stops):
        yield f"{place}.stopSequences: it must be a list of at most {_MOST_STOPS} strings."
    yield from _output_problems(said, model, has_functions=has_functions)
    yield from _thinking_problems(said.get("thinkingConfig"), model)


def _output_problems(said: Json, model: str, *, has_functions: bool) -> Iterator[str]:
    place = "generation_config"
    kind = said.get("responseMimeType", "text/plain")
    if not is_one_of(kind, ("text/plain", *_JSON_TYPES)):
        yield f"{place}.response_mime_type: {kind!r} is none of text/plain, {', '.join(_JSON_TYPES)}."
    if "responseSchema" in said and "responseJsonSchema" in said:
        yield f"{place}: response_schema and response_json_schema cannot both be set."
    if ("responseSchema" in said or "responseJsonSchema" in said) and kind not in _JSON_TYPES:
        yield f"{place}.response_mime_type: a response schema needs application/json."
    if "responseSchema" in said:
        yield from (f"{place}.response_schema{wrong}" for wrong in openapi_problems(said["responseSchema"]))
    if "responseJsonSchema" in said:
        schema = said["responseJsonSchema"]
        wrong = parameters_problems({**schema, "type": "object"}) if is_object(schema) else ["it must be an object"]
        yield from (f"{place}.response_json_schema: {words}" for words in wrong)
    generation = _generation(model)
    if has_functions and kind == "application/json" and generation is not None and generation < _THIRD:
        yield "Function calling with a response mime type: 'application/json' is unsupported"


def _thinking_problems(config: Any, model: str) -> Iterator[str]:
    if config is None:
        return
    config = named(config)
    place = "generation_config.thinking_config"
    yield from (_unknown(name, place) for name in config if name not in {"includeThoughts", "thinkingBudget", "thinkingLevel"})
    if "thinkingBudget" in config and "thinkingLevel" in config:
        yield "You can only set only one of thinking budget and thinking level."
    if "thinkingLevel" in config and str(config["thinkingLevel"]).upper() not in _LEVELS:
        yield f"Invalid value at '{place}.thinking_level': {config['thinkingLevel']!r} is none of {', '.join(_LEVELS)}."
    generation = _generation(model)
    if "thinkingLevel" in config and generation is not None and generation < _THIRD:
        yield "Thinking level is not supported for this model."
    if not isinstance(config.get("thinkingBudget", 0), int) or config.get("thinkingBudget", 0) < -1:
        yield f"Invalid value at '{place}.thinking_budget': it must be a count of tokens, or -1."


def _unknown(name: str, place: str = "") -> str:
    where = f" at '{place}'" if place else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
