//! Llama and its nearest relatives: RMSNorm before each block, grouped-query attention with RoPE, a gated MLP or a mixture
//! of experts. They differ in flags only.

use super::Architecture;
use super::parts::{
    ATTENTION, EMBED, EXPERT_FFN, EXPERT_GATE, EXPERT_OPS, EXPERTS, FINAL, GATED, GATED_EXPERTS,
    GATED_MLP, HEAD_NORMS, HIDDEN, INPUT_NORM, NEXT_TOKEN, ONE, POST_ATTENTION_NORM, PRE_NORM,
    ROTARY_ATTENTION, SHARED_FFN, SHARED_GATE,
};
use crate::config::{
    ConfigTable, Expansion, Fact, LLAMA_CONFIG, Moe, MoeLayers, MoeShared, MoeShares, NAMES, Names,
    Positions, Window, rotary,
};
use crate::{Activation, Op, Role as R, Row, When as W};

const ROWS: &[&[Row]] = &[
    EMBED,
    INPUT_NORM,
    ATTENTION,
    HEAD_NORMS,
    POST_ATTENTION_NORM,
    GATED_MLP,
    GATED_EXPERTS,
    SHARED_EXPERT,
    FINAL,
];

const OPS: &[&[(W, Op)]] = &[PRE_NORM, ROTARY_ATTENTION, GATED, EXPERT_OPS, NEXT_TOKEN];

/// Qwen2-MoE's shared expert, and the share of it that a token takes.
const SHARED_EXPERT: &[Row] = &[
    Row::linear(
        "model.layers.{}.mlp.shared_expert.gate_proj.weight",
        R::SharedGate,
        SHARED_GATE,
        HIDDEN,
    )
    .only(W::SPARSE.and(W::SHARED_EXPERT)),
    Row::linear(
        "model.layers.{}.mlp.shared_expert.up_proj.weight",
        R::SharedUp,
        SHARED_FFN,
        HIDDEN,
    )
    .only(W::SPARSE.and(W::SHARED_EXPERT)),
    Row::linear(
        "model.layers.{}.mlp.shared_expert.down_proj.weight",
        R::SharedDown,
        HIDDEN,
        SHARED_FFN,
    )
    .only(W::SPARSE.and(W::SHARED_EXPERT)),
    Row::linear(
        "model.layers.{}.mlp.shared_expert_gate.weight",
        R::SharedShare,
        ONE,
        HIDDEN,
    )
    .only(W::SPARSE.and(W::SHARED_EXPERT)),
];

/// Mixtral's names for its experts.
const BLOCK_SPARSE: &[Row] = &[
    Row::linear(
        "model.layers.{}.block_sparse_moe.gate.weight",
        R::Router,
        EXPERTS,
        HIDDEN,
    ),
    Row::linear(
        "model.layers.{}.block_sparse_moe.experts.{}.w1.weight",
        R::ExpertGate,
        EXPERT_GATE,
        HIDDEN,
    ),
    Row::linear(
        "model.layers.{}.block_sparse_moe.experts.{}.w3.weight",
        R::ExpertUp,
        EXPERT_FFN,
        HIDDEN,
    ),
    Row::linear(
        "model.layers.{}.block_sparse_moe.experts.{}.w2.weight",
        R::ExpertDown,
        HIDDEN,
        EXPERT_FFN,
    ),
];

pub(super) static LLAMA: Architecture = Architecture {
    model_type: "llama",
    class: "LlamaForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: LLAMA_CONFIG,
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static MISTRAL: Architecture = Architecture {
    model_type: "mistral",
    class: "MistralForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &["num_key_value_heads", "sliding_window"],
        facts: &[],
        windows: Window::All,
        expansion: Expansion::Free,
        keep: &["sliding_window"],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &["num_key_value_heads"],
        facts: &[(W::QKV_BIAS, Fact::Always)],
        windows: Window::FromLayer,
        expansion: Expansion::No(QWEN2_EXPANSION),
        keep: QWEN_WINDOWS,
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &["num_key_value_heads", "head_dim"],
        facts: &[
            (W::QK_NORM, Fact::Always),
            (W::QKV_BIAS, Fact::Field("attention_bias", false)),
            (W::OUTPUT_BIAS, Fact::Field("attention_bias", false)),
        ],
        windows: Window::FromLayer,
        expansion: Expansion::Free,
        keep: QWEN3_KEEP,
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static SMOLLM3: Architecture = Architecture {
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &["num_key_value_heads"],
        tied: true,
        positions: Positions::Rotary {
            theta: "rope_theta",
            default_theta: 2e6,
            share: None,
            local_theta: None,
            none_in: Some(("no_rope_layers", "no_rope_layer_interval", 4)),
        },
        windows: Window::WithoutRope,
        keep: &[
            "attention_bias",
            "mlp_bias",
            "no_rope_layers",
            "no_rope_layer_interval",
            "use_sliding_window",
            "sliding_window",
            "layer_types",
        ],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static GEMMA: Architecture = Architecture {
    model_type: "gemma",
    class: "GemmaForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        names: Names {
            activation: "hidden_activation",
            ..NAMES
        },
        required: &["num_key_value_heads", "head_dim"],
        facts: &[],
        tied: true,
        activation: Activation::GeluTanh,
        gain_offset: 1.0,
        scales_embeddings: true,
        expansion: Expansion::No(
            "Gemma multiplies its embeddings by the square root of the hidden size, which would change",
        ),
        keep: &[],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static MIXTRAL: Architecture = Architecture {
    model_type: "mixtral",
    class: "MixtralForCausalLM",
    rows: &[
        EMBED,
        INPUT_NORM,
        ATTENTION,
        POST_ATTENTION_NORM,
        BLOCK_SPARSE,
        FINAL,
    ],
    ops: OPS,
    config: ConfigTable {
        required: &["num_key_value_heads"],
        facts: &[],
        epsilon: 1e-5,
        positions: rotary(1e6),
        windows: Window::All,
        experts: Some(Moe {
            count: "num_local_experts",
            per_token: "num_experts_per_tok",
            ffn: "intermediate_size",
            shared: MoeShared::No,
            layers: MoeLayers::All,
            shares: MoeShares::Normalised,
        }),
        expansion: Expansion::Free,
        keep: &["sliding_window", "num_local_experts", "num_experts_per_tok"],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static QWEN2_MOE: Architecture = Architecture {
    model_type: "qwen2_moe",
    class: "Qwen2MoeForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &["num_key_value_heads"],
        facts: &[(W::QKV_BIAS, Fact::Field("qkv_bias", true))],
        windows: Window::EvenBelowLayer,
        experts: Some(Moe {
            shared: MoeShared::Neurons("shared_expert_intermediate_size"),
            ..QWEN_EXPERTS
        }),
        expansion: Expansion::No(QWEN2_EXPANSION),
        keep: &[
            "qkv_bias",
            "use_sliding_window",
            "sliding_window",
            "max_window_layers",
            "layer_types",
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
            "shared_expert_intermediate_size",
            "norm_topk_prob",
            "decoder_sparse_step",
            "mlp_only_layers",
        ],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static QWEN3_MOE: Architecture = Architecture {
    model_type: "qwen3_moe",
    class: "Qwen3MoeForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &["num_key_value_heads"],
        facts: &[
            (W::QK_NORM, Fact::Always),
            (W::QKV_BIAS, Fact::Field("attention_bias", false)),
            (W::OUTPUT_BIAS, Fact::Field("attention_bias", false)),
        ],
        windows: Window::AllIfUsed,
        experts: Some(QWEN_EXPERTS),
        expansion: Expansion::Free,
        keep: &[
            "attention_bias",
            "use_sliding_window",
            "sliding_window",
            "max_window_layers",
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
            "norm_topk_prob",
            "decoder_sparse_step",
            "mlp_only_layers",
        ],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

const QWEN_EXPERTS: Moe = Moe {
    count: "num_experts",
    per_token: "num_experts_per_tok",
    ffn: "moe_intermediate_size",
    shared: MoeShared::No,
    layers: MoeLayers::Step,
    shares: MoeShares::Flag("norm_topk_prob"),
};

const QWEN_WINDOWS: &[&str] = &[
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
];

const QWEN3_KEEP: &[&str] = &[
    "attention_bias",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
];

const QWEN2_EXPANSION: &str = "vLLM takes the size of a Qwen2 head from the hidden size and ignores head_dim, so it would not load the result";
