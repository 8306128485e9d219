"""Embeddings made from the text alone: the same text and model give the same vector on every endpoint."""

import base64
import hashlib
import math
import struct


def embed(text: str, model: str, length: int) -> list[float]:
    """A vector of length 1 with `length` components, as float32 would hold them."""
    source = hashlib.shake_128(f"{model}\0{text}".encode("utf-8", "replace")).digest(2 * length)
    return normalised([number / 32768 - 1 for number in struct.unpack(f"<{length}H", source)])


def shortened(vector: list[float], dimensions: int) -> list[float]:
    """The first `dimensions` components, again of length 1. 0, or more than there are, changes nothing."""
    return vector if not 0 < dimensions < len(vector) else normalised(vector[:dimensions])


def normalised(vector: list[float]) -> list[float]:
    """The same direction with length 1 (L2); zeros stay zeros."""
    length = math.sqrt(math.fsum(x * x for x in vector)) or 1.0
    packed = struct.pack(f"<{len(vector)}f", *(x / length for x in vector))
    return list(struct.unpack(f"<{len(vector)}f", packed))


def as_base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's clients ask for by default."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def as_numbers(vector: list[float]) -> list[float]:
    """Numbers with the nine digits that tell any two float32 apart."""
    return [float(f"{x:.9g}") for x in vector]
