"""Writes a language model of half a megabyte: its weights are chance, but for the few habits that let its replies end.

A habit is a direction into which one token points and from which the output reads another, so that the other follows the one. Under a
grammar, such a model says whatever the grammar allows; without one it would babble.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]

WIDTH = 64
HIDDEN = 128
LAYERS = 2
HEADS = 4

# What the model is shown of the conversation. The marker at the end, from which it goes on, says whether a tool has just answered.
TEMPLATE = """\
{% if tools %}<|tools|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ eos_token }}{% endif %}\
{% for message in messages %}<|{{ message.role }}|>{{ message.content or '' }}\
{% for call in message.tool_calls or [] %}\
<tool_call>{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>\
{% endfor %}{{ eos_token }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|answer|>' if messages[-1].role == 'tool' else '<|assistant|>' }}{% endif %}"""

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
# SentencePiece writes a space like this.
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# With a few of those beyond ASCII; the others are spelled in bytes.
CHARACTERS = [SPACE, *map(chr, range(ord("!"), 127)), *"Åé東🍲"]
WORDS = ["<|assistant|>", "<|answer|>", "<tool_call>", "</tool_call>", "Done."]
KINDS = {
    UNKNOWN: gguf.TokenType.UNKNOWN,
    BEGIN: gguf.TokenType.CONTROL,
    END: gguf.TokenType.CONTROL,
    **dict.fromkeys(BYTES, gguf.TokenType.BYTE),
    **dict.fromkeys(CHARACTERS, gguf.TokenType.NORMAL),
    **dict.fromkeys(WORDS, gguf.TokenType.USER_DEFINED),
}
TOKENS = list(KINDS)

# What follows a token, and how surely: asked, it calls a tool; after a call it ends, or makes another; after a result it says "Done.".
HABITS = {
    "<|assistant|>": {"<tool_call>": 4.0},
    "}": {"</tool_call>": 1.0},
    "</tool_call>": {"<tool_call>": 4.0, END: 4.1},
    "<|answer|>": {"Done.": 4.0},
    "Done.": {END: 4.0},
}
# What it likes to say anywhere: strings and numbers that end; seldom a space; no bytes and escapes, of which chance makes no text.
LIKINGS = {'"': 0.3, ",": 0.3, SPACE: -0.6, "\\": -2.0, **dict.fromkeys(BYTES, -2.0)}
DIRECTIONS = 1 + len(HABITS)


def write(path: Path) -> None:
    """Write the model as a GGUF file, the same each time."""
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer)
    for name, weights in _weights(np.random.default_rng(0)).items():
        writer.add_tensor(f"{name}.weight", weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any) -> None:
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types(list(KINDS.values()))
    writer.add_unk_token_id(TOKENS.index(UNKNOWN))
    writer.add_bos_token_id(TOKENS.index(BEGIN))
    writer.add_eos_token_id(TOKENS.index(END))
    writer.add_add_space_prefix(value=False)
    writer.add_chat_template(TEMPLATE)


def _weights(chance: np.random.Generator) -> dict[str, Weights]:
    embedding, output = _vocabulary(chance)
    found = {"token_embd": embedding, "output_norm": np.ones(WIDTH), "output": output}
    for layer in range(LAYERS):
        found |= {f"blk.{layer}.{name}": weights for name, weights in _layer(chance).items()}
    return found


def _vocabulary(chance: np.random.Generator) -> tuple[Weights, Weights]:
    """Make the embedding and the output, a row for each token; the first directions are those of the likings and the habits."""
    embedding = chance.standard_normal((len(TOKENS), WIDTH))
    output = chance.standard_normal((len(TOKENS), WIDTH)) / 4
    output[[TOKENS.index(word) for word in (END, *WORDS)]] = 0
    embedding[:, :DIRECTIONS] = output[:, :DIRECTIONS] = 0
    embedding[:, 0] = 8
    for token, liking in LIKINGS.items():
        output[TOKENS.index(token), 0] = liking
    for direction, (token, followers) in enumerate(HABITS.items(), start=1):
        embedding[TOKENS.index(token), direction] = 16
        for follower, surely in followers.items():
            output[TOKENS.index(follower), direction] = surely
    return embedding, output


def _layer(chance: np.random.Generator) -> dict[str, Weights]:
    """Make what lets a token's vector depend on those before it."""

    def mixing(rows: int, columns: int) -> Weights:
        return chance.standard_normal((rows, columns)) / math.sqrt(columns)

    def adding(columns: int) -> Weights:
        weights = 3 * mixing(WIDTH, columns)
        weights[:DIRECTIONS] = 0
        return weights

    return {
        "attn_norm": np.ones(WIDTH),
        "attn_q": mixing(WIDTH, WIDTH),
        "attn_k": mixing(WIDTH, WIDTH),
        "attn_v": mixing(WIDTH, WIDTH),
        "attn_output": adding(WIDTH),
        "ffn_norm": np.ones(WIDTH),
        "ffn_gate": mixing(HIDDEN, WIDTH),
        "ffn_up": mixing(HIDDEN, WIDTH),
        "ffn_down": adding(HIDDEN),
    }
