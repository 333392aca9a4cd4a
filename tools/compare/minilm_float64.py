"""What every system of he_mpc.py must compute: MiniLM's encoder in float64, and the sentence embedding behind it.

`MiniLm(folder, layers)` is the first `layers` layers of the encoder that tools/golden/encoder_reference.py computes.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).resolve().parents[1] / "golden"))
from encoder_reference import BERT_NAMES, PARTS, Encoder, act  # noqa: E402, F401


class MiniLm(Encoder):
    def __init__(self, folder: Path, layers: int) -> None:
        config = json.loads((folder / "config.json").read_text())
        if config["model_type"] != "bert":
            raise SystemExit(f"{folder}: expected a BERT encoder, found {config['model_type']}")
        super().__init__(config, load_file(folder / "model.safetensors"))
        self.layers = min(layers, self.layers)

    def first(self, ids: list[int]) -> np.ndarray:
        """What goes into the first layer."""
        return self.norm(self.embedded(np.array(ids), None), "embeddings.LayerNorm")

    def after(self, ids: list[int]) -> np.ndarray:
        """What comes out of the last layer: [tokens, hidden]."""
        h = self.first(ids)
        for layer in range(self.layers):
            h = self.block(h, layer)
        return h

    def weight(self, layer: int, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Matrix [outputs, inputs] and bias (of a norm: gain and bias)."""
        name = name_of(layer, part)
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


def name_of(layer: int, part: str) -> str:
    return BERT_NAMES[PARTS.index(part)].format(layer)


def embedding(hidden: np.ndarray) -> np.ndarray:
    """The mean of the tokens, of length 1."""
    mean = hidden.mean(axis=0)
    return mean / np.linalg.norm(mean)
