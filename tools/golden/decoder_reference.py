"""The decoders' forward pass in NumPy, float64: a second computation that transformers' logits are compared with.

Written from the families' equations, one decoder with the families' differences as flags; it reads config.json and the
checkpoint's tensors under their names in the file. `logits(config, weights, ids)` is [positions, vocab].
"""

import math

import numpy as np

from rope_reference import Rope

FAMILY_DEFAULTS = {
    "gemma": {"tie_word_embeddings": True},
    "gemma2": {"tie_word_embeddings": True, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3_text": {"tie_word_embeddings": True},
    "smollm3": {"tie_word_embeddings": True},
    "gpt2": {"tie_word_embeddings": True},
}
GPT2_NAMES = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
              "activation_function": "hidden_act", "layer_norm_epsilon": "layer_norm_eps"}
LATENT_NORM_EPS = 1e-6


def logits(config: dict, weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    return Decoder(config, weights).logits(np.array(ids))


class Decoder:
    def __init__(self, config: dict, weights: dict[str, np.ndarray]) -> None:
        self.kind = config["model_type"]
        named = {GPT2_NAMES.get(key, key): value for key, value in config.items()}
        self.config = c = FAMILY_DEFAULTS.get(self.kind, {}) | named
        unprefixed = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
        self.weights = {name: tensor.astype(np.float64) for name, tensor in unprefixed.items()}
        self.gemma = self.kind.startswith("gemma")
        self.layer_norm = self.kind in ("gpt2", "gpt_neox")
        self.heads = c["num_attention_heads"]
        self.kv_heads = c.get("num_key_value_heads") or self.heads
        self.head_dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.eps = c.get("rms_norm_eps", c.get("layer_norm_eps"))
        self.rope = Rope(c)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        embedding = self.weights[EMBEDDINGS.get(self.kind, "model.embed_tokens.weight")]
        h = embedding[ids]
        if self.gemma:
            h = h * math.sqrt(self.config["hidden_size"])
        if self.kind == "gpt2":
            h = h + self.weights["wpe.weight"][: len(ids)]
        for layer in range(self.config["num_hidden_layers"]):
            h = self.block(h, layer)
        h = self.norm(h, FINAL_NORMS.get(self.kind, "model.norm"))
        head = embedding if self.config["tie_word_embeddings"] else self.weights[HEADS.get(self.kind, "lm_head.weight")]
        return cap(h @ head.T, self.config.get("final_logit_softcapping"))

    # Blocks.

    def block(self, h: np.ndarray, layer: int) -> np.ndarray:
        if self.kind == "gpt2":
            at = f"h.{layer}"
            h = h + self.attention(self.norm(h, f"{at}.ln_1"), layer, f"{at}.attn")
            return h + self.mlp(self.norm(h, f"{at}.ln_2"), layer, f"{at}.mlp")
        if self.kind == "gpt_neox":
            at = f"gpt_neox.layers.{layer}"
            attended = self.attention(self.norm(h, f"{at}.input_layernorm"), layer, f"{at}.attention")
            seen = h if self.config["use_parallel_residual"] else h + attended
            return h + attended + self.mlp(self.norm(seen, f"{at}.post_attention_layernorm"), layer, f"{at}.mlp")
        at = f"model.layers.{layer}"
        if self.kind == "olmo2":
            h = h + self.norm(self.attention(h, layer, f"{at}.self_attn"), f"{at}.post_attention_layernorm")
            return h + self.norm(self.mlp(h, layer, f"{at}.mlp"), f"{at}.post_feedforward_layernorm")
        attended = self.attention(self.norm(h, f"{at}.input_layernorm"), layer, f"{at}.self_attn")
        if self.kind in ("gemma2", "gemma3_text"):
            h = h + self.norm(attended, f"{at}.post_attention_layernorm")
            answer = self.mlp(self.norm(h, f"{at}.pre_feedforward_layernorm"), layer, f"{at}.mlp")
            return h + self.norm(answer, f"{at}.post_feedforward_layernorm")
        h = h + attended
        name = "block_sparse_moe" if self.kind == "mixtral" else "mlp"
        return h + self.mlp(self.norm(h, f"{at}.post_attention_layernorm"), layer, f"{at}.{name}")

    # Attention.

    def attention(self, x: np.ndarray, layer: int, at: str) -> np.ndarray:
        if self.kind.startswith("deepseek"):
            q, k, v, scale = self.latent_queries_keys_values(x, at)
        else:
            q, k, v = self.queries_keys_values(x, at)
            if self.rope.turns(layer):
                q, k = self.rope.turned(q, layer), self.rope.turned(k, layer)
            scale = self.scale(layer)
        group = q.shape[1] // k.shape[1]
        scores = np.einsum("qhd,khd->hqk", q, np.repeat(k, group, axis=1)) * scale
        if self.kind == "gemma2":
            scores = cap(scores, self.config["attn_logit_softcapping"])
        back = np.arange(len(x))[:, None] - np.arange(len(x))[None, :]
        window = self.window(layer)
        seen = (back >= 0) & (back < (window or len(x)))
        weights = softmax(np.where(seen, scores, -np.inf))
        mixed = np.einsum("hqk,khd->qhd", weights, np.repeat(v, group, axis=1)).reshape(len(x), -1)
        return self.linear(mixed, f"{at}.{OUTPUTS.get(self.kind, 'o_proj')}")

    def queries_keys_values(self, x: np.ndarray, at: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        heads, kv_heads, dim, rows = self.heads, self.kv_heads, self.head_dim, len(x)
        if self.kind == "gpt2":
            q, k, v = np.split(self.linear(x, f"{at}.c_attn"), 3, axis=1)
        elif self.kind == "gpt_neox":
            both = self.linear(x, f"{at}.query_key_value").reshape(rows, heads, 3, dim)
            q, k, v = both[:, :, 0], both[:, :, 1], both[:, :, 2]
        elif self.kind == "phi3":
            ends = [heads * dim, (heads + kv_heads) * dim]
            q, k, v = np.split(self.linear(x, f"{at}.qkv_proj"), ends, axis=1)
        else:
            q, k, v = (self.linear(x, f"{at}.{name}_proj") for name in "qkv")
        if self.kind == "olmo2":
            q, k = self.norm(q, f"{at}.q_norm"), self.norm(k, f"{at}.k_norm")
        q, k, v = q.reshape(rows, heads, dim), k.reshape(rows, kv_heads, dim), v.reshape(rows, kv_heads, dim)
        if self.kind in ("qwen3", "qwen3_moe", "gemma3_text"):
            q, k = self.norm(q, f"{at}.q_norm"), self.norm(k, f"{at}.k_norm")
        return q, k, v

    def latent_queries_keys_values(self, x: np.ndarray, at: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        c, rows = self.config, len(x)
        plain, turning, wide = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
        if c["q_lora_rank"] is None:
            q = self.linear(x, f"{at}.q_proj")
        else:
            squeezed = self.norm(self.linear(x, f"{at}.q_a_proj"), f"{at}.q_a_layernorm", LATENT_NORM_EPS)
            q = self.linear(squeezed, f"{at}.q_b_proj")
        q = q.reshape(rows, self.heads, plain + turning)
        latent = self.linear(x, f"{at}.kv_a_proj_with_mqa")
        squeezed = self.norm(latent[:, : c["kv_lora_rank"]], f"{at}.kv_a_layernorm", LATENT_NORM_EPS)
        kv = self.linear(squeezed, f"{at}.kv_b_proj").reshape(rows, self.heads, plain + wide)
        k_turned = self.rope.turned(latent[:, None, c["kv_lora_rank"]:], 0)
        k = np.concatenate([kv[..., :plain], np.repeat(k_turned, self.heads, axis=1)], axis=2)
        q = np.concatenate([q[..., :plain], self.rope.turned(q[..., plain:], 0)], axis=2)
        return q, k, kv[..., plain:], (plain + turning) ** -0.5 * self.rope.score_factor

    def scale(self, layer: int) -> float:
        if self.kind in ("gemma2", "gemma3_text"):
            return self.config["query_pre_attn_scalar"] ** -0.5
        scale = self.head_dim**-0.5 if self.config.get("scale_attn_weights", True) else 1.0
        return scale / (layer + 1) if self.config.get("scale_attn_by_inverse_layer_idx") else scale

    def window(self, layer: int) -> int | None:
        c = self.config
        window = c.get("sliding_window")
        if "layer_types" in c:
            return window if c["layer_types"][layer] == "sliding_attention" else None
        if self.kind == "gemma2":
            return window if layer % 2 == 0 else None
        if self.kind == "gemma3_text":
            return window if (layer + 1) % c["sliding_window_pattern"] else None
        if not c.get("use_sliding_window", True):
            return None
        if self.kind in ("qwen2", "qwen3"):
            return window if layer >= c["max_window_layers"] else None
        if self.kind == "qwen2_moe":
            return window if layer % 2 == 0 and layer < c["max_window_layers"] else None
        if self.kind == "smollm3":
            return None if self.rope.turns(layer) else window
        return window

    # Feed-forward.

    def mlp(self, x: np.ndarray, layer: int, at: str) -> np.ndarray:
        if f"{at}.gate.weight" in self.weights:
            return self.experts(x, at)
        if self.kind == "gpt2":
            return self.linear(self.act(self.linear(x, f"{at}.c_fc")), f"{at}.c_proj")
        if self.kind == "gpt_neox":
            return self.linear(self.act(self.linear(x, f"{at}.dense_h_to_4h")), f"{at}.dense_4h_to_h")
        if self.kind == "phi3":
            gate, up = np.split(self.linear(x, f"{at}.gate_up_proj"), 2, axis=1)
            return self.linear(self.act(gate) * up, f"{at}.down_proj")
        return self.gated(x, f"{at}.gate_proj", f"{at}.up_proj", f"{at}.down_proj")

    def gated(self, x: np.ndarray, gate: str, up: str, down: str) -> np.ndarray:
        return self.linear(self.act(self.linear(x, gate)) * self.linear(x, up), down)

    def experts(self, x: np.ndarray, at: str) -> np.ndarray:
        names = ("w1", "w3", "w2") if self.kind == "mixtral" else ("gate_proj", "up_proj", "down_proj")
        out = np.zeros_like(x)
        bias = self.weights.get(f"{at}.gate.e_score_correction_bias")
        for row, scores in enumerate(self.linear(x, f"{at}.gate")):
            for expert, weight in zip(*route(self.config, scores, bias)):
                paths = (f"{at}.experts.{expert}.{name}" for name in names)
                out[row] += weight * self.gated(x[row : row + 1], *paths)[0]
        if self.kind == "qwen2_moe":
            shared = self.gated(x, *(f"{at}.shared_expert.{name}" for name in names))
            out = out + sigmoid(self.linear(x, f"{at}.shared_expert_gate")) * shared
        if self.kind.startswith("deepseek"):
            out = out + self.gated(x, *(f"{at}.shared_experts.{name}" for name in names))
        return out

    # Layers.

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        weight = self.weights[f"{name}.weight"]
        y = x @ (weight if self.kind == "gpt2" else weight.T)
        return y + self.weights.get(f"{name}.bias", 0.0)

    def norm(self, x: np.ndarray, name: str, eps: float | None = None) -> np.ndarray:
        gain, eps = self.weights[f"{name}.weight"], self.eps if eps is None else eps
        if self.layer_norm:
            centred = x - x.mean(-1, keepdims=True)
            return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * gain + self.weights[f"{name}.bias"]
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * (1 + gain if self.gemma else gain)

    def act(self, x: np.ndarray) -> np.ndarray:
        name = self.config.get("hidden_activation") or self.config["hidden_act"]
        if name == "silu":
            return x * sigmoid(x)
        if name == "gelu" and not self.gemma:
            return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def route(config: dict, scores: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The chosen experts of one token and their weights, from the router's raw scores."""
    kind, k = config["model_type"], config["num_experts_per_tok"]
    if kind == "deepseek_v3":
        affinity = sigmoid(scores)
        biased = in_best_groups(config, affinity + bias, lambda group: np.sort(group)[-2:].sum(), -np.inf)
        chosen = top(biased, k)
        weights = affinity[chosen]
        if config["norm_topk_prob"]:
            weights = weights / (weights.sum() + 1e-20)
        return chosen, weights * config["routed_scaling_factor"]
    shares = softmax(scores)
    if kind == "deepseek_v2":
        if config["topk_method"] == "group_limited_greedy":
            shares = in_best_groups(config, shares, np.max, 0.0)
        chosen = top(shares, k)
        return chosen, shares[chosen] * config["routed_scaling_factor"]
    chosen = top(shares, k)
    weights = shares[chosen]
    return chosen, weights / weights.sum() if kind == "mixtral" or config["norm_topk_prob"] else weights


def in_best_groups(config: dict, scores: np.ndarray, worth: object, outside: float) -> np.ndarray:
    groups = scores.reshape(config["n_group"], -1)
    best = top(np.array([worth(group) for group in groups]), config["topk_group"])
    kept = np.full_like(groups, outside)
    kept[best] = groups[best]
    return kept.reshape(-1)


def top(scores: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:count]


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cap(x: np.ndarray, limit: float | None) -> np.ndarray:
    return x if limit is None else limit * np.tanh(x / limit)


EMBEDDINGS = {"gpt2": "wte.weight", "gpt_neox": "gpt_neox.embed_in.weight"}
FINAL_NORMS = {"gpt2": "ln_f", "gpt_neox": "gpt_neox.final_layer_norm"}
HEADS = {"gpt_neox": "embed_out.weight"}
OUTPUTS = {"gpt2": "c_proj", "gpt_neox": "dense"}
