"""Writes crates/checkpoint/tests/golden/gguf_quants.json: blocks of ggml's formats and their values.

Under "formats": the `gguf` package's own dequantisation, which this project's is compared with bit
for bit. Under "written": values, and the blocks that the package's quantisation makes of them. It
has none for Q4_K: there, this project's blocks of the values, and what the package reads in them.
Run it from the repository root; the example writes the blocks that the second run reads:

    python3 -m venv .venv && .venv/bin/pip install gguf==0.19.0
    .venv/bin/python tools/golden/gguf_quants.py
    cargo run -p equicrypt-checkpoint --example q4_k_blocks > target/q4_k_blocks.hex
    .venv/bin/python tools/golden/gguf_quants.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize

OUT = Path("crates/checkpoint/tests/golden/gguf_quants.json")
OURS = Path("target/q4_k_blocks.hex")

# Where a block keeps its f16 scales; everything else in it is uniform random bytes.
SCALES = {
    Kind.Q4_0: [0],
    Kind.Q4_1: [0, 2],
    Kind.Q5_0: [0],
    Kind.Q5_1: [0, 2],
    Kind.Q8_0: [0],
    Kind.Q4_K: [0, 2],
    Kind.Q5_K: [0, 2],
    Kind.Q6_K: [208],
}
PLAIN = [Kind.F32, Kind.F16, Kind.BF16]


def random_blocks(kind: Kind, rng: np.random.Generator) -> np.ndarray:
    values, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, size=(3 if values == 256 else 8, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = rng.normal(0, 0.05, size=(len(blocks), 1)).astype("<f2")
        blocks[:, at : at + 2] = scale.view(np.uint8)
    return blocks.reshape(1, -1)


def plain_values(kind: Kind, rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(0, 1, size=(1, 64)).astype("<f4")
    values[0, :4] = [0.0, -0.0, 1e-6, -60000.0]
    if kind == Kind.F32:
        return values.view(np.uint8)
    if kind == Kind.F16:
        return values.astype("<f2").view(np.uint8)
    return (values.view("<u4") >> 16).astype("<u2").view(np.uint8)


def values_to_write(kind: Kind, rng: np.random.Generator) -> np.ndarray:
    """Normal, one-sided, sparse, tiny, exact ties, zeros: two blocks of 256 of each."""
    values = rng.normal(0, 1, size=(12, 256)).astype("<f4")
    values[2:4] = np.abs(values[2:4]) * 3 + 1
    values[4:6] *= rng.random((2, 256)) < 0.05
    values[6:8] *= np.float32(1e-6)
    values[8:10] = rng.integers(-254, 255, size=(2, 256)) / 2
    values[8:10, ::32] = 127
    values[10, :] = 0
    values[11, :] = -0.375
    return values[: 2 if kind in PLAIN else 12].reshape(1, -1)


def written(kind: Kind, rng: np.random.Generator) -> dict[str, str]:
    values = values_to_write(kind, rng)
    case = {"values": values.tobytes().hex()}
    if kind == Kind.Q4_K:
        if OURS.exists():
            blocks = np.frombuffer(bytes.fromhex(OURS.read_text()), np.uint8).reshape(1, -1)
            read = dequantize(blocks, kind).astype("<f4")
            assert read.shape == values.shape
            case |= {"ours": blocks.tobytes().hex(), "ours_read": read.tobytes().hex()}
        return case
    return case | {"blocks": quantize(values, kind).tobytes().hex()}


def main() -> None:
    rng = np.random.default_rng(20250)
    formats = {}
    for kind in PLAIN + list(SCALES):
        raw = plain_values(kind, rng) if kind in PLAIN else random_blocks(kind, rng)
        stored = raw.view({Kind.F32: "<f4", Kind.F16: "<f2"}.get(kind, np.uint8))
        values = dequantize(stored, kind).astype("<f4").reshape(-1)
        formats[kind.name] = {"blocks": raw.tobytes().hex(), "values": values.tobytes().hex()}
    rng = np.random.default_rng(20251)
    kinds = [*PLAIN, Kind.Q8_0, Kind.Q4_K]
    cases = {kind.name: written(kind, rng) for kind in kinds}
    header = {"made_by": "tools/golden/gguf_quants.py", "gguf": version("gguf")}
    OUT.write_text(json.dumps(header | {"formats": formats, "written": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
