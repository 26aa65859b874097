"""Serves the tiny model with llama.cpp until its standard input ends: `python -m tests.engine.server FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import xllamacpp

from tests.engine import tiny_model


def serve(folder: Path) -> None:
    """Write the model into the folder, serve it on a free port, and print the address."""
    path = folder / "tiny.gguf"
    tiny_model.write(path)
    server = xllamacpp.Server(_parameters(path))
    print(server.listening_address, flush=True)
    sys.stdin.read()


def _parameters(path: Path) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {"tiny"}
    parameters.port = 0
    parameters.n_ctx = 8192
    parameters.warmup = False
    # With one slot, one thread and no cached prompts, the same request and seed give the same reply, to the last bit.
    parameters.n_parallel = 1
    parameters.cache_prompt = False
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    return parameters


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
