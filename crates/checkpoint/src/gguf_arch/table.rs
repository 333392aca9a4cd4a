//! The table itself.

use super::rope::RopeRules;
use super::{
    Absent, Const, Dim, Entry, Field, GgufArch, Head, How, Param, Row, TiedHead, When, Window,
};

/// Every architecture, each llama.cpp name once without experts and at most once with them.
pub(crate) static ARCHS: [GgufArch; 14] = [
    GgufArch {
        name: "llama",
        model_types: &[
            ("llama", "LlamaForCausalLM"),
            ("mistral", "MistralForCausalLM"),
        ],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            SILU,
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules {
                llama3: true,
                ..RopeRules::PLAIN
            }),
            Entry::Window(Window::Ignored { stated: false }),
            Entry::AttentionBias,
            NO_DROPOUT,
            Entry::MlpBias,
            Entry::Tied(false),
            INITIALIZER,
            USE_CACHE,
        ],
        head: LM_HEAD,
        tensors: &[EMBED, ATTN_NORM, TURNED, MLP, FFN_NORM, NORM],
        optional_prefix: "",
    },
    GgufArch {
        name: "llama",
        model_types: &[("mixtral", "MixtralForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            SILU,
            CONTEXT,
            RMS_EPS_1E5,
            Entry::Rope(RopeRules {
                theta: 1e6,
                llama3: true,
                ..RopeRules::PLAIN
            }),
            Entry::Window(Window::Ignored { stated: false }),
            size(
                Field::Experts,
                &["num_local_experts", "num_experts"],
                "expert_count",
            ),
            size(
                Field::ExpertsUsed,
                &["num_experts_per_tok"],
                "expert_used_count",
            ),
            Entry::Tied(false),
        ],
        head: LM_HEAD,
        tensors: &[EMBED, ATTN_NORM, TURNED, MIXTRAL_EXPERTS, FFN_NORM, NORM],
        optional_prefix: "",
    },
    GgufArch {
        name: "smollm3",
        model_types: &[("smollm3", "SmolLM3ForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            SILU,
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules {
                theta: 2e6,
                ..RopeRules::PLAIN
            }),
            Entry::NoRopeEvery(4),
            NO_WINDOW,
            fixed("attention_bias", &[Const::Flag(false)]),
            fixed("mlp_bias", &[Const::Flag(false)]),
            Entry::Tied(true),
        ],
        head: LM_HEAD,
        tensors: &[EMBED, ATTN_NORM, TURNED, MLP, FFN_NORM, NORM],
        optional_prefix: "",
    },
    GgufArch {
        name: "qwen2",
        model_types: &[("qwen2", "Qwen2ForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            SILU,
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules::PLAIN),
            NO_WINDOW,
            Entry::Tied(false),
        ],
        head: LM_HEAD,
        tensors: &[EMBED, ATTN_NORM, QKV_BIASED, MLP, FFN_NORM, NORM],
        optional_prefix: "",
    },
    GgufArch {
        name: "qwen3",
        model_types: &[("qwen3", "Qwen3ForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            SILU,
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules::PLAIN),
            NO_WINDOW,
            fixed("attention_bias", &[Const::Flag(false)]),
            Entry::Tied(false),
        ],
        head: LM_HEAD,
        tensors: &[EMBED, ATTN_NORM, PLAIN, HEAD_NORMS, MLP, FFN_NORM, NORM],
        optional_prefix: "",
    },
    GgufArch {
        name: "qwen2moe",
        model_types: &[("qwen2_moe", "Qwen2MoeForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            SILU,
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules::PLAIN),
            NO_WINDOW,
            fixed("qkv_bias", &[Const::Flag(true)]),
            EXPERTS,
            size(
                Field::ExpertsUsed,
                &["num_experts_per_tok"],
                "expert_used_count",
            ),
            EXPERT_FFN,
            size(
                Field::SharedFfn,
                &["shared_expert_intermediate_size"],
                "expert_shared_feed_forward_length",
            ),
            fixed("norm_topk_prob", &[Const::Flag(false)]),
            EVERY_LAYER_SPARSE,
            NO_DENSE_LAYERS,
            Entry::Tied(false),
        ],
        head: LM_HEAD_COPIED,
        tensors: &[
            EMBED,
            ATTN_NORM,
            QKV_BIASED,
            QWEN_EXPERTS,
            SHARED_EXPERT,
            FFN_NORM,
            NORM,
        ],
        optional_prefix: "",
    },
    GgufArch {
        name: "qwen3moe",
        model_types: &[("qwen3_moe", "Qwen3MoeForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            SILU,
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules::PLAIN),
            NO_WINDOW,
            fixed("attention_bias", &[Const::Flag(false)]),
            EXPERTS,
            size(
                Field::ExpertsUsed,
                &["num_experts_per_tok"],
                "expert_used_count",
            ),
            EXPERT_FFN,
            Entry::Fixed {
                name: "norm_topk_prob",
                values: &[Const::Flag(true)],
                absent: false,
            },
            EVERY_LAYER_SPARSE,
            NO_DENSE_LAYERS,
            Entry::Tied(false),
        ],
        head: LM_HEAD,
        tensors: &[
            EMBED,
            ATTN_NORM,
            PLAIN,
            HEAD_NORMS,
            QWEN_EXPERTS,
            FFN_NORM,
            NORM,
        ],
        optional_prefix: "",
    },
    GgufArch {
        name: "gemma",
        model_types: &[("gemma", "GemmaForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            // The first Gemma configs say "gelu" and mean this one.
            fixed(
                "hidden_act",
                &[Const::Text("gelu_pytorch_tanh"), Const::Text("gelu")],
            ),
            fixed("hidden_activation", GELU_TANH_OR_NULL),
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules::PLAIN),
            fixed("attention_bias", &[Const::Flag(false)]),
            CAUSAL,
            Entry::Tied(true),
        ],
        head: LM_HEAD_TIED,
        tensors: &[
            EMBED,
            GEMMA_ATTN_NORM,
            PLAIN,
            MLP,
            GEMMA_FFN_NORM,
            GEMMA_NORM,
        ],
        optional_prefix: "",
    },
    GgufArch {
        name: "gemma2",
        model_types: &[("gemma2", "Gemma2ForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            fixed("hidden_activation", GELU_TANH),
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules::PLAIN),
            Entry::Window(Window::Alternating { period: 2 }),
            Entry::Number(Param {
                field: Field::ScoreCap,
                config: &["attn_logit_softcapping"],
                key: "attn_logit_softcapping",
                absent: Absent::Refused,
            }),
            Entry::Number(Param {
                field: Field::LogitCap,
                config: &["final_logit_softcapping"],
                key: "final_logit_softcapping",
                absent: Absent::Refused,
            }),
            Entry::ScoreScale { wide_at_layers: 46 },
            fixed("attention_bias", &[Const::Flag(false)]),
            CAUSAL,
            Entry::Tied(true),
        ],
        head: LM_HEAD_TIED,
        tensors: &[
            EMBED,
            GEMMA_ATTN_NORM,
            PLAIN,
            GEMMA_MIDDLE_NORMS,
            MLP,
            GEMMA_POST_NORM,
            GEMMA_NORM,
        ],
        optional_prefix: "",
    },
    GgufArch {
        name: "gemma3",
        model_types: &[("gemma3_text", "Gemma3ForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            Entry::HeadDim,
            fixed("hidden_activation", GELU_TANH),
            CONTEXT,
            RMS_EPS,
            Entry::Rope(RopeRules {
                theta: 1e6,
                local: Some(1e4),
                yarn: false,
                ..RopeRules::PLAIN
            }),
            Entry::Window(Window::Alternating { period: 6 }),
            fixed("attn_logit_softcapping", &[Const::Null]),
            Entry::Number(Param {
                field: Field::LogitCap,
                config: &["final_logit_softcapping"],
                key: "final_logit_softcapping",
                absent: Absent::Omitted,
            }),
            Entry::ScoreScale { wide_at_layers: 62 },
            fixed("attention_bias", &[Const::Flag(false)]),
            CAUSAL,
            Entry::Tied(true),
        ],
        head: LM_HEAD,
        tensors: &[
            EMBED,
            GEMMA_ATTN_NORM,
            PLAIN,
            GEMMA_HEAD_NORMS,
            GEMMA_MIDDLE_NORMS,
            MLP,
            GEMMA_POST_NORM,
            GEMMA_NORM,
        ],
        optional_prefix: "",
    },
    GgufArch {
        name: "phi3",
        model_types: &[("phi3", "Phi3ForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            SILU,
            CONTEXT,
            RMS_EPS_1E5,
            Entry::Rope(RopeRules {
                partial: Some((&["partial_rotary_factor"], 1.0)),
                long: true,
                ..RopeRules::PLAIN
            }),
            Entry::Window(Window::Ignored { stated: true }),
            fixed("attention_bias", &[Const::Flag(false)]),
            Entry::Tied(false),
        ],
        head: LM_HEAD,
        tensors: &[EMBED, ATTN_NORM, FUSED, FFN_NORM, NORM],
        optional_prefix: "",
    },
    GgufArch {
        name: "olmo2",
        model_types: &[("olmo2", "Olmo2ForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            KV_HEADS,
            SILU,
            CONTEXT,
            RMS_EPS_1E5,
            Entry::Rope(RopeRules::PLAIN),
            fixed("attention_bias", &[Const::Flag(false)]),
            Entry::Tied(false),
        ],
        head: LM_HEAD_COPIED,
        tensors: &[EMBED, PLAIN, WIDE_NORMS, POST_NORMS, MLP, NORM],
        optional_prefix: "",
    },
    GgufArch {
        name: "gpt2",
        model_types: &[("gpt2", "GPT2LMHeadModel")],
        entries: &[
            size(Field::Hidden, &["n_embd"], "embedding_length"),
            Entry::Size(Param {
                field: Field::Ffn,
                config: &["n_inner"],
                key: "feed_forward_length",
                absent: Absent::FourTimes(Field::Hidden),
            }),
            size(Field::Layers, &["n_layer"], "block_count"),
            size(Field::Heads, &["n_head"], "attention.head_count"),
            size(Field::Context, &["n_positions", "n_ctx"], "context_length"),
            fixed(
                "activation_function",
                &[Const::Text("gelu_new"), Const::Text("gelu_pytorch_tanh")],
            ),
            Entry::Number(Param {
                field: Field::NormEps,
                config: &["layer_norm_epsilon"],
                key: "attention.layer_norm_epsilon",
                absent: Absent::Number(1e-5),
            }),
            fixed("scale_attn_weights", &[Const::Flag(true)]),
            fixed("scale_attn_by_inverse_layer_idx", &[Const::Flag(false)]),
            fixed("add_cross_attention", &[Const::Flag(false)]),
            Entry::Tied(true),
        ],
        head: LM_HEAD,
        tensors: GPT2_TENSORS,
        optional_prefix: "transformer.",
    },
    GgufArch {
        name: "gptneox",
        model_types: &[("gpt_neox", "GPTNeoXForCausalLM")],
        entries: &[
            HIDDEN,
            FFN,
            LAYERS,
            HEADS,
            // llama.cpp computes the tanh form of GELU for either name.
            fixed(
                "hidden_act",
                &[
                    Const::Text("gelu"),
                    Const::Text("gelu_new"),
                    Const::Text("gelu_fast"),
                    Const::Text("gelu_pytorch_tanh"),
                ],
            ),
            CONTEXT,
            Entry::Number(Param {
                field: Field::NormEps,
                config: &["layer_norm_eps"],
                key: "attention.layer_norm_epsilon",
                absent: Absent::Number(1e-5),
            }),
            Entry::Rope(RopeRules {
                names: &["rotary_emb_base", "rope_theta"],
                partial: Some((&["rotary_pct", "partial_rotary_factor"], 0.25)),
                ..RopeRules::PLAIN
            }),
            Entry::Flag(Param {
                field: Field::Parallel,
                config: &["use_parallel_residual"],
                key: "use_parallel_residual",
                absent: Absent::Flag(true),
            }),
            fixed("attention_bias", &[Const::Flag(true)]),
            Entry::Tied(false),
        ],
        head: Head {
            hf: "embed_out.weight",
            tied: TiedHead::Copied,
        },
        tensors: GPTNEOX_TENSORS,
        optional_prefix: "",
    },
];

const HIDDEN: Entry = size(Field::Hidden, &["hidden_size"], "embedding_length");
const FFN: Entry = size(Field::Ffn, &["intermediate_size"], "feed_forward_length");
const LAYERS: Entry = size(Field::Layers, &["num_hidden_layers"], "block_count");
const HEADS: Entry = size(
    Field::Heads,
    &["num_attention_heads"],
    "attention.head_count",
);
const KV_HEADS: Entry = Entry::Size(Param {
    field: Field::KvHeads,
    config: &["num_key_value_heads"],
    key: "attention.head_count_kv",
    absent: Absent::Of(Field::Heads),
});
const CONTEXT: Entry = size(
    Field::Context,
    &["max_position_embeddings"],
    "context_length",
);
const RMS_EPS: Entry = Entry::Number(Param {
    field: Field::NormEps,
    config: &["rms_norm_eps"],
    key: "attention.layer_norm_rms_epsilon",
    absent: Absent::Number(1e-6),
});
/// The model classes of Mixtral, Phi-3 and OLMo 2 have another default.
const RMS_EPS_1E5: Entry = Entry::Number(Param {
    field: Field::NormEps,
    config: &["rms_norm_eps"],
    key: "attention.layer_norm_rms_epsilon",
    absent: Absent::Number(1e-5),
});
const EXPERTS: Entry = size(
    Field::Experts,
    &["num_experts", "num_local_experts"],
    "expert_count",
);
const EXPERT_FFN: Entry = size(
    Field::ExpertFfn,
    &["moe_intermediate_size"],
    "expert_feed_forward_length",
);
const SILU: Entry = fixed("hidden_act", &[Const::Text("silu")]);
const GELU_TANH: &[Const] = &[Const::Text("gelu_pytorch_tanh")];
const GELU_TANH_OR_NULL: &[Const] = &[Const::Text("gelu_pytorch_tanh"), Const::Null];
const CAUSAL: Entry = fixed(
    "use_bidirectional_attention",
    &[Const::Flag(false), Const::Null],
);
const NO_WINDOW: Entry = fixed("use_sliding_window", &[Const::Flag(false)]);
const EVERY_LAYER_SPARSE: Entry = fixed("decoder_sparse_step", &[Const::Size(1)]);
const NO_DENSE_LAYERS: Entry = fixed("mlp_only_layers", &[Const::EmptyList]);
const NO_DROPOUT: Entry = Entry::Filler("attention_dropout", Const::Number(0.0));
const INITIALIZER: Entry = Entry::Filler("initializer_range", Const::Number(0.02));
const USE_CACHE: Entry = Entry::Filler("use_cache", Const::Flag(true));

const LM_HEAD: Head = Head {
    hf: "lm_head.weight",
    tied: TiedHead::Left,
};
const LM_HEAD_COPIED: Head = Head {
    hf: "lm_head.weight",
    tied: TiedHead::Copied,
};
const LM_HEAD_TIED: Head = Head {
    hf: "lm_head.weight",
    tied: TiedHead::Always,
};

const H: Dim = Dim::Field(Field::Hidden);
const F: Dim = Dim::Field(Field::Ffn);
const X: Dim = Dim::Field(Field::ExpertFfn);
const S: Dim = Dim::Field(Field::SharedFfn);

const EMBED: &[Row] = &[row(
    "model.embed_tokens.weight",
    "token_embd.weight",
    &[Dim::Vocab, H],
)];
const NORM: &[Row] = &[row("model.norm.weight", "output_norm.weight", &[H])];
const GEMMA_NORM: &[Row] = &[NORM[0].how(How::PlusOne)];

const ATTN_NORM: &[Row] = &[row(
    "model.layers.{}.input_layernorm.weight",
    "blk.{}.attn_norm.weight",
    &[H],
)];
const GEMMA_ATTN_NORM: &[Row] = &[ATTN_NORM[0].how(How::PlusOne)];
const FFN_NORM: &[Row] = &[row(
    "model.layers.{}.post_attention_layernorm.weight",
    "blk.{}.ffn_norm.weight",
    &[H],
)];
const GEMMA_FFN_NORM: &[Row] = &[FFN_NORM[0].how(How::PlusOne)];
const POST_NORMS: &[Row] = &[
    row(
        "model.layers.{}.post_attention_layernorm.weight",
        "blk.{}.post_attention_norm.weight",
        &[H],
    ),
    row(
        "model.layers.{}.post_feedforward_layernorm.weight",
        "blk.{}.post_ffw_norm.weight",
        &[H],
    ),
];
const GEMMA_MIDDLE_NORMS: &[Row] = &[
    POST_NORMS[0].how(How::PlusOne),
    row(
        "model.layers.{}.pre_feedforward_layernorm.weight",
        "blk.{}.ffn_norm.weight",
        &[H],
    )
    .how(How::PlusOne),
];
const GEMMA_POST_NORM: &[Row] = &[POST_NORMS[1].how(How::PlusOne)];
const HEAD_NORMS: &[Row] = &[
    row(
        "model.layers.{}.self_attn.q_norm.weight",
        "blk.{}.attn_q_norm.weight",
        &[Dim::Head],
    ),
    row(
        "model.layers.{}.self_attn.k_norm.weight",
        "blk.{}.attn_k_norm.weight",
        &[Dim::Head],
    ),
];
const GEMMA_HEAD_NORMS: &[Row] = &[
    HEAD_NORMS[0].how(How::PlusOne),
    HEAD_NORMS[1].how(How::PlusOne),
];
const WIDE_NORMS: &[Row] = &[
    row(
        "model.layers.{}.self_attn.q_norm.weight",
        "blk.{}.attn_q_norm.weight",
        &[Dim::Q],
    ),
    row(
        "model.layers.{}.self_attn.k_norm.weight",
        "blk.{}.attn_k_norm.weight",
        &[Dim::Kv],
    ),
];

const Q: Row = row(
    "model.layers.{}.self_attn.q_proj.weight",
    "blk.{}.attn_q.weight",
    &[Dim::Q, H],
);
const Q_BIAS: Row = row(
    "model.layers.{}.self_attn.q_proj.bias",
    "blk.{}.attn_q.bias",
    &[Dim::Q],
);
const K: Row = row(
    "model.layers.{}.self_attn.k_proj.weight",
    "blk.{}.attn_k.weight",
    &[Dim::Kv, H],
);
const K_BIAS: Row = row(
    "model.layers.{}.self_attn.k_proj.bias",
    "blk.{}.attn_k.bias",
    &[Dim::Kv],
);
const V: Row = row(
    "model.layers.{}.self_attn.v_proj.weight",
    "blk.{}.attn_v.weight",
    &[Dim::Kv, H],
);
const V_BIAS: Row = row(
    "model.layers.{}.self_attn.v_proj.bias",
    "blk.{}.attn_v.bias",
    &[Dim::Kv],
);
const O: Row = row(
    "model.layers.{}.self_attn.o_proj.weight",
    "blk.{}.attn_output.weight",
    &[H, Dim::Q],
);
const O_BIAS: Row = row(
    "model.layers.{}.self_attn.o_proj.bias",
    "blk.{}.attn_output.bias",
    &[H],
);
const PLAIN: &[Row] = &[Q, K, V, O];
const QKV_BIASED: &[Row] = &[Q, Q_BIAS, K, K_BIAS, V, V_BIAS, O];
const TURNED: &[Row] = &[
    Q.how(How::Interleave),
    Q_BIAS.how(How::Interleave).when(When::AttentionBias),
    K.how(How::Interleave),
    K_BIAS.how(How::Interleave).when(When::AttentionBias),
    V,
    V_BIAS.when(When::AttentionBias),
    O,
    O_BIAS.when(When::AttentionBias),
];
const MLP: &[Row] = &[
    row(
        "model.layers.{}.mlp.gate_proj.weight",
        "blk.{}.ffn_gate.weight",
        &[F, H],
    ),
    row(
        "model.layers.{}.mlp.gate_proj.bias",
        "blk.{}.ffn_gate.bias",
        &[F],
    )
    .when(When::MlpBias),
    row(
        "model.layers.{}.mlp.up_proj.weight",
        "blk.{}.ffn_up.weight",
        &[F, H],
    ),
    row(
        "model.layers.{}.mlp.up_proj.bias",
        "blk.{}.ffn_up.bias",
        &[F],
    )
    .when(When::MlpBias),
    row(
        "model.layers.{}.mlp.down_proj.weight",
        "blk.{}.ffn_down.weight",
        &[H, F],
    ),
    row(
        "model.layers.{}.mlp.down_proj.bias",
        "blk.{}.ffn_down.bias",
        &[H],
    )
    .when(When::MlpBias),
];
const FUSED: &[Row] = &[
    row(
        "model.layers.{}.self_attn.qkv_proj.weight",
        "blk.{}.attn_qkv.weight",
        &[Dim::Qkv, H],
    ),
    O,
    row(
        "model.layers.{}.mlp.gate_up_proj.weight",
        "blk.{}.ffn_up.weight",
        &[Dim::TwoFfn, H],
    ),
    row(
        "model.layers.{}.mlp.down_proj.weight",
        "blk.{}.ffn_down.weight",
        &[H, F],
    ),
];

const MIXTRAL_EXPERTS: &[Row] = &[
    row(
        "model.layers.{}.block_sparse_moe.gate.weight",
        "blk.{}.ffn_gate_inp.weight",
        &[Dim::Field(Field::Experts), H],
    ),
    row(
        "model.layers.{}.block_sparse_moe.experts.{e}.w1.weight",
        "blk.{}.ffn_gate_exps.weight",
        &[F, H],
    )
    .how(How::Stack),
    row(
        "model.layers.{}.block_sparse_moe.experts.{e}.w3.weight",
        "blk.{}.ffn_up_exps.weight",
        &[F, H],
    )
    .how(How::Stack),
    row(
        "model.layers.{}.block_sparse_moe.experts.{e}.w2.weight",
        "blk.{}.ffn_down_exps.weight",
        &[H, F],
    )
    .how(How::Stack),
];
const QWEN_EXPERTS: &[Row] = &[
    row(
        "model.layers.{}.mlp.gate.weight",
        "blk.{}.ffn_gate_inp.weight",
        &[Dim::Field(Field::Experts), H],
    ),
    row(
        "model.layers.{}.mlp.experts.{e}.gate_proj.weight",
        "blk.{}.ffn_gate_exps.weight",
        &[X, H],
    )
    .how(How::Stack),
    row(
        "model.layers.{}.mlp.experts.{e}.up_proj.weight",
        "blk.{}.ffn_up_exps.weight",
        &[X, H],
    )
    .how(How::Stack),
    row(
        "model.layers.{}.mlp.experts.{e}.down_proj.weight",
        "blk.{}.ffn_down_exps.weight",
        &[H, X],
    )
    .how(How::Stack),
];
const SHARED_EXPERT: &[Row] = &[
    row(
        "model.layers.{}.mlp.shared_expert.gate_proj.weight",
        "blk.{}.ffn_gate_shexp.weight",
        &[S, H],
    ),
    row(
        "model.layers.{}.mlp.shared_expert.up_proj.weight",
        "blk.{}.ffn_up_shexp.weight",
        &[S, H],
    ),
    row(
        "model.layers.{}.mlp.shared_expert.down_proj.weight",
        "blk.{}.ffn_down_shexp.weight",
        &[H, S],
    ),
    row(
        "model.layers.{}.mlp.shared_expert_gate.weight",
        "blk.{}.ffn_gate_inp_shexp.weight",
        &[Dim::One, H],
    ),
];

const GPT2_TENSORS: &[&[Row]] = &[&[
    row("wte.weight", "token_embd.weight", &[Dim::Vocab, H]),
    row(
        "wpe.weight",
        "position_embd.weight",
        &[Dim::Field(Field::Context), H],
    ),
    row("h.{}.ln_1.weight", "blk.{}.attn_norm.weight", &[H]),
    row("h.{}.ln_1.bias", "blk.{}.attn_norm.bias", &[H]),
    row(
        "h.{}.attn.c_attn.weight",
        "blk.{}.attn_qkv.weight",
        &[H, Dim::Qkv],
    )
    .how(How::Transpose),
    row("h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias", &[Dim::Qkv]),
    row(
        "h.{}.attn.c_proj.weight",
        "blk.{}.attn_output.weight",
        &[H, H],
    )
    .how(How::Transpose),
    row("h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias", &[H]),
    row("h.{}.ln_2.weight", "blk.{}.ffn_norm.weight", &[H]),
    row("h.{}.ln_2.bias", "blk.{}.ffn_norm.bias", &[H]),
    row("h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight", &[H, F]).how(How::Transpose),
    row("h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias", &[F]),
    row("h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight", &[F, H]).how(How::Transpose),
    row("h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias", &[H]),
    row("ln_f.weight", "output_norm.weight", &[H]),
    row("ln_f.bias", "output_norm.bias", &[H]),
]];

const GPTNEOX_TENSORS: &[&[Row]] = &[&[
    row(
        "gpt_neox.embed_in.weight",
        "token_embd.weight",
        &[Dim::Vocab, H],
    ),
    row(
        "gpt_neox.layers.{}.input_layernorm.weight",
        "blk.{}.attn_norm.weight",
        &[H],
    ),
    row(
        "gpt_neox.layers.{}.input_layernorm.bias",
        "blk.{}.attn_norm.bias",
        &[H],
    ),
    row(
        "gpt_neox.layers.{}.attention.query_key_value.weight",
        "blk.{}.attn_qkv.weight",
        &[Dim::Qkv, H],
    )
    .how(How::SplitQkv),
    row(
        "gpt_neox.layers.{}.attention.query_key_value.bias",
        "blk.{}.attn_qkv.bias",
        &[Dim::Qkv],
    )
    .how(How::SplitQkv),
    row(
        "gpt_neox.layers.{}.attention.dense.weight",
        "blk.{}.attn_output.weight",
        &[H, Dim::Q],
    ),
    row(
        "gpt_neox.layers.{}.attention.dense.bias",
        "blk.{}.attn_output.bias",
        &[H],
    ),
    row(
        "gpt_neox.layers.{}.post_attention_layernorm.weight",
        "blk.{}.ffn_norm.weight",
        &[H],
    ),
    row(
        "gpt_neox.layers.{}.post_attention_layernorm.bias",
        "blk.{}.ffn_norm.bias",
        &[H],
    ),
    row(
        "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight",
        "blk.{}.ffn_up.weight",
        &[F, H],
    ),
    row(
        "gpt_neox.layers.{}.mlp.dense_h_to_4h.bias",
        "blk.{}.ffn_up.bias",
        &[F],
    ),
    row(
        "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight",
        "blk.{}.ffn_down.weight",
        &[H, F],
    ),
    row(
        "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias",
        "blk.{}.ffn_down.bias",
        &[H],
    ),
    row(
        "gpt_neox.final_layer_norm.weight",
        "output_norm.weight",
        &[H],
    ),
    row("gpt_neox.final_layer_norm.bias", "output_norm.bias", &[H]),
]];

const fn size(field: Field, config: &'static [&'static str], key: &'static str) -> Entry {
    Entry::Size(Param {
        field,
        config,
        key,
        absent: Absent::Refused,
    })
}

const fn fixed(name: &'static str, values: &'static [Const]) -> Entry {
    Entry::Fixed {
        name,
        values,
        absent: true,
    }
}

const fn row(hf: &'static str, gguf: &'static str, shape: &'static [Dim]) -> Row {
    Row {
        hf,
        gguf,
        shape,
        how: How::Same,
        when: When::Always,
    }
}

impl Row {
    const fn how(mut self, how: How) -> Row {
        self.how = how;
        self
    }

    const fn when(mut self, when: When) -> Row {
        self.when = when;
        self
    }
}
