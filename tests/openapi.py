"""OpenAI's own schemas of requests, read where they lie beside the project, and what judges a body by them."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

FILE = Path(os.environ.get("AGENTLOOP_OPENAPI") or Path(__file__).parents[2] / "shared" / "openapi" / "openai-requests.json")

needs_openapi = pytest.mark.skipif(not FILE.exists(), reason=f"no OpenAPI schemas at {FILE}; set AGENTLOOP_OPENAPI")


@cache
def validator(schema: str) -> Draft202012Validator:
    """Judge by the schema of this name, as strictly as OpenAI wrote it but for one word."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    schemas = document.get("components", {}).get("schemas", document)
    # A message of parts fits two of these forms; OpenAI tells them apart by a discriminator, which JSON Schema does not know.
    schemas["InputItem"]["anyOf"] = schemas["InputItem"].pop("oneOf")
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": {"schemas": schemas}})
