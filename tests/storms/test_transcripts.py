"""Whatever a transcript holds, each format makes a request of it that its provider takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from agentloop.errors import ConfigurationError
from agentloop.transcript import Transcript
from tests.openapi import needs_openapi, validator
from tests.storms.random_transcripts import request, transcript
from tests.storms.storm import dice, many
from tests.wire.test_table import WIRES, problem

OPENAIS_OWN = {"chat": "CreateChatCompletionRequest", "responses": "CreateResponse"}


def body_of(name: str, seed: int) -> dict[str, Any] | None:
    """Encode a random transcript, strictly; None where the format says that it has no words for something in it."""
    random = dice(seed)
    wire, model = WIRES[name]
    try:
        outgoing = wire.encode(request(random, transcript(random)), model=model)
    except ConfigurationError:
        return None
    body = json.loads(outgoing.body.decode("utf-8", "strict"), parse_constant=_refused, object_pairs_hook=_without_duplicates)
    return {"path": outgoing.path, "headers": dict(outgoing.headers), "body": body}


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("name", WIRES)
def test_no_provider_would_refuse_a_random_transcript(name: str, record_property: Callable[[str, object], None]):
    seeds = many(10_000, usual=400)
    outcomes: Counter[str] = Counter()
    refused: dict[int, str] = {}
    for seed in seeds:
        outgoing = body_of(name, seed)
        found = problem(name, outgoing) if outgoing else None
        outcomes["no words" if outgoing is None else "valid"] += 1
        if found is not None:
            refused[seed] = found.message

    told = f"{name}: {len(seeds)} random transcripts: {outcomes['valid']} requests, {len(refused)} refused"
    record_property("table", f"{told}; for {outcomes['no words']} the format says that it has no words")
    assert refused == {}
    assert outcomes["valid"] > len(seeds) // 3


@needs_openapi
@pytest.mark.parametrize(("name", "schema"), OPENAIS_OWN.items())
def test_random_transcripts_fit_openais_own_schema(name: str, schema: str, record_property: Callable[[str, object], None]):
    seeds = many(10_000, usual=60)

    faults: dict[int, str] = {}
    judged = 0
    for seed in seeds:
        if (outgoing := body_of(name, seed)) is not None:
            judged += 1
            if (fault := next(validator(schema).iter_errors(outgoing["body"]), None)) is not None:
                faults[seed] = fault.message[:300]

    record_property("table", f"{name}: {judged} requests of random transcripts judged by OpenAI's own schema: {len(faults)} do not fit")
    assert faults == {}


def test_a_random_transcript_reads_the_same_once_it_was_stored():
    for seed in many(10_000, usual=400):
        said = transcript(dice(seed))
        if "\\ud" in repr(said.messages):
            # Half a surrogate pair has no place in JSON text, and comes back as a question mark.
            assert len(Transcript.from_json(said.to_json())) == len(said)
            continue

        again = Transcript.from_json(said.to_json())

        assert again.messages == said.messages, seed
