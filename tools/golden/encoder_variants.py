"""The tiny encoders of the golden files: for each model_type a config.json in the style of its published checkpoints,
and variants as (class of transformers, changes to the config). ABSENT removes a field, so that the family's default is
used.

No two sizes of a model are equal, so that an exchange of two dimensions shows, and each flag matters at the lengths of
INPUTS: windows are shorter than the inputs, rope bases small, and MPNet's longest input reaches the logarithmic buckets
of its relative positions. Where a class's name ends in "Model" the answer is its hidden states, and its pooled vector
if its file has a pooler.
"""

from tiny_variants import ABSENT

DROPOUTS = {"attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1, "initializer_range": 0.02}


def labels(*names: str) -> dict:
    return {"id2label": {str(index): name for index, name in enumerate(names)},
            "label2id": {name: index for index, name in enumerate(names)}}


ONE = labels("LABEL_0")
THREE = labels("negative", "neutral", "positive")
FIVE = labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC")

BERT = DROPOUTS | {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 41, "hidden_size": 20, "intermediate_size": 28,
    "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "gelu", "max_position_embeddings": 37,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute",
    "gradient_checkpointing": False, "use_cache": True,
}
DISTILBERT = {
    "architectures": ["DistilBertModel"], "model_type": "distilbert", "vocab_size": 39, "dim": 20, "hidden_dim": 27,
    "n_layers": 2, "n_heads": 4, "activation": "gelu", "max_position_embeddings": 36, "sinusoidal_pos_embds": False,
    "tie_weights_": True, "attention_dropout": 0.1, "dropout": 0.1, "qa_dropout": 0.1, "seq_classif_dropout": 0.2,
    "initializer_range": 0.02, "pad_token_id": 0,
}
ROBERTA = DROPOUTS | {
    "architectures": ["RobertaModel"], "model_type": "roberta", "vocab_size": 42, "hidden_size": 20,
    "intermediate_size": 26, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "gelu",
    "max_position_embeddings": 34, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": 0, "pad_token_id": 1,
    "eos_token_id": 2,
}
XLM_ROBERTA = ROBERTA | {
    "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "vocab_size": 43, "intermediate_size": 30,
    "num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": 35, "output_past": True,
    "position_embedding_type": "absolute", "use_cache": True,
}
MPNET = DROPOUTS | {
    "architectures": ["MPNetModel"], "model_type": "mpnet", "vocab_size": 40, "hidden_size": 18,
    "intermediate_size": 25, "num_hidden_layers": 2, "num_attention_heads": 3, "hidden_act": "gelu",
    "max_position_embeddings": 39, "layer_norm_eps": 1e-5, "relative_attention_num_buckets": 32, "bos_token_id": 0,
    "pad_token_id": 1, "eos_token_id": 2,
}
MODERNBERT = {
    "architectures": ["ModernBertModel"], "model_type": "modernbert", "vocab_size": 44, "hidden_size": 24,
    "intermediate_size": 17, "num_hidden_layers": 4, "num_attention_heads": 4, "hidden_activation": "gelu",
    "max_position_embeddings": 38, "norm_eps": 1e-5, "layer_norm_eps": 1e-5, "norm_bias": False,
    "attention_bias": False, "mlp_bias": False, "decoder_bias": True, "global_attn_every_n_layers": 3,
    "local_attention": 6, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "classifier_pooling": "mean",
    "classifier_bias": False, "classifier_activation": "gelu", "classifier_dropout": 0.0, "attention_dropout": 0.0,
    "embedding_dropout": 0.0, "mlp_dropout": 0.0, "sparse_prediction": False, "sparse_pred_ignore_index": -100,
    "initializer_range": 0.02, "initializer_cutoff_factor": 2.0, "position_embedding_type": "absolute",
    "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 3,
}
NEW_ROPE = {
    "global_attn_every_n_layers": ABSENT, "global_rope_theta": ABSENT, "local_rope_theta": ABSENT,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {"full_attention": {"rope_theta": 800.0, "rope_type": "default"},
                        "sliding_attention": {"rope_theta": 50.0, "rope_type": "default"}},
}

FAMILIES = {
    "bert": (BERT, {
        "model": ("BertModel", {}),
        "model-no-pooler": ("BertModel", {"hidden_act": "gelu_new", "num_hidden_layers": 3}),
        "sequence-3-labels": ("BertForSequenceClassification", THREE),
        "sequence-1-label": ("BertForSequenceClassification", ONE | {"hidden_act": "relu", "layer_norm_eps": 1e-5}),
        "token-5-labels": ("BertForTokenClassification", FIVE),
        "masked-lm": ("BertForMaskedLM", {"hidden_act": "gelu_new", "type_vocab_size": 3}),
        # The names in BERT's own files; next-sentence head and pooler are there and not used.
        "masked-lm-first-names": ("BertForMaskedLM", {"hidden_act": "relu"}),
        # The same file as an encoder of sentences: prefix and heads are left aside, the pooler is used.
        "model-in-masked-lm-file": ("BertModel", {"architectures": ["BertForMaskedLM"]}),
    }),
    "distilbert": (DISTILBERT, {
        "model": ("DistilBertModel", {}),
        "model-relu-sinusoidal": ("DistilBertModel", {"activation": "relu", "sinusoidal_pos_embds": True,
                                                      "n_layers": 3, "n_heads": 2}),
        "sequence-3-labels": ("DistilBertForSequenceClassification", THREE),
        "token-5-labels": ("DistilBertForTokenClassification", FIVE),
        "masked-lm": ("DistilBertForMaskedLM", {}),
        "masked-lm-relu": ("DistilBertForMaskedLM", {"activation": "relu"}),
    }),
    "roberta": (ROBERTA, {
        "model": ("RobertaModel", {"type_vocab_size": 2}),
        "sequence-3-labels": ("RobertaForSequenceClassification", THREE),
        "sequence-1-label": ("RobertaForSequenceClassification", ONE | {"num_hidden_layers": 3}),
        "token-5-labels": ("RobertaForTokenClassification", FIVE),
        # The head's activation is the exact GELU, whatever hidden_act says.
        "masked-lm-relu": ("RobertaForMaskedLM", {"hidden_act": "relu"}),
    }),
    "xlm-roberta": (XLM_ROBERTA, {
        "model": ("XLMRobertaModel", {}),
        "model-pad-3": ("XLMRobertaModel", {"pad_token_id": 3, "num_hidden_layers": 2}),
        "sequence-3-labels": ("XLMRobertaForSequenceClassification", THREE),
        "sequence-1-label": ("XLMRobertaForSequenceClassification", ONE | {"num_hidden_layers": 2}),
        "token-5-labels": ("XLMRobertaForTokenClassification", FIVE),
        "masked-lm": ("XLMRobertaForMaskedLM", {}),
    }),
    "mpnet": (MPNET, {
        # As in a published embedding model: the config names the masked LM, the file is that of the bare encoder.
        "model-called-masked-lm": ("MPNetModel", {"architectures": ["MPNetForMaskedLM"]}),
        "sequence-3-labels": ("MPNetForSequenceClassification", THREE | {"num_hidden_layers": 3}),
        "token-5-labels": ("MPNetForTokenClassification", FIVE),
        # The field sizes the table only: positions fall into 32 buckets, and the rest of the rows are not used.
        "masked-lm-36-buckets": ("MPNetForMaskedLM", {"relative_attention_num_buckets": 36, "hidden_act": "relu"}),
    }),
    "modernbert": (MODERNBERT, {
        "model": ("ModernBertModel", {}),
        # Published files have both names of the epsilon, with the same value; norm_eps is the one that is read.
        "model-biases": ("ModernBertModel", {
            "norm_bias": True, "attention_bias": True, "mlp_bias": True, "global_attn_every_n_layers": 2,
            "layer_norm_eps": 0.1, "local_attention": 5, "global_rope_theta": 500.0, "local_rope_theta": 20.0}),
        "model-new-fields": ("ModernBertModel", NEW_ROPE),
        "sequence-cls": ("ModernBertForSequenceClassification", THREE | {"classifier_pooling": "cls"}),
        "sequence-mean": ("ModernBertForSequenceClassification", ONE | {"classifier_bias": True}),
        "token-5-labels": ("ModernBertForTokenClassification", FIVE | {
            "norm_bias": True, "classifier_bias": True, "classifier_activation": "relu"}),
        "masked-lm": ("ModernBertForMaskedLM", {}),
        "masked-lm-other-biases": ("ModernBertForMaskedLM", {
            "norm_bias": True, "classifier_bias": True, "decoder_bias": False, "global_attn_every_n_layers": ABSENT}),
    }),
}

# The pad id is among them, in the middle and at the end, and is attended to: RoBERTa and MPNet skip it in counting.
PADS_WITHIN = {"ids": [0, 17, 4, 1, 30, 9, 9, 1, 1, 22, 3, 31, 13, 1]}
ROBERTA_INPUTS = [PADS_WITHIN, {"ids": [0, 21, 33, 8, 40, 2]}, {"ids": [26]}]
INPUTS = {
    "bert": [
        {"ids": [1, 17, 4, 30, 9, 9, 2, 0, 31, 13, 5, 26, 17, 2], "token_types": [0] * 7 + [1] * 7},
        {"ids": [1, 33, 40, 8, 20, 2], "token_types": [0, 0, 1, 1, 0, 1]},
        {"ids": [7], "token_types": [0]},
    ],
    "distilbert": [
        {"ids": [1, 17, 4, 30, 9, 9, 22, 0, 31, 13, 5, 26, 17, 2]}, {"ids": [1, 33, 38, 8, 20, 2]}, {"ids": [7, 2]},
    ],
    "roberta": ROBERTA_INPUTS,
    "xlm-roberta": ROBERTA_INPUTS,
    "mpnet": [
        {"ids": [0, 17, 4, 1, 30, 9, 9, 1, 1, 22, 3, 31, 13, 5, 26, 17, 8, 39, 28, 6, 11, 19, 4, 4, 24, 36, 7, 12, 33,
                 15, 20, 38, 10, 29, 21, 1]},
        {"ids": [0, 25, 34, 16, 18, 2]}, {"ids": [26]},
    ],
    "modernbert": [
        {"ids": [1, 17, 4, 30, 9, 9, 22, 3, 31, 13, 5, 26, 17, 43, 20, 2]}, {"ids": [1, 33, 38, 8, 2]}, {"ids": [7, 2]},
    ],
}


def case(family: str, variant: str) -> tuple[str, dict]:
    """The class of transformers that runs the variant, and its config.json."""
    fields, variants = FAMILIES[family]
    class_name, changes = variants[variant]
    named = {"architectures": [class_name]} | changes
    return class_name, {key: value for key, value in (fields | named).items() if value is not ABSENT}


def inputs(family: str, config: dict) -> list[dict]:
    """Token types are given where there is more than one of them."""
    if family == "bert" or config.get("type_vocab_size", 1) == 1:
        return INPUTS[family]
    return [{**one, "token_types": [place % 3 % 2 for place in range(len(one["ids"]))]} for one in INPUTS[family]]
