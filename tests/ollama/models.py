"""Models for a real Ollama, made from random numbers instead of downloaded: small, and yet the text is readable.

How readable text comes out of random weights: column 0 of the residual stream is 1 for every token (no block reads
or writes it), so column 0 of the output matrix is a bias per token. Words share one level, control characters and
bytes lie far below, and the other columns, which do depend on the text, only choose between the words. The level of
`</s>` sets how long answers are; those of `"` and `}` let a JSON grammar come to its end.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray

WORDS = (  # with a few others fewer than 40, so that Ollama's top_k of 40 cuts none of them off
    *("the", "a", "of", "to", "and", "in", "is", "on", "for", "with", "not", "but", "hello", "world"),
    *("river", "mountain", "house", "garden", "light", "water", "stone", "bread", "letter", "music"),
    *("bridge", "window", "morning", "evening", "winter", "summer", "north", "south"),
)
TEMPLATE_WORDS = ("user", "answer", "system", "tool", "tools")  # read, never written
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPACE = "\u2581"  # SentencePiece writes a leading blank as this character
WORD_LEVEL = 6.5  # the logit of a word; others are given against it
NOTHING = -WORD_LEVEL
END = 2  # the id of </s>

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a transformer. The file takes four bytes for each of its numbers.

    `experts` feed-forward parts stand side by side, of which each token uses one: much to load, and little to compute.
    """

    width: int
    blocks: int
    heads: int
    feed_forward: int
    context: int
    experts: int = 0


CHAT = Shape(width=64, blocks=2, heads=4, feed_forward=128, context=2048)
SLOW = Shape(width=1024, blocks=10, heads=16, feed_forward=2816, context=2048)
HEAVY = Shape(width=512, blocks=1, heads=8, feed_forward=1024, context=2048, experts=100)
EMBEDDINGS = Shape(width=32, blocks=1, heads=2, feed_forward=64, context=512)


def write_chat(path: Path) -> None:
    """A chat model of 0.5 MB whose answers end by themselves after some fifty words."""
    _write_llama(path, CHAT, end_level=WORD_LEVEL - 0.5)


def write_slow(path: Path) -> None:
    """A chat model of 0.5 GB that never ends by itself: it writes until its token limit."""
    _write_llama(path, SLOW, end_level=NOTHING)


def write_heavy(path: Path, seed: int) -> None:
    """A chat model of 0.6 GB that takes a second to load and writes fast; it writes until its token limit.

    Each `seed` gives another file.
    """
    _write_llama(path, HEAVY, end_level=NOTHING, seed=seed)


def write_embeddings(path: Path) -> None:
    """An embedding model (BERT, mean pooling) of 0.1 MB: other words give another vector."""
    shape = EMBEDDINGS
    rng = np.random.default_rng(7)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = specials + [SPACE + word for word in (*WORDS, *LETTERS) if word != "a"] + [SPACE + "a", *LETTERS]
    writer = GGUFWriter(str(path), "bert")
    _describe(writer, shape, "tiny embeddings")
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_uint32("bert.pooling_type", 1)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * len(specials) + [TokenType.NORMAL] * (len(tokens) - len(specials)))
    writer.add_token_type_count(1)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_uint32("tokenizer.ggml.cls_token_id", 2)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)

    def normal(*size: int) -> Matrix:
        return rng.normal(0, 0.3, size).astype(np.float32)

    writer.add_tensor("token_embd.weight", normal(len(tokens), shape.width))
    writer.add_tensor("position_embd.weight", normal(shape.context, shape.width) * np.float32(0.1))
    writer.add_tensor("token_types.weight", normal(1, shape.width))
    _add_layer_norm(writer, "token_embd_norm", shape.width)
    for block in range(shape.blocks):
        prefix = f"blk.{block}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            _add_linear(writer, f"{prefix}.{name}", normal(shape.width, shape.width))
        _add_linear(writer, f"{prefix}.ffn_up", normal(shape.feed_forward, shape.width))
        _add_linear(writer, f"{prefix}.ffn_down", normal(shape.width, shape.feed_forward))
        _add_layer_norm(writer, f"{prefix}.attn_output_norm", shape.width)
        _add_layer_norm(writer, f"{prefix}.layer_output_norm", shape.width)
    _finish(writer)


def _write_llama(path: Path, shape: Shape, *, end_level: float, seed: int = 7) -> None:
    rng = np.random.default_rng(seed)
    levels = _vocabulary(end_level)
    writer = GGUFWriter(str(path), "llama")
    _describe(writer, shape, {SLOW: "slow chat", HEAVY: "heavy chat"}.get(shape, "tiny chat"))
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(1)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(len(levels))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(levels))
    writer.add_token_scores([float(-position) for position in range(len(levels))])
    writer.add_token_types([_token_type(token) for token in levels])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    _add_llama_tensors(writer, shape, np.array(list(levels.values()), np.float32), rng)
    _finish(writer)


def _vocabulary(end_level: float) -> dict[str, float]:
    """Each token with its level, in the order of the ids."""
    levels = {"<unk>": NOTHING, "<s>": NOTHING, "</s>": end_level}
    levels |= {_byte(chr(value)): NOTHING for value in range(256)}
    levels |= {_byte('"'): WORD_LEVEL + 1.5, _byte("}"): WORD_LEVEL - 3}
    levels |= dict.fromkeys(LETTERS, 0.0)
    for word in (*TEMPLATE_WORDS, *WORDS):  # SentencePiece reads a word letter by letter: it needs all beginnings
        levels |= {SPACE + word[:length]: NOTHING for length in range(1, len(word) + 1)}
    levels |= {SPACE + word: WORD_LEVEL for word in WORDS}
    return levels


def _byte(character: str) -> str:
    """The token of one byte, as SentencePiece writes it."""
    return f"<0x{ord(character):02X}>"


def _token_type(token: str) -> TokenType:
    if token == "<unk>":
        return TokenType.UNKNOWN
    if token in ("<s>", "</s>"):
        return TokenType.CONTROL
    return TokenType.BYTE if token.startswith("<0x") else TokenType.NORMAL


def _add_llama_tensors(writer: GGUFWriter, shape: Shape, levels: Matrix, rng: np.random.Generator) -> None:
    """Weights sized so that, after the last norm, column 0 is about 0.8 sqrt(width) and the rest adds noise of 1."""
    width = shape.width

    def normal(rows: int, columns: int, deviation: float) -> Matrix:
        return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(deviation)

    def side_by_side(rows: int, columns: int, deviation: float) -> Matrix:
        if not shape.experts:
            return normal(rows, columns, deviation)
        return normal(shape.experts * rows, columns, deviation).reshape(shape.experts, rows, columns)

    kind = "_exps" if shape.experts else ""
    embedding = normal(len(levels), width, (0.5 / width) ** 0.5)
    embedding[:, 0] = 1
    output = normal(len(levels), width, (3 / width) ** 0.5)
    output[END] = 0
    output[:, 0] = levels / (0.8 * width**0.5)
    blind_to_column_0 = np.ones(width, np.float32)
    blind_to_column_0[0] = 0
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("output.weight", output)
    for block in range(shape.blocks):
        prefix = f"blk.{block}"
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{prefix}.{name}.weight", blind_to_column_0)
        for name, rows in (("attn_q", width), ("attn_k", width), ("attn_v", width)):
            writer.add_tensor(f"{prefix}.{name}.weight", normal(rows, width, width**-0.5))
        if shape.experts:
            writer.add_tensor(f"{prefix}.ffn_gate_inp.weight", normal(shape.experts, width, width**-0.5))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"{prefix}.{name}{kind}.weight", side_by_side(shape.feed_forward, width, width**-0.5))
        attn_output = normal(width, width, 0.5 / width)
        ffn_down = side_by_side(width, shape.feed_forward, 0.5 / width)
        for name, weight in (("attn_output", attn_output), (f"ffn_down{kind}", ffn_down)):
            weight[..., 0, :] = 0
            writer.add_tensor(f"{prefix}.{name}.weight", weight)


def _describe(writer: GGUFWriter, shape: Shape, name: str) -> None:
    writer.add_name(name)
    writer.add_file_type(0)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.blocks)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)


def _add_linear(writer: GGUFWriter, name: str, weight: Matrix) -> None:
    writer.add_tensor(f"{name}.weight", weight)
    writer.add_tensor(f"{name}.bias", np.zeros(weight.shape[0], np.float32))


def _add_layer_norm(writer: GGUFWriter, name: str, width: int) -> None:
    writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    writer.add_tensor(f"{name}.bias", np.zeros(width, np.float32))


def _finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
