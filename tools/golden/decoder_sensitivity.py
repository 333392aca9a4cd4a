"""Shows that the golden decoders would notice a wrong flag, and which fields of a config transformers ignores.

    VENV/bin/python tools/golden/decoder_sensitivity.py

Each row changes fields of one variant's config, keeps the weights, and prints the largest difference of a logit. A
field that should matter and changes nothing, or the other way round, is an error.
"""

import sys

import numpy as np
import torch
import transformers

import tiny_variants
import tiny_weights
from tiny_decoders import checkpoint_shapes, logits
from tiny_variants import ABSENT, DEEPSEEK_YARN, FAST_YARN, LLAMA3, LONG, SHORT, YARN

MATTERS = 5e-4
ZEROED = "zero weights"


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    wrong = 0
    for table, matters in ((USED, True), (IGNORED, False)):
        print("fields that matter" if matters else "fields that transformers ignores")
        for family, variant, changes in table:
            difference = effect(family, variant, changes)
            fine = difference > MATTERS if matters else difference == 0
            wrong += not fine
            print(f"  {family:12} {variant:24} {difference:8.1e} {'' if fine else 'WRONG'} {described(changes)}")
    sys.exit(f"{wrong} rows are wrong" if wrong else 0)


def effect(family: str, variant: str, changes: dict) -> float:
    plain = tiny_variants.config(family, variant)
    changed = {key: value for key, value in (plain | changes).items() if value is not ABSENT}
    zeroed = changed.pop(ZEROED, None)
    weights = {name: tiny_weights.tensor(name, shape) for name, shape in checkpoint_shapes(plain).items()}
    weights = {name: old * 0 if zeroed and name.endswith(zeroed) else old for name, old in weights.items()}
    return float(np.abs(logits(changed, weights, unchecked)[0] - exact(family, variant)).max())


def exact(family: str, variant: str) -> np.ndarray:
    if (family, variant) not in EXACT:
        config = tiny_variants.config(family, variant)
        weights = {name: tiny_weights.tensor(name, shape) for name, shape in checkpoint_shapes(config).items()}
        EXACT[family, variant] = logits(config, weights, unchecked)[0]
    return EXACT[family, variant]


def unchecked(config: dict, model: torch.nn.Module) -> None:
    """The fields of IGNORED are not taken: that is the point."""


def described(changes: dict) -> str:
    return ", ".join(f"{key} {'absent' if value is ABSENT else value}" for key, value in changes.items())


EXACT: dict[tuple[str, str], np.ndarray] = {}

USED = [
    ("llama", "gqa-untied", {"rope_theta": 5000.0}),
    ("llama", "gqa-untied", {"rms_norm_eps": 1e-2}),
    ("llama", "rope-llama3", {"rope_scaling": None}),
    ("llama", "rope-llama3", {"rope_scaling": LLAMA3 | {"high_freq_factor": 8.0}}),
    ("llama", "rope-llama3", {"rope_scaling": LLAMA3 | {"low_freq_factor": 2.0}}),
    ("llama", "rope-linear", {"rope_scaling": None}),
    ("mistral", "window", {"sliding_window": None}),
    ("mistral", "window", {"sliding_window": ABSENT}),
    ("mistral", "window", {"sliding_window": 4}),
    ("mistral", "window", {"sliding_window": 6}),
    ("qwen2", "late-layers-windowed", {"use_sliding_window": False}),
    ("qwen2", "late-layers-windowed", {"max_window_layers": 0}),
    ("qwen2", "late-layers-windowed", {"max_window_layers": 2}),
    ("qwen2", "late-layers-windowed", {"sliding_window": 5}),
    ("qwen2", "yarn", {"rope_scaling": None}),
    ("qwen2", "yarn", {"rope_scaling": YARN | {"factor": 5.0}}),
    ("qwen2", "yarn", {"rope_scaling": YARN | {"original_max_position_embeddings": 32}}),
    ("qwen2", "yarn", {"rope_scaling": YARN | {"attention_factor": 1.0}}),
    ("qwen2", "yarn", {"rope_scaling": YARN | {"beta_slow": 2.0}}),
    ("qwen3", "yarn-attention-factor", {"rope_scaling": FAST_YARN | {"attention_factor": None}}),
    ("qwen3", "yarn-attention-factor", {"rope_scaling": FAST_YARN | {"beta_fast": None}}),
    ("qwen3", "late-layers-windowed", {"use_sliding_window": False}),
    ("qwen3", "late-layers-windowed", {"max_window_layers": 0}),
    ("gemma", "mqa", {"hidden_act": "silu"}),
    ("gemma2", "both-caps", {"attn_logit_softcapping": None}),
    ("gemma2", "both-caps", {"final_logit_softcapping": None}),
    ("gemma2", "no-caps", {"attn_logit_softcapping": ABSENT}),
    ("gemma2", "no-caps", {"final_logit_softcapping": ABSENT}),
    ("gemma2", "both-caps", {"query_pre_attn_scalar": 8}),
    ("gemma2", "both-caps", {"sliding_window": 4}),
    ("gemma2", "both-caps", {"sliding_window": ABSENT}),
    ("gemma2", "both-caps", {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    ("gemma2", "both-caps", {"hidden_activation": "gelu"}),
    ("gemma3_text", "pattern-3", {"sliding_window_pattern": 2}),
    ("gemma3_text", "pattern-3", {"sliding_window_pattern": ABSENT}),
    ("gemma3_text", "pattern-3", {"sliding_window": 6}),
    ("gemma3_text", "pattern-3", {"rope_theta": ABSENT}),
    ("gemma3_text", "pattern-3", {"rope_local_base_freq": ABSENT}),
    ("gemma3_text", "pattern-3", {"query_pre_attn_scalar": 8}),
    ("gemma3_text", "linear-global-rope", {"rope_scaling": None}),
    ("gemma3_text", "layer-types", {"layer_types": ["sliding_attention"] * 3}),
    ("phi3", "gqa-window", {"sliding_window": None}),
    ("phi3", "gqa-window", {"sliding_window": 4}),
    ("phi3", "partial-rotary-tied", {"partial_rotary_factor": ABSENT}),
    ("phi3", "partial-rotary-tied", {"partial_rotary_factor": 0.5}),
    ("phi3", "longrope-short", {"rope_scaling": None}),
    ("phi3", "longrope-short", {"original_max_position_embeddings": 14, "max_position_embeddings": 112}),
    ("phi3", "longrope-short", {"original_max_position_embeddings": 13, "max_position_embeddings": 104}),
    ("phi3", "longrope-short", {"max_position_embeddings": 128}),
    ("phi3", "longrope-long", {"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": SHORT}}),
    ("olmo2", "mha", {"rope_theta": 10000.0}),
    ("smollm3", "listed-tied", {"no_rope_layers": [1, 1, 1]}),
    ("smollm3", "listed-tied", {"rope_theta": ABSENT}),
    ("smollm3", "interval-untied", {"no_rope_layer_interval": ABSENT}),
    ("smollm3", "windowed-no-rope", {"use_sliding_window": False}),
    ("smollm3", "windowed-no-rope", {"no_rope_layers": [1, 1, 0]}),
    ("mixtral", "top-2-of-4", {"num_experts_per_tok": 1}),
    ("mixtral", "window-top-3-of-5", {"sliding_window": ABSENT}),
    ("qwen2_moe", "all-sparse", {"norm_topk_prob": True}),
    ("qwen2_moe", "all-sparse", {"num_experts_per_tok": 3}),
    ("qwen2_moe", "step-2-normed", {"norm_topk_prob": ABSENT}),
    ("qwen2_moe", "even-layers-windowed", {"use_sliding_window": False}),
    ("qwen2_moe", "even-layers-windowed", {"max_window_layers": 3}),
    ("qwen2_moe", "even-layers-windowed", {"max_window_layers": 0}),
    ("qwen3_moe", "normed", {"norm_topk_prob": ABSENT}),
    ("qwen3_moe", "listed-dense", {"use_sliding_window": False}),
    ("gpt2", "tied", {"activation_function": "gelu"}),
    ("gpt2", "tied", {"activation_function": "relu"}),
    ("gpt2", "tied", {"layer_norm_epsilon": 1e-2}),
    ("gpt2", "scaled-by-layer", {"scale_attn_by_inverse_layer_idx": False}),
    ("gpt2", "unscaled-untied", {"scale_attn_weights": True}),
    ("gpt_neox", "parallel-quarter", {"use_parallel_residual": False}),
    ("gpt_neox", "sequential-quarter", {"use_parallel_residual": ABSENT}),
    ("gpt_neox", "parallel-quarter", {"rotary_pct": 0.5}),
    ("gpt_neox", "sequential-full", {"rotary_pct": ABSENT}),
    ("gpt_neox", "parallel-full-tied", {"rotary_emb_base": ABSENT}),
    ("gpt_neox", "parallel-quarter", {"hidden_act": "gelu_new"}),
    ("deepseek_v2", "grouped-lora", {"topk_method": "greedy"}),
    ("deepseek_v2", "grouped-lora", {"topk_group": 1}),
    ("deepseek_v2", "grouped-lora", {"routed_scaling_factor": 1.0}),
    ("deepseek_v2", "yarn", {"rope_scaling": None}),
    ("deepseek_v2", "yarn", {"rope_scaling": DEEPSEEK_YARN | {"mscale": 0.707, "mscale_all_dim": 0.707,
                                                              "beta_fast": 32}}),
    ("deepseek_v2", "yarn", {"rope_scaling": DEEPSEEK_YARN | {"mscale": 0.707}}),
    ("deepseek_v2", "yarn", {"rope_scaling": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}}),
    ("deepseek_v2", "yarn-two-mscales", {"rope_scaling": DEEPSEEK_YARN | {"mscale": 0.5, "mscale_all_dim": 0.5}}),
    ("deepseek_v3", "grouped", {"rope_interleave": False}),
    ("deepseek_v3", "grouped", {"norm_topk_prob": False}),
    ("deepseek_v3", "grouped", {"n_group": 1, "topk_group": 1}),
    ("deepseek_v3", "grouped", {"topk_group": 3}),
    ("deepseek_v3", "grouped", {"routed_scaling_factor": 1.0}),
    ("deepseek_v3", "grouped", {ZEROED: "e_score_correction_bias"}),
    ("deepseek_v3", "yarn", {"rope_scaling": None}),
]

IGNORED = [
    ("mistral", "no-window", {"attention_bias": True}),
    ("qwen2", "untied", {"sliding_window": 3}),
    ("gemma", "legacy-gelu", {"hidden_act": "gelu_pytorch_tanh"}),
    ("gemma", "mqa", {"hidden_activation": "silu"}),
    ("gemma2", "both-caps", {"hidden_act": "silu"}),
    ("gemma3_text", "pattern-3", {"attn_logit_softcapping": 2.0}),
    ("gemma3_text", "layer-types", {"sliding_window_pattern": 1}),
    ("phi3", "longrope-short", {"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG,
                                                 "original_max_position_embeddings": 8}}),
    ("qwen2", "yarn", {"rope_scaling": YARN | {"mscale": 2.0}}),
    ("gpt_neox", "parallel-quarter", {"rope_theta": 500.0}),
    ("deepseek_v2", "greedy", {"norm_topk_prob": True}),
    ("deepseek_v2", "greedy", {"moe_layer_freq": 2}),
    ("deepseek_v2", "grouped-lora", {"scoring_func": "sigmoid"}),
    ("deepseek_v3", "grouped", {"scoring_func": "softmax", "topk_method": "greedy"}),
]


if __name__ == "__main__":
    main()
