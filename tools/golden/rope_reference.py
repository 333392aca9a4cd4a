"""Rotary position embeddings in NumPy, float64: which layers have them, their frequencies, and the turn itself."""

import math

import numpy as np

INTERLEAVED = {"deepseek_v2", "deepseek_v3"}


class Rope:
    def __init__(self, config: dict) -> None:
        self.config = c = config
        self.kind = c["model_type"]
        dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        if self.kind.startswith("deepseek"):
            dim = c["qk_rope_head_dim"]
        self.dim = int(dim * c.get("partial_rotary_factor", c.get("rotary_pct", 1.0)))
        self.interleaved = self.kind in INTERLEAVED and c.get("rope_interleave", True)
        self.score_factor = 1.0
        self.scaling = c.get("rope_scaling") or {}
        self.type = self.scaling.get("rope_type", self.scaling.get("type", "default"))
        if self.kind.startswith("deepseek") and self.scaling.get("mscale_all_dim"):
            self.score_factor = mscale(self.scaling["factor"], self.scaling["mscale_all_dim"]) ** 2

    def turns(self, layer: int) -> bool:
        """Whether the layer's queries and keys are turned at all."""
        if self.kind == "smollm3":
            listed = self.config.get("no_rope_layers")
            return bool(listed[layer] if listed else (layer + 1) % self.config["no_rope_layer_interval"])
        return self.kind != "gpt2"

    def turned(self, x: np.ndarray, layer: int) -> np.ndarray:
        """x: [positions, heads, head_dim], position p in row p."""
        frequencies, factor = self.frequencies(layer, len(x))
        angles = np.arange(len(x))[:, None, None] * frequencies
        cos, sin = np.cos(angles) * factor, np.sin(angles) * factor
        turning, rest = x[..., : self.dim], x[..., self.dim :]
        if self.interleaved:
            a, b = turning[..., 0::2], turning[..., 1::2]
        else:
            a, b = np.split(turning, 2, axis=2)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=2)

    def frequencies(self, layer: int, length: int) -> tuple[np.ndarray, float]:
        """One a pair of coordinates, and the factor of both cosine and sine."""
        c, dim = self.config, self.dim
        exponents = np.arange(0, dim, 2) / dim
        if self.kind == "gemma3_text" and self.local(layer):
            return c["rope_local_base_freq"] ** -exponents, 1.0
        theta = c.get("rope_theta", c.get("rotary_emb_base"))
        plain = float(theta) ** -exponents
        if self.type == "linear":
            return plain / self.scaling["factor"], 1.0
        if self.type == "llama3":
            return llama3(plain, self.scaling), 1.0
        if self.type == "yarn":
            return yarn(plain, dim, theta, self.scaling)
        if self.type == "longrope":
            return longrope(plain, length, self.scaling, c)
        return plain, 1.0

    def local(self, layer: int) -> bool:
        if "layer_types" in self.config:
            return self.config["layer_types"][layer] == "sliding_attention"
        return (layer + 1) % self.config["sliding_window_pattern"] != 0


def llama3(plain: np.ndarray, scaling: dict) -> np.ndarray:
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * plain / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - smooth) * plain / scaling["factor"] + smooth * plain


def yarn(plain: np.ndarray, dim: int, theta: float, scaling: dict) -> tuple[np.ndarray, float]:
    length, factor = scaling["original_max_position_embeddings"], scaling["factor"]

    def index(turns: float) -> float:
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(index(scaling.get("beta_fast", 32))), 0)
    high = min(math.ceil(index(scaling.get("beta_slow", 1))), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / ((high - low) or 0.001), 0, 1)
    attention = scaling.get("attention_factor")
    if attention is None:
        attention = mscale(factor, scaling.get("mscale", 1.0)) / (
            mscale(factor, scaling["mscale_all_dim"]) if "mscale_all_dim" in scaling else 1.0)
    return plain / factor * ramp + plain * (1 - ramp), attention


def mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0


def longrope(plain: np.ndarray, length: int, scaling: dict, config: dict) -> tuple[np.ndarray, float]:
    original = config["original_max_position_embeddings"]
    factors = scaling["long_factor" if length > original else "short_factor"]
    growth = config["max_position_embeddings"] / original
    return plain / np.array(factors), math.sqrt(1 + math.log(growth) / math.log(original)) if growth > 1 else 1.0
