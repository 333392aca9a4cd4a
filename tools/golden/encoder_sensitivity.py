"""Shows that the golden encoders would notice a wrong flag, and which fields of a config transformers ignores.

    VENV/bin/python tools/golden/encoder_sensitivity.py

Each row changes fields of one variant's config, keeps the weights, and prints the largest difference of an output. A
field that should matter and changes nothing, or the other way round, is an error. Rows about the inputs follow: token
types, pads in the middle, and the order of the tokens.
"""

import sys

import numpy as np
import torch
import transformers

import encoder_reference
import encoder_variants
import tiny_weights
from encoder_variants import ABSENT
from tiny_encoders import Outputs, checkpoint_shapes, difference, run

MATTERS = 5e-4


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    wrong = 0
    for table, matters in ((USED, True), (IGNORED, False)):
        print("fields that matter" if matters else "fields that transformers ignores")
        for family, variant, changes in table:
            found = effect(family, variant, changes)
            fine = found > MATTERS if matters else found == 0
            wrong += not fine
            print(f"  {family:12} {variant:24} {found:8.1e} {'' if fine else 'WRONG'} {described(changes)}")
    print("inputs and weights that matter")
    for family, variant, what in INPUTS_USED:
        found = effect_of_inputs(family, variant, what)
        wrong += found <= MATTERS
        print(f"  {family:12} {variant:24} {found:8.1e} {'' if found > MATTERS else 'WRONG'} {what}")
    sys.exit(f"{wrong} rows are wrong" if wrong else 0)


def effect(family: str, variant: str, changes: dict) -> float:
    _, plain = encoder_variants.case(family, variant)
    changed = {key: value for key, value in (plain | changes).items() if value is not ABSENT}
    return difference(run(family, variant, changed, weights_of(family, variant), unchecked)["exact"],
                      exact(family, variant))


def effect_of_inputs(family: str, variant: str, what: str) -> float:
    """Through the second computation, which tiny_encoders.py holds to transformers'."""
    class_name, config = encoder_variants.case(family, variant)
    weights = weights_of(family, variant)
    answers = []
    for one in encoder_variants.inputs(family, config):
        ids, types = one["ids"], one.get("token_types")
        if what == "no token types":
            types = None
        if what == "positions count the pads":
            answers.append(CountingPads(config, weights).outputs(class_name, np.array(ids), types))
            continue
        if what.startswith("zero "):
            weights = {name: old * 0 if what.removeprefix("zero ") in name else old for name, old in weights.items()}
        answers.append(encoder_reference.outputs(config, class_name, weights, ids, types))
    return difference(answers, exact(family, variant))


class CountingPads(encoder_reference.Encoder):
    def positions(self, ids: np.ndarray) -> np.ndarray:
        return super().positions(ids * 0 + self.config["pad_token_id"] + 1)


def weights_of(family: str, variant: str) -> Outputs:
    return {name: tiny_weights.tensor(name, shape) for name, shape in checkpoint_shapes(family, variant).items()}


def exact(family: str, variant: str) -> list[Outputs]:
    if (family, variant) not in EXACT:
        _, config = encoder_variants.case(family, variant)
        EXACT[family, variant] = run(family, variant, config, weights_of(family, variant), unchecked)["exact"]
    return EXACT[family, variant]


def unchecked(config: dict, model: torch.nn.Module) -> None:
    """The fields of IGNORED are not taken: that is the point."""


def described(changes: dict) -> str:
    return ", ".join(f"{key} {'absent' if value is ABSENT else value}" for key, value in changes.items())


EXACT: dict[tuple[str, str], list[Outputs]] = {}

USED = [
    ("bert", "model", {"hidden_act": "relu"}),
    ("bert", "model", {"hidden_act": "gelu_new"}),
    ("bert", "model", {"num_attention_heads": 2}),
    ("bert", "model", {"layer_norm_eps": 1e-2}),
    ("bert", "model-no-pooler", {"hidden_act": "gelu"}),
    ("bert", "masked-lm", {"hidden_act": "gelu"}),
    ("bert", "masked-lm-first-names", {"hidden_act": "gelu"}),
    ("distilbert", "model", {"n_heads": 2}),
    ("distilbert", "model", {"activation": "relu"}),
    ("distilbert", "sequence-3-labels", {"activation": "relu"}),
    ("distilbert", "masked-lm-relu", {"activation": "gelu"}),
    ("roberta", "model", {"pad_token_id": 0}),
    ("roberta", "model", {"layer_norm_eps": 1e-2}),
    ("roberta", "masked-lm-relu", {"hidden_act": "gelu"}),
    ("xlm-roberta", "model-pad-3", {"pad_token_id": ABSENT}),
    ("mpnet", "model-called-masked-lm", {"hidden_act": "relu"}),
    ("mpnet", "model-called-masked-lm", {"layer_norm_eps": 1e-2}),
    ("modernbert", "model", {"local_attention": 8}),
    ("modernbert", "model", {"local_attention": 4}),
    ("modernbert", "model", {"local_attention": ABSENT}),
    ("modernbert", "model", {"global_attn_every_n_layers": 2}),
    ("modernbert", "model", {"global_rope_theta": 10000.0}),
    ("modernbert", "model", {"local_rope_theta": 160000.0}),
    ("modernbert", "model", {"num_attention_heads": 2}),
    ("modernbert", "model", {"hidden_activation": "relu"}),
    ("modernbert", "model-biases", {"local_attention": 6}),
    ("modernbert", "model-biases", {"global_attn_every_n_layers": ABSENT}),
    ("modernbert", "model-biases", {"global_rope_theta": ABSENT}),
    ("modernbert", "model-biases", {"local_rope_theta": ABSENT}),
    ("modernbert", "model-biases", {"norm_eps": 0.1}),
    ("modernbert", "model-new-fields", {"layer_types": ["full_attention"] * 4}),
    ("modernbert", "model-new-fields", {"layer_types": ABSENT}),
    ("modernbert", "model-new-fields", {"rope_parameters": ABSENT}),
    ("modernbert", "sequence-cls", {"classifier_pooling": "mean"}),
    ("modernbert", "sequence-mean", {"classifier_pooling": ABSENT}),
    ("modernbert", "sequence-mean", {"classifier_activation": "relu"}),
    ("modernbert", "token-5-labels", {"classifier_activation": ABSENT}),
]

IGNORED = [
    ("bert", "model", {"position_embedding_type": "relative_key"}),
    ("bert", "model", {"pad_token_id": 5}),
    ("bert", "sequence-3-labels", {"problem_type": "multi_label_classification"}),
    ("distilbert", "model", {"layer_norm_eps": 0.1}),
    ("distilbert", "model-relu-sinusoidal", {"sinusoidal_pos_embds": False}),
    ("distilbert", "sequence-3-labels", {"hidden_act": "relu"}),
    ("mpnet", "token-5-labels", {"pad_token_id": 5}),
    ("modernbert", "model", {"layer_norm_eps": 0.1}),
    ("modernbert", "model", {"hidden_act": "relu"}),
    ("modernbert", "model", {"position_embedding_type": "none"}),
    ("modernbert", "token-5-labels", {"classifier_pooling": "cls"}),
    ("modernbert", "model-new-fields", {"global_rope_theta": 3.0, "local_rope_theta": 3.0}),
    ("modernbert", "model-new-fields", {"global_attn_every_n_layers": 4}),
]

INPUTS_USED = [
    ("bert", "model", "no token types"),
    ("bert", "sequence-3-labels", "no token types"),
    ("roberta", "model", "no token types"),
    ("roberta", "model", "positions count the pads"),
    ("xlm-roberta", "token-5-labels", "positions count the pads"),
    ("mpnet", "masked-lm-36-buckets", "positions count the pads"),
    ("mpnet", "model-called-masked-lm", "zero relative_attention_bias"),
    ("mpnet", "sequence-3-labels", "zero relative_attention_bias"),
    ("bert", "masked-lm-first-names", "zero beta"),
    ("bert", "masked-lm", "zero cls.predictions.bias"),
    ("roberta", "masked-lm-relu", "zero lm_head.bias"),
    ("distilbert", "masked-lm", "zero vocab_projector.bias"),
    ("modernbert", "masked-lm", "zero decoder.bias"),
    ("modernbert", "token-5-labels", "zero head.dense.bias"),
    ("xlm-roberta", "model", "zero token_type_embeddings"),
]


if __name__ == "__main__":
    main()
