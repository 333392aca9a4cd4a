"""The encoders' forward pass in NumPy, float64: a second computation that transformers' outputs are compared with.

Written from the families' equations, one encoder with the families' differences as tables; it reads config.json and the
checkpoint's tensors under their names in the file. `outputs(...)` is {"hidden": [positions, hidden], "pooled":
[hidden]} for the bare encoder (no "pooled" without a pooler), else {"logits": [labels] or [positions, labels or
vocabulary]}.
"""

import math

import numpy as np

ROBERTAS = ("roberta", "xlm-roberta")
DISTILBERT_EPS = 1e-12
MPNET_FIRST_POSITION = 2
MPNET_BUCKETS, MPNET_DISTANCE = 32, 128


def outputs(config: dict, class_name: str, weights: dict[str, np.ndarray], ids: list[int],
            token_types: list[int] | None) -> dict[str, np.ndarray]:
    return Encoder(config, weights).outputs(class_name, np.array(ids), token_types)


class Encoder:
    def __init__(self, config: dict, weights: dict[str, np.ndarray]) -> None:
        self.config, self.kind = config, config["model_type"]
        self.weights = {plain_name(name): tensor.astype(np.float64) for name, tensor in weights.items()}
        self.modern = self.kind == "modernbert"
        self.layers = config["n_layers" if self.kind == "distilbert" else "num_hidden_layers"]
        self.heads = config["n_heads" if self.kind == "distilbert" else "num_attention_heads"]
        self.activation = config.get("hidden_act") or config.get("activation") or config["hidden_activation"]
        eps = config.get("norm_eps" if self.modern else "layer_norm_eps")
        self.eps = DISTILBERT_EPS if self.kind == "distilbert" else eps

    def outputs(self, class_name: str, ids: np.ndarray, token_types: list[int] | None) -> dict[str, np.ndarray]:
        h = self.hidden(ids, token_types)
        if class_name.endswith("MaskedLM"):
            return {"logits": self.words(h)}
        if class_name.endswith("TokenClassification"):
            return {"logits": self.linear(self.modern_head(h) if self.modern else h, "classifier")}
        if class_name.endswith("SequenceClassification"):
            return {"logits": self.sequence(h)}
        pooler = "pooler.dense.weight" in self.weights
        return {"hidden": h, "pooled": self.pooled(h)} if pooler else {"hidden": h}

    # Encoder.

    def hidden(self, ids: np.ndarray, token_types: list[int] | None) -> np.ndarray:
        h = self.norm(self.embedded(ids, token_types), "embeddings.norm" if self.modern else "embeddings.LayerNorm")
        for layer in range(self.layers):
            h = self.modern_block(h, layer) if self.modern else self.block(h, layer)
        return self.norm(h, "final_norm") if self.modern else h

    def embedded(self, ids: np.ndarray, token_types: list[int] | None) -> np.ndarray:
        h = self.words_table()[ids]
        if not self.modern:
            h = h + self.weights["embeddings.position_embeddings.weight"][self.positions(ids)]
        types = self.weights.get("embeddings.token_type_embeddings.weight")
        return h if types is None else h + types[token_types or [0] * len(ids)]

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """RoBERTa and MPNet: the first is after the pad's; a pad has the pad's own and is not counted."""
        if self.kind not in (*ROBERTAS, "mpnet"):
            return np.arange(len(ids))
        pad = MPNET_FIRST_POSITION - 1 if self.kind == "mpnet" else self.config["pad_token_id"]
        return np.array([pad + (place != pad and np.sum(ids[: index + 1] != pad)) for index, place in enumerate(ids)])

    def block(self, h: np.ndarray, layer: int) -> np.ndarray:
        """Each norm comes after its residual sum."""
        names = {part: name.format(layer) for part, name in zip(PARTS, NAMES[self.kind])}
        q, k, v = (self.linear(h, names[part]) for part in "qkv")
        bias = self.distance_bias(len(h)) if self.kind == "mpnet" else 0.0
        mixed = self.mixed(q, k, v, bias)
        h = self.norm(h + self.linear(mixed, names["o"]), names["attention norm"])
        wide = act(self.linear(h, names["up"]), self.activation)
        return self.norm(h + self.linear(wide, names["down"]), names["last norm"])

    def modern_block(self, h: np.ndarray, layer: int) -> np.ndarray:
        """Each norm comes before its part; the first layer has none before attention."""
        at = f"layers.{layer}"
        x = self.norm(h, f"{at}.attn_norm") if layer else h
        q, k, v = np.split(self.linear(x, f"{at}.attn.Wqkv"), 3, axis=1)
        local, theta = self.is_local(layer), self.theta(layer)
        far = np.abs(np.arange(len(h))[:, None] - np.arange(len(h))) > self.config["local_attention"] // 2
        mixed = self.mixed(turned(q, self.heads, theta), turned(k, self.heads, theta), v,
                           np.where(far & local, -np.inf, 0.0))
        h = h + self.linear(mixed, f"{at}.attn.Wo")
        acted, gate = np.split(self.linear(self.norm(h, f"{at}.mlp_norm"), f"{at}.mlp.Wi"), 2, axis=1)
        return h + self.linear(act(acted, self.activation) * gate, f"{at}.mlp.Wo")

    def is_local(self, layer: int) -> bool:
        if "layer_types" in self.config:
            return self.config["layer_types"][layer] == "sliding_attention"
        return layer % self.config.get("global_attn_every_n_layers", 3) != 0

    def theta(self, layer: int) -> float:
        local = self.is_local(layer)
        if "rope_parameters" in self.config:
            return self.config["rope_parameters"]["sliding_attention" if local else "full_attention"]["rope_theta"]
        return self.config["local_rope_theta" if local else "global_rope_theta"]

    def mixed(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
        """q, k, v: [positions, heads x dim], heads outermost. bias: [heads or 1, positions, positions]."""
        q, k, v = (x.reshape(len(x), self.heads, -1) for x in (q, k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1]) + bias
        return np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(len(q), -1)

    def distance_bias(self, length: int) -> np.ndarray:
        """[heads, positions, positions]: a learnt number for each head and bucket of key minus query."""
        table = self.weights["encoder.relative_attention_bias.weight"]
        places = np.arange(length)
        buckets = np.vectorize(bucket)(places[None, :] - places[:, None])
        return table[buckets].transpose(2, 0, 1)

    # Heads.

    def pooled(self, h: np.ndarray) -> np.ndarray:
        return np.tanh(self.linear(h[0], "pooler.dense"))

    def sequence(self, h: np.ndarray) -> np.ndarray:
        if self.kind == "bert":
            return self.linear(self.pooled(h), "classifier")
        if self.kind == "distilbert":
            return self.linear(act(self.linear(h[0], "pre_classifier"), "relu"), "classifier")
        if self.modern:
            one = h[0] if self.config["classifier_pooling"] == "cls" else h.mean(axis=0)
            return self.linear(self.modern_head(one), "classifier")
        return self.linear(np.tanh(self.linear(h[0], "classifier.dense")), "classifier.out_proj")

    def words(self, h: np.ndarray) -> np.ndarray:
        """The head's matrix is the word embedding."""
        dense, norm, bias = WORD_HEADS[self.kind]
        name = {"modernbert": self.config.get("classifier_activation"), "bert": self.activation,
                "distilbert": self.activation}.get(self.kind, "gelu")
        h = self.norm(act(self.linear(h, dense), name), norm)
        return h @ self.words_table().T + self.weights.get(bias, 0.0)

    def modern_head(self, h: np.ndarray) -> np.ndarray:
        return self.norm(act(self.linear(h, "head.dense"), self.config["classifier_activation"]), "head.norm")

    # Layers.

    def words_table(self) -> np.ndarray:
        return self.weights["embeddings.tok_embeddings.weight" if self.modern else "embeddings.word_embeddings.weight"]

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.eps)
        return scaled * self.weights[f"{name}.weight"] + self.weights.get(f"{name}.bias", 0.0)


def plain_name(name: str) -> str:
    """Without the encoder's prefix, and a norm's gain and bias under today's names."""
    for prefix in ("bert.", "roberta.", "distilbert.", "mpnet.", "model."):
        name = name.removeprefix(prefix)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def bucket(offset: int) -> int:
    """Keys before and after the query have half of the buckets each; of a half, the first half holds one distance each,
    the second half grows by a constant factor up to MPNET_DISTANCE, and the last takes everything beyond."""
    half = MPNET_BUCKETS // 2
    exact, distance = half // 2, abs(offset)
    base = half if offset > 0 else 0
    if distance < exact:
        return base + distance
    steps = math.log2(distance / exact) / math.log2(MPNET_DISTANCE / exact) * (half - exact)
    return base + min(exact + int(steps), half - 1)


def turned(x: np.ndarray, heads: int, theta: float) -> np.ndarray:
    """x: [positions, heads x dim]; coordinate i of a head is turned with coordinate i + dim/2."""
    positions, width = x.shape
    dim = width // heads
    angles = np.arange(positions)[:, None, None] * theta ** (-np.arange(0, dim, 2) / dim)
    a, b = np.split(x.reshape(positions, heads, dim), 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(positions, width)


def act(x: np.ndarray, name: str) -> np.ndarray:
    if name == "relu":
        return np.maximum(x, 0.0)
    if name == "gelu_new":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if name == "gelu":
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    raise ValueError(f"activation {name}")


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


PARTS = ("q", "k", "v", "o", "attention norm", "up", "down", "last norm")
BERT_NAMES = tuple(f"encoder.layer.{{}}.{name}" for name in (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"))
NAMES = {
    "bert": BERT_NAMES, "roberta": BERT_NAMES, "xlm-roberta": BERT_NAMES,
    "mpnet": tuple(f"encoder.layer.{{}}.{name}" for name in (
        "attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o", "attention.LayerNorm",
        "intermediate.dense", "output.dense", "output.LayerNorm")),
    "distilbert": tuple(f"transformer.layer.{{}}.{name}" for name in (
        "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm", "ffn.lin1",
        "ffn.lin2", "output_layer_norm")),
}
LM_HEAD = ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
WORD_HEADS = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
    "roberta": LM_HEAD, "xlm-roberta": LM_HEAD, "mpnet": LM_HEAD,
    "modernbert": ("head.dense", "head.norm", "decoder.bias"),
}
