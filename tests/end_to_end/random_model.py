"""Writes a language model of random weights as a GGUF file: half a megabyte that llama.cpp loads and runs.

    python random_model.py PATH SEED

What it says is noise; how it is loaded, streamed and counted is real.  Source of the keys and tensor names:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and the constants of the `gguf` package.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from gguf import GGUFWriter, PoolingType, TokenType

CONTROL = ("<unk>", "<s>", "</s>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)


@dataclass(frozen=True)
class Shape:
    """Numbers of a model; every width is a multiple of 32, which llama.cpp's blocks like."""

    width: int = 64
    heads: int = 4
    layers: int = 2
    inner_width: int = 128
    context: int = 32_768


def vocabulary() -> tuple[list[str], list[TokenType]]:
    """Control tokens, one token for each byte, so that every text can be said, and a few letters."""
    letters = ["\u2581", "a", "b", "c"]
    tokens = [*CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * 256 + [TokenType.NORMAL] * len(letters)
    return tokens, kinds


def write(path: str, seed: int, shape: Shape = Shape()) -> None:
    writer = GGUFWriter(path, "llama")
    describe(writer, shape)
    tokens, kinds = vocabulary()
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    for add, token in (
        (writer.add_unk_token_id, 0),
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
    ):
        add(token)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, values in tensors(len(tokens), shape, np.random.default_rng(seed)):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name("noise")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_pooling_type(PoolingType.MEAN)  # one vector for a text, not one for each token
    writer.add_file_type(0)  # all tensors are 32-bit floats


def tensors(words: int, shape: Shape, random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    def weights(rows: int, columns: int) -> np.ndarray:
        return (0.05 * random.standard_normal((rows, columns))).astype(np.float32)

    def norm() -> np.ndarray:
        return np.ones(shape.width, np.float32)

    width, inner = shape.width, shape.inner_width
    yield "token_embd.weight", weights(words, width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", norm()
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}.{part}.weight", weights(width, width)
        yield f"{block}.ffn_norm.weight", norm()
        yield f"{block}.ffn_gate.weight", weights(inner, width)
        yield f"{block}.ffn_up.weight", weights(inner, width)
        yield f"{block}.ffn_down.weight", weights(width, inner)
    yield "output_norm.weight", norm()
    yield "output.weight", weights(words, width)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
