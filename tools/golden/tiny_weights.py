"""Weights of the tiny golden models, given by a formula so that none are shipped.

Every tensor of the checkpoint is filled in row-major order from its own stream:

    state = FNV-1a-64 of the tensor's name, as UTF-8
    for each element:  SplitMix64: state += 9e3779b97f4a7c15; z = state
                       z = (z ^ z >> 30) * bf58476d1ce4e5b9;  z = (z ^ z >> 27) * 94d049bb133111eb;  z ^= z >> 31
                       u = (z >> 11) * 2^-53                                            all modulo 2^64, u in [0, 1)
    a norm's gain, X.weight where X holds "norm" or begins with "ln_":      1 + 0.5 * u
    a bias, any name that ends in "bias" (e_score_correction_bias too):     (u - 0.5) * 0.2
    the tokens' embedding, embed_tokens, embed_in or wte .weight:           (u - 0.5) * 2
    the positions' embedding, wpe.weight:                                   (u - 0.5) * 0.5
    every other weight:                                                     (u - 0.5) * (4 / sqrt(input width))

The input width is the last dimension, except for GPT-2's c_attn, c_proj and c_fc, which are stored transposed: the
first. The value is computed in f64 and then rounded to f32; both sides start from the rounded one.

The encoders' checkpoints add these names, which no decoder's has:

    a norm's gain is also X.weight where X holds "Norm", and X.gamma:       1 + 0.5 * u
    a bias is also any name that ends in "beta":                            (u - 0.5) * 0.2
    the tokens' embedding is also word_embeddings or tok_embeddings:        (u - 0.5) * 2
    position_embeddings and token_type_embeddings .weight:                  (u - 0.5) * 0.5
    relative_attention_bias.weight:                                         (u - 0.5) * 4
"""

import math

import numpy as np

MASK = 2**64 - 1
ENCODER_FORMULA = __doc__[__doc__.index("Every tensor"):].strip().split("\n")
FIRST_OF_ENCODERS = ENCODER_FORMULA.index("The encoders' checkpoints add these names, which no decoder's has:")
FORMULA = ENCODER_FORMULA[:FIRST_OF_ENCODERS - 1]


def tensor(name: str, shape: list[int]) -> np.ndarray:
    """The f32 tensor of a checkpoint."""
    return np.array(values(name, shape), dtype=np.float64).astype(np.float32).reshape(shape)


def values(name: str, shape: list[int]) -> list[float]:
    scale, offset = affine(name, shape)
    stream = uniform(name, math.prod(shape))
    if offset:
        return [offset + scale * u for u in stream]
    return [(u - 0.5) * scale for u in stream]


def affine(name: str, shape: list[int]) -> tuple[float, float]:
    """(scale, offset): offset + scale * u, or (u - 0.5) * scale where the offset is 0."""
    if name.endswith(("bias", "beta")):
        return 0.2, 0.0
    module = name.split(".")[-2]
    if "norm" in module.lower() or module.startswith("ln_"):
        return 0.5, 1.0
    if module in ("embed_tokens", "embed_in", "wte", "word_embeddings", "tok_embeddings"):
        return 2.0, 0.0
    if module in ("wpe", "position_embeddings", "token_type_embeddings"):
        return 0.5, 0.0
    if module == "relative_attention_bias":
        return 4.0, 0.0
    width = shape[0] if module in ("c_attn", "c_proj", "c_fc") else shape[-1]
    return 4 / math.sqrt(width), 0.0


def uniform(name: str, count: int) -> list[float]:
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 & MASK
    stream = []
    for _ in range(count):
        state = state + 0x9E3779B97F4A7C15 & MASK
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        stream.append(((z ^ z >> 31) >> 11) * 2.0**-53)
    return stream
