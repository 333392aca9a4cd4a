"""The tiny decoders of the golden files: for each model_type a config.json in the style of its published checkpoints
(rope_theta, rope_scaling and the like at top level), and variants as changes to it. ABSENT removes a field, so that
the family's default is used.

Sizes are such that each flag matters at 14 positions: windows are shorter than the prompt, rope bases small enough
that YaRN's ramp and Llama 3's smoothing fall between the few frequencies, soft caps near the size of the logits.
"""

ABSENT = object()

COMMON = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 64, "initializer_range": 0.02,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_dropout": 0.0,
    "bos_token_id": 1, "eos_token_id": 2, "use_cache": True, "torch_dtype": "float32",
}


def base(architecture: str, model_type: str, **fields: object) -> dict:
    return {"architectures": [architecture], "model_type": model_type} | COMMON | fields


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
FAST_YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 4.0, "original_max_position_embeddings": 256,
             "attention_factor": 1.3}
SHORT, LONG = [1.0, 1.25, 1.75], [1.0, 2.5, 6.0]
YARN_FIELDS = {"rope_theta": 100.0, "max_position_embeddings": 256}
DEEPSEEK_YARN = {"type": "yarn", "factor": 8.0, "beta_fast": 4, "beta_slow": 1,
                 "original_max_position_embeddings": 128}

LLAMA = base("LlamaForCausalLM", "llama", head_dim=4, rope_scaling=None, attention_bias=False, mlp_bias=False,
             pretraining_tp=1)
MISTRAL = base("MistralForCausalLM", "mistral", sliding_window=None)
QWEN2 = base("Qwen2ForCausalLM", "qwen2", rms_norm_eps=1e-6, sliding_window=4096, use_sliding_window=False,
             max_window_layers=28)
QWEN3 = base("Qwen3ForCausalLM", "qwen3", head_dim=6, rms_norm_eps=1e-6, rope_scaling=None, attention_bias=False,
             sliding_window=None, use_sliding_window=False, max_window_layers=36)
GEMMA = base("GemmaForCausalLM", "gemma", head_dim=6, hidden_act="gelu_pytorch_tanh", rms_norm_eps=1e-6,
             attention_bias=False, tie_word_embeddings=ABSENT, pad_token_id=0, rope_scaling=None)
GEMMA2 = base("Gemma2ForCausalLM", "gemma2", head_dim=8, hidden_act="gelu_pytorch_tanh",
              hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, attention_bias=False,
              tie_word_embeddings=ABSENT, pad_token_id=0, num_hidden_layers=3, query_pre_attn_scalar=20,
              sliding_window=5, attn_logit_softcapping=4.0, final_logit_softcapping=6.0)
GEMMA3 = base("Gemma3ForCausalLM", "gemma3_text", head_dim=8, hidden_act=ABSENT,
              hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, attention_bias=False,
              tie_word_embeddings=ABSENT, pad_token_id=0, num_hidden_layers=4, query_pre_attn_scalar=20,
              sliding_window=5, sliding_window_pattern=3, attn_logit_softcapping=None, final_logit_softcapping=None,
              rope_theta=10000.0, rope_local_base_freq=100.0, rope_scaling=None)
PHI3 = base("Phi3ForCausalLM", "phi3", num_attention_heads=2, num_key_value_heads=2, pad_token_id=2,
            original_max_position_embeddings=64, rope_scaling=None, sliding_window=None, attention_bias=False,
            embd_pdrop=0.0, resid_pdrop=0.0)
LONGROPE = {"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG},
            "partial_rotary_factor": 0.75, "rope_theta": 100.0, "max_position_embeddings": 256}
OLMO2 = base("Olmo2ForCausalLM", "olmo2", num_key_value_heads=4, rms_norm_eps=1e-6, rope_theta=500000.0,
             rope_scaling=None, attention_bias=False, pad_token_id=0)
SMOLLM3 = base("SmolLM3ForCausalLM", "smollm3", num_hidden_layers=3, rms_norm_eps=1e-6, rope_theta=5000000.0,
               rope_scaling=None, attention_bias=False, mlp_bias=False, no_rope_layer_interval=4,
               no_rope_layers=[1, 0, 1], layer_types=["full_attention"] * 3, use_sliding_window=False,
               sliding_window=None, max_window_layers=28, pad_token_id=0, tie_word_embeddings=ABSENT)
MIXTRAL = base("MixtralForCausalLM", "mixtral", num_local_experts=4, num_experts_per_tok=2, rope_theta=1000000.0,
               sliding_window=None, output_router_logits=False, router_aux_loss_coef=0.02)
QWEN2_MOE = base("Qwen2MoeForCausalLM", "qwen2_moe", rms_norm_eps=1e-6, num_experts=6, num_experts_per_tok=2,
                 moe_intermediate_size=10, shared_expert_intermediate_size=14, decoder_sparse_step=1,
                 norm_topk_prob=False, sliding_window=4096, use_sliding_window=False, max_window_layers=28,
                 output_router_logits=False, router_aux_loss_coef=0.001)
QWEN3_MOE = base("Qwen3MoeForCausalLM", "qwen3_moe", rms_norm_eps=1e-6, head_dim=6, attention_bias=False,
                 num_experts=6, num_experts_per_tok=2, moe_intermediate_size=10, decoder_sparse_step=1,
                 mlp_only_layers=[], norm_topk_prob=True, rope_scaling=None, sliding_window=None,
                 use_sliding_window=False, max_window_layers=28, output_router_logits=False,
                 router_aux_loss_coef=0.001)
GPT2 = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 32, "n_embd": 16, "n_layer": 2,
    "n_head": 4, "n_positions": 20, "n_ctx": 20, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "initializer_range": 0.02, "bos_token_id": 31,
    "eos_token_id": 31,
}
GPT_NEOX = {
    "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": 32, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu",
    "max_position_embeddings": 64, "rotary_pct": 0.25, "rotary_emb_base": 10000, "layer_norm_eps": 1e-5,
    "use_parallel_residual": True, "tie_word_embeddings": False, "initializer_range": 0.02, "bos_token_id": 0,
    "eos_token_id": 0, "use_cache": True, "torch_dtype": "float32",
}
DEEPSEEK_V2 = base("DeepseekV2ForCausalLM", "deepseek_v2", num_attention_heads=2, num_key_value_heads=2,
                   attention_bias=False, q_lora_rank=None, kv_lora_rank=10, qk_nope_head_dim=6, qk_rope_head_dim=8,
                   v_head_dim=5, first_k_dense_replace=1, moe_layer_freq=1, n_routed_experts=6, n_shared_experts=2,
                   num_experts_per_tok=2, moe_intermediate_size=10, n_group=1, topk_group=1, topk_method="greedy",
                   norm_topk_prob=False, scoring_func="softmax", routed_scaling_factor=1.0, rms_norm_eps=1e-6,
                   rope_scaling=None, rope_theta=100.0, pretraining_tp=1)
DEEPSEEK_V3 = base("DeepseekV3ForCausalLM", "deepseek_v3", num_attention_heads=2, num_key_value_heads=2,
                   attention_bias=False, q_lora_rank=10, kv_lora_rank=9, qk_nope_head_dim=6, qk_rope_head_dim=8,
                   v_head_dim=5, first_k_dense_replace=1, moe_layer_freq=1, n_routed_experts=8, n_shared_experts=1,
                   num_experts_per_tok=3, moe_intermediate_size=10, n_group=4, topk_group=2, topk_method="noaux_tc",
                   norm_topk_prob=True, scoring_func="sigmoid", routed_scaling_factor=2.5, rms_norm_eps=1e-6,
                   rope_scaling=None, rope_theta=100.0, pretraining_tp=1, num_nextn_predict_layers=1)

FAMILIES = {
    "llama": (LLAMA, {
        "gqa-untied": {},
        "gqa-tied": {"tie_word_embeddings": True},
        "mha-untied": {"num_key_value_heads": 4},
        "mqa-tied": {"num_key_value_heads": 1, "tie_word_embeddings": True, "rope_theta": 100000.0},
        "attention-bias": {"attention_bias": True},
        "mlp-bias": {"mlp_bias": True},
        "both-biases-tied": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        "rope-llama3": {"rope_scaling": LLAMA3, "head_dim": 8, "rope_theta": 500.0, "max_position_embeddings": 512},
        "rope-linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        "wide-heads": {"head_dim": 6, "num_attention_heads": 6, "num_key_value_heads": 3, "hidden_size": 18},
        "narrow-heads": {"head_dim": 2, "rms_norm_eps": 1e-6},
        "odd-sizes": {"vocab_size": 37, "hidden_size": 18, "intermediate_size": 29, "num_hidden_layers": 3,
                      "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 6},
    }),
    "mistral": (MISTRAL, {
        "no-window": {},
        "window": {"sliding_window": 5},
        "window-wide-heads-tied": {"sliding_window": 3, "head_dim": 6, "num_key_value_heads": 1,
                                   "tie_word_embeddings": True, "rope_theta": 1000000.0},
    }),
    "qwen2": (QWEN2, {
        "untied": {},
        "tied": {"tie_word_embeddings": True, "num_key_value_heads": 1, "rope_theta": 1000000.0},
        "late-layers-windowed": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1,
                                 "num_hidden_layers": 3},
        "yarn": {"rope_scaling": YARN, "num_attention_heads": 2, "num_key_value_heads": 1, **YARN_FIELDS},
    }),
    "qwen3": (QWEN3, {
        "untied": {},
        "tied": {"tie_word_embeddings": True, "rope_theta": 1000000.0},
        "attention-bias": {"attention_bias": True, "num_key_value_heads": 1},
        "late-layers-windowed": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
        "yarn-attention-factor": {"rope_scaling": FAST_YARN, "head_dim": 8, "rope_theta": 100.0,
                                  "max_position_embeddings": 1024},
    }),
    "gemma": (GEMMA, {
        "mqa": {"num_key_value_heads": 1},
        "legacy-gelu": {"hidden_act": "gelu", "num_key_value_heads": 4},
        "narrow-heads": {"head_dim": 2, "num_hidden_layers": 3},
    }),
    "gemma2": (GEMMA2, {
        "both-caps": {},
        "no-caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
        "default-caps": {"attn_logit_softcapping": ABSENT, "final_logit_softcapping": ABSENT, "head_dim": 4,
                         "query_pre_attn_scalar": 4},
    }),
    "gemma3_text": (GEMMA3, {
        "pattern-3": {},
        "linear-global-rope": {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "num_key_value_heads": 1},
        # Newer published configs list the layers and keep the pattern only under a name with an underscore.
        "layer-types": {"sliding_window_pattern": ABSENT, "_sliding_window_pattern": 2,
                        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
                        "num_hidden_layers": 3, "query_pre_attn_scalar": 8},
    }),
    "phi3": (PHI3, {
        "plain": {},
        "gqa-window": {"num_attention_heads": 4, "sliding_window": 5},
        "partial-rotary-tied": {"partial_rotary_factor": 0.75, "tie_word_embeddings": True,
                                "num_key_value_heads": 1},
        "longrope-short": {**LONGROPE, "original_max_position_embeddings": 32},
        "longrope-long": {**LONGROPE, "original_max_position_embeddings": 8, "num_key_value_heads": 1},
    }),
    "olmo2": (OLMO2, {
        "mha": {},
        "gqa": {"num_key_value_heads": 2, "num_hidden_layers": 3, "vocab_size": 37},
    }),
    "smollm3": (SMOLLM3, {
        "listed-tied": {},
        "interval-untied": {"no_rope_layers": ABSENT, "no_rope_layer_interval": 2, "tie_word_embeddings": False,
                            "layer_types": ABSENT},
        "windowed-no-rope": {"use_sliding_window": True, "sliding_window": 4, "layer_types": ABSENT,
                             "attention_bias": True, "mlp_bias": True},
    }),
    "mixtral": (MIXTRAL, {
        "top-2-of-4": {},
        "window-top-3-of-5": {"sliding_window": 5, "num_local_experts": 5, "num_experts_per_tok": 3, "head_dim": 6},
    }),
    "qwen2_moe": (QWEN2_MOE, {
        "all-sparse": {},
        "step-2-normed": {"decoder_sparse_step": 2, "norm_topk_prob": True, "num_hidden_layers": 3},
        "listed-dense": {"mlp_only_layers": [1], "qkv_bias": True, "num_hidden_layers": 3},
        "even-layers-windowed": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2,
                                 "num_hidden_layers": 3, "norm_topk_prob": True, "tie_word_embeddings": True},
    }),
    "qwen3_moe": (QWEN3_MOE, {
        "normed": {},
        "not-normed": {"norm_topk_prob": False, "num_experts_per_tok": 3},
        "step-2-tied": {"decoder_sparse_step": 2, "tie_word_embeddings": True, "num_hidden_layers": 3},
        "listed-dense": {"mlp_only_layers": [0], "num_hidden_layers": 2, "use_sliding_window": True,
                         "sliding_window": 4},
    }),
    "gpt2": (GPT2, {
        "tied": {},
        "inner-odd": {"n_inner": 21, "vocab_size": 37, "n_layer": 3, "n_head": 2},
        "scaled-by-layer": {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3},
        "unscaled-untied": {"scale_attn_weights": False, "tie_word_embeddings": False},
        # The names of the first published GPT-2 files: without the prefix, and with the causal mask as a buffer.
        "no-prefix": {},
    }),
    "gpt_neox": (GPT_NEOX, {
        "parallel-quarter": {},
        "sequential-full": {"use_parallel_residual": False, "rotary_pct": 1.0},
        "sequential-quarter": {"use_parallel_residual": False, "hidden_act": "gelu_new"},
        "parallel-full-tied": {"rotary_pct": 1.0, "rotary_emb_base": 500, "tie_word_embeddings": True,
                               "num_attention_heads": 4},
        "no-attention-bias": {"attention_bias": False, "rotary_pct": 0.5},
    }),
    "deepseek_v2": (DEEPSEEK_V2, {
        "greedy": {},
        "grouped-lora": {"q_lora_rank": 10, "topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2,
                         "num_experts_per_tok": 3, "routed_scaling_factor": 4.0, "first_k_dense_replace": 0},
        "yarn": {"rope_scaling": DEEPSEEK_YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
                 "max_position_embeddings": 1024},
        "yarn-two-mscales": {"rope_scaling": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 0.5},
                             "max_position_embeddings": 1024, "q_lora_rank": 10, "attention_bias": True},
    }),
    "deepseek_v3": (DEEPSEEK_V3, {
        "grouped": {},
        "yarn": {"rope_scaling": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 1.0},
                 "max_position_embeddings": 1024},
        "halves-not-normed": {"rope_interleave": False, "norm_topk_prob": False, "num_experts_per_tok": 4},
        "one-group-no-lora": {"q_lora_rank": None, "n_group": 1, "topk_group": 1, "routed_scaling_factor": 2.446,
                              "num_hidden_layers": 3, "n_shared_experts": 2},
    }),
}


def config(family: str, variant: str) -> dict:
    fields, variants = FAMILIES[family]
    return {key: value for key, value in (fields | variants[variant]).items() if value is not ABSENT}
