"""Tiny decoders that vLLM's CPU attention takes: heads 32 wide (its kernels know 32, 64, 80, 96, 112, 128 and more).

    VENV/bin/python vllm_models.py MODEL_TYPE FOLDER

The configs are those of tools/golden/tiny_variants.py, made wider; the weights follow tools/golden/tiny_weights.py.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "golden"))

WIDER = {"vocab_size": 256, "hidden_size": 128, "intermediate_size": 160, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 128}
# family: (variant of tiny_variants.py, changes)
MODELS = {
    "llama": ("gqa-untied", {"head_dim": 32}),
    "mistral": ("window", {}),
    "qwen2": ("untied", {}),
    "qwen3": ("tied", {"head_dim": 32}),
    "gemma": ("mqa", {"head_dim": 32}),
    "gemma2": ("both-caps", {"head_dim": 32, "query_pre_attn_scalar": 32}),
    "gemma3_text": ("pattern-3", {"head_dim": 32, "query_pre_attn_scalar": 32}),
    "phi3": ("plain", {}),
    "olmo2": ("mha", {"num_key_value_heads": 4}),
    "smollm3": ("listed-tied", {}),
    "mixtral": ("top-2-of-4", {}),
    "qwen2_moe": ("all-sparse", {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 96}),
    "qwen3_moe": ("normed", {"head_dim": 32, "moe_intermediate_size": 64}),
    "gpt2": ("tied", {"n_embd": 128, "n_head": 4, "n_positions": 128, "n_ctx": 128}),
    "gpt_neox": ("parallel-quarter", {}),
    "deepseek_v2": ("greedy", {"q_lora_rank": None, "kv_lora_rank": 32, "qk_nope_head_dim": 32,
                               "qk_rope_head_dim": 32, "v_head_dim": 32, "moe_intermediate_size": 64}),
}


def config(family: str) -> dict:
    import tiny_variants

    variant, changes = MODELS[family]
    base = tiny_variants.config(family, variant)
    return base | {field: value for field, value in WIDER.items() if field in base} | changes


def main(family: str, folder: Path) -> None:
    import tiny_decoders
    import tiny_weights

    fields = config(family)
    weights = {name: tiny_weights.tensor(name, shape) for name, shape in tiny_decoders.checkpoint_shapes(fields).items()}
    folder.mkdir(parents=True)
    tiny_decoders.write_checkpoint(folder, fields, weights)
    print(json.dumps({"family": family, "tensors": len(weights)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
