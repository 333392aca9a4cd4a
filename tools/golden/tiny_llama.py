"""Golden logits of tiny Llama models whose weights a formula gives, so that no weights are shipped.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/golden/tiny_llama.py tests/golden/tiny_llama.json

Transformers' LlamaForCausalLM, in float64 throughout (float64.py). `f32_error` is the largest difference of a logit of
the stock f32 model with the same weights.

Every tensor of the checkpoint is filled in row-major order from its own stream:

    state = FNV-1a-64 of the tensor's name, as UTF-8
    for each element:  SplitMix64: state += 9e3779b97f4a7c15; z = state
                       z = (z ^ z >> 30) * bf58476d1ce4e5b9;  z = (z ^ z >> 27) * 94d049bb133111eb;  z ^= z >> 31
                       u = (z >> 11) * 2^-53                                            all modulo 2^64, u in [0, 1)
    a name that ends in "norm.weight":   1 + 0.5 * u
    a name that ends in ".bias":         (u - 0.5) * 0.2
    "model.embed_tokens.weight":         (u - 0.5) * 2
    every other weight:                  (u - 0.5) * (4 / sqrt(columns))

The value is computed in f64 and then rounded to f32; both sides start from the rounded one.
"""

import json
import math
import sys
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

import float64
import golden_json

MASK = 2**64 - 1
PROMPT = [1, 17, 4, 30, 9, 9, 22, 0, 31, 13, 5, 26]
BASE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
    "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "rope_scaling": None, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
VARIANTS = {
    "gqa-untied": {},
    "gqa-tied": {"tie_word_embeddings": True},
    "mha-untied": {"num_key_value_heads": 4},
    "mqa-tied": {"num_key_value_heads": 1, "tie_word_embeddings": True, "rope_theta": 100000.0},
    "attention-bias": {"attention_bias": True},
    "mlp-bias": {"mlp_bias": True},
    "both-biases-tied": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "rope-llama3": {"rope_scaling": LLAMA3, "head_dim": 8, "rope_theta": 500.0,
                    "max_position_embeddings": 512},
    "rope-linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "wide-heads": {"head_dim": 6, "num_attention_heads": 6, "num_key_value_heads": 3, "hidden_size": 18},
    "narrow-heads": {"head_dim": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6},
    "odd-sizes": {"vocab_size": 37, "hidden_size": 18, "intermediate_size": 29, "num_hidden_layers": 3,
                  "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 6},
}


def main(out: Path) -> None:
    cases = [measure(name, BASE | changes) for name, changes in VARIANTS.items()]
    golden_json.write(out, {
        "about": "logits of tiny Llama models; made by tools/golden/tiny_llama.py",
        "weights": __doc__[__doc__.index("Every tensor"):].strip().split("\n"),
        "first_u_of_lm_head_weight": uniform("lm_head.weight", 4),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "computed_in": "float64",
        "cases": cases,
    })
    print(f"{len(cases)} models")


@torch.no_grad()
def measure(name: str, config: dict) -> dict:
    ids = torch.tensor([PROMPT])
    single = fill(build(config, torch.float32))(ids, use_cache=False).logits[0]
    with float64.everywhere():
        model = fill(build(config, torch.float64))
        logits = model(ids, use_cache=False).logits[0]
    tensors = {key: list(tensor.shape) for key, tensor in checkpoint(model).items()}
    return {"name": name, "config": config, "tensors": tensors, "ids": PROMPT,
            "f32_error": float(f"{float((single - logits).abs().max()):.1e}"),
            "logits": [[float(f"{value:.13g}") for value in row] for row in logits.tolist()]}


def build(config: dict, dtype: torch.dtype) -> LlamaForCausalLM:
    model = LlamaForCausalLM._from_config(LlamaConfig.from_dict(json.loads(json.dumps(config))),
                                          attn_implementation="eager", dtype=dtype)
    scaling = (config["rope_scaling"] or {}).get("rope_type", "default")
    if (model.model.rotary_emb.rope_type, model.config.rope_parameters["rope_theta"]) != (scaling, config["rope_theta"]):
        sys.exit(f"transformers did not take {config['rope_scaling']} and rope_theta {config['rope_theta']}")
    rotary = model.model.rotary_emb.inv_freq.dtype
    if rotary != dtype:
        sys.exit(f"the rotary frequencies are {rotary}, expected {dtype}: float64.py no longer fits transformers")
    return model.eval()


def checkpoint(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """What `save_pretrained` writes: a tied head is not stored."""
    tied = model.config.tie_word_embeddings
    return {name: tensor for name, tensor in model.state_dict().items() if not (tied and name == "lm_head.weight")}


@torch.no_grad()
def fill(model: LlamaForCausalLM) -> LlamaForCausalLM:
    for name, tensor in checkpoint(model).items():
        tensor.copy_(torch.tensor(values(name, list(tensor.shape)), dtype=torch.float64).float().view(tensor.shape))
    return model


def values(name: str, shape: list[int]) -> list[float]:
    stream = uniform(name, math.prod(shape))
    if name.endswith("norm.weight"):
        return [1 + 0.5 * u for u in stream]
    if name.endswith(".bias"):
        return [(u - 0.5) * 0.2 for u in stream]
    if name == "model.embed_tokens.weight":
        return [(u - 0.5) * 2 for u in stream]
    return [(u - 0.5) * (4 / math.sqrt(shape[-1])) for u in stream]


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


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tiny_llama.py OUT.json")
    main(Path(sys.argv[1]))
