"""Golden outputs of tiny encoders of every supported family, whose weights a formula gives.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/golden/tiny_encoders.py tests/golden/encoders [MODEL_TYPE]...

One JSON a family, named by its model_type. For each variant of encoder_variants.py: `save_pretrained` names the tensors
of its checkpoint, the formula of tiny_weights.py fills them, and the class of transformers named in "class" loads that
checkpoint. The outputs are computed in float64 throughout (float64.py), with eager attention, one input at a time:
"hidden" and "pooled" of a bare encoder, "logits" of a sequence ([labels]) or of the listed positions ([labels or
vocabulary] each). `f32_error` is the largest difference of any of them from the stock f32 model's.

Nothing is written unless transformers took every field of the config, a second computation that shares no code with
transformers (encoder_reference.py) gives the same outputs, and a batch that is padded on the right gives them too. A
batch that is padded on the left does not: BERT and DistilBERT count positions from the first pad, and whatever is read
at the first position (a pooled vector, a sequence's logits, but for ModernBERT's mean) is then a pad's. What the other
families say of single positions stays. "padding" records the largest differences.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig

import encoder_reference
import encoder_variants
import float64
import golden_json
import tiny_weights
from tiny_decoders import write_checkpoint

AGREEMENT = 1e-11
LARGEST_F32_ERROR = 1e-4
FIRST_NAMES = {("bert", "masked-lm-first-names"), ("bert", "model-in-masked-lm-file")}
# What transformers finds in a file and leaves aside, and what it misses and fills at random.
LEFT_ASIDE = {
    ("bert", "masked-lm-first-names"): {"bert.pooler.", "cls.seq_relationship."},
    ("bert", "model-in-masked-lm-file"): {"cls."},
}
NOT_IN_FILE = {("bert", "model-no-pooler"): {"pooler."}}

Outputs = dict[str, np.ndarray]


def main(out: Path, families: list[str]) -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for family in families:
        cases = [measure(family, variant) for variant in encoder_variants.FAMILIES[family][1]]
        golden_json.write(out / f"{family}.json", {
            "about": f"outputs of tiny {family} models; made by tools/golden/tiny_encoders.py",
            "weights": tiny_weights.ENCODER_FORMULA,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "computed_in": "float64",
            "cases": cases,
        })
        print(f"{family}: {len(cases)} models, {(out / f'{family}.json').stat().st_size} bytes")


def measure(family: str, variant: str) -> dict:
    class_name, config = encoder_variants.case(family, variant)
    shapes = checkpoint_shapes(family, variant)
    weights = {name: tiny_weights.tensor(name, shape) for name, shape in shapes.items()}
    inputs = encoder_variants.inputs(family, config)
    found = run(family, variant, config, weights, check_taken)
    exact = found["exact"]
    reference = [encoder_reference.outputs(config, class_name, weights, one["ids"], one.get("token_types"))
                 for one in inputs]
    differences = {kind: difference(found[kind], exact) for kind in ("single", "right", "left")}
    differences["reference"] = difference(reference, exact)
    for kind, limit in (("reference", AGREEMENT), ("right", AGREEMENT), ("single", LARGEST_F32_ERROR)):
        if not differences[kind] <= limit:
            sys.exit(f"{family} {variant}: {kind} differs by {differences[kind]:.1e}")
    shown = ", ".join(f"{kind} {value:.1e}" for kind, value in differences.items())
    print(f"{family:12} {variant:24} {shown}, largest {max(np.abs(part).max() for part in parts(exact)):.1f}")
    return {"name": variant, "class": class_name, "config": config, "tensors": shapes,
            "f32_error": rounded(differences["single"], 2),
            "padding": {kind: rounded(differences[kind], 2) for kind in ("right", "left")},
            "inputs": [one | recorded(class_name, answer) for one, answer in zip(inputs, exact)]}


def recorded(class_name: str, answer: Outputs) -> dict:
    """Of a masked LM, every third position and the last."""
    if not class_name.endswith("MaskedLM"):
        return {name: listed(value) for name, value in answer.items()}
    length = len(answer["logits"])
    positions = sorted({*range(0, length, 3), length - 1})
    return {"positions": positions, "logits": listed(answer["logits"][positions])}


def listed(values: np.ndarray) -> list:
    return [listed(row) for row in values] if values.ndim > 1 else [rounded(value, 11) for value in values]


def rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def difference(found: list[Outputs], exact: list[Outputs]) -> float:
    """The largest difference of any number; infinite where an output is missing."""
    if [list(one) for one in found] != [list(one) for one in exact]:
        return float("inf")
    return max(float(np.abs(a - b).max()) for a, b in zip(parts(found), parts(exact)))


def parts(answers: list[Outputs]) -> list[np.ndarray]:
    return [value for answer in answers for value in answer.values()]


def run(family: str, variant: str, config: dict, weights: Outputs, check: Callable) -> dict[str, list[Outputs]]:
    """The outputs for each input: "exact" in float64, "single" by the stock f32 model, and in float64 as one batch that
    is padded on the "right" or on the "left". `check(config, model)` sees the float64 model."""
    inputs = encoder_variants.inputs(family, config)
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), config, weights)
        single = alone(load(family, variant, Path(folder), torch.float32), family, variant, inputs)
        with float64.everywhere():
            model = load(family, variant, Path(folder), torch.float64).double()
            check(config, model)
            with float64.refusing_narrower():
                return {"single": single, "exact": alone(model, family, variant, inputs),
                        "right": together(model, family, variant, inputs, on_the_left=False),
                        "left": together(model, family, variant, inputs, on_the_left=True)}


@torch.no_grad()
def alone(model: torch.nn.Module, family: str, variant: str, inputs: list[dict]) -> list[Outputs]:
    answers = []
    for one in inputs:
        types = {"token_type_ids": torch.tensor([one["token_types"]])} if "token_types" in one else {}
        found = outputs_of(model(input_ids=torch.tensor([one["ids"]]), **types), family, variant)
        answers.append({name: value[0].double().numpy() for name, value in found.items()})
    return answers


@torch.no_grad()
def together(model: torch.nn.Module, family: str, variant: str, inputs: list[dict], on_the_left: bool) -> list[Outputs]:
    longest = max(len(one["ids"]) for one in inputs)

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([[value] * (longest - len(row)) + row if on_the_left else
                             row + [value] * (longest - len(row)) for row in rows])

    ids = [one["ids"] for one in inputs]
    types = {"token_type_ids": padded([one["token_types"] for one in inputs], 0)} if "token_types" in inputs[0] else {}
    found = outputs_of(model(input_ids=padded(ids, model.config.pad_token_id),
                             attention_mask=padded([[1] * len(row) for row in ids], 0), **types), family, variant)
    answers = []
    for index, row in enumerate(ids):
        start = longest - len(row) if on_the_left else 0
        answers.append({name: (value[index] if value.ndim == 2 else value[index, start:start + len(row)]).numpy()
                        for name, value in found.items()})
    return answers


def outputs_of(found: object, family: str, variant: str) -> dict[str, torch.Tensor]:
    if "logits" in found:
        return {"logits": found.logits}
    pooled = found.get("pooler_output")
    if pooled is None or (family, variant) in NOT_IN_FILE:
        return {"hidden": found.last_hidden_state}
    return {"hidden": found.last_hidden_state, "pooled": pooled}


def load(family: str, variant: str, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    class_name, _ = encoder_variants.case(family, variant)
    model, found = getattr(transformers, class_name).from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    expected = {"unexpected_keys": LEFT_ASIDE, "missing_keys": NOT_IN_FILE}
    wrong = {}
    for kind, names in found.items():
        prefixes = expected.get(kind, {}).get((family, variant), set())
        others = [name for name in names if not name.startswith(tuple(prefixes))]
        unused = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]
        if others or unused:
            wrong[kind] = others + unused
    if wrong:
        sys.exit(f"{family} {variant}: transformers does not load the checkpoint as it is: {wrong}")
    return model.eval()


def checkpoint_shapes(family: str, variant: str) -> dict[str, list[int]]:
    """What `save_pretrained` writes: a tied head is left out. BERT's own files are BertForPreTraining's."""
    class_name, config = encoder_variants.case(family, variant)
    first = (family, variant) in FIRST_NAMES
    maker = getattr(transformers, "BertForPreTraining" if first else class_name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        maker(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
        with safe_open(Path(folder) / "model.safetensors", framework="np") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    if first:
        renamed = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new, old in renamed.items():
            shapes = {name.replace(new, old): shape for name, shape in shapes.items()}
    left_out = tuple(NOT_IN_FILE.get((family, variant), ()))
    return {name: shapes[name] for name in sorted(shapes) if not (left_out and name.startswith(left_out))}


def check_taken(config: dict, model: torch.nn.Module) -> None:
    """Every field of the config must have reached the model's own config, the old rope fields as rope_parameters."""
    taken = model.config
    for field, value in config.items():
        if field in ROPE_FIELDS or field in NOT_KEPT:
            continue
        if field == "id2label":
            value = {int(index): name for index, name in value.items()}
        if getattr(taken, field, "nothing") != value:
            sys.exit(f"{field} is {value}, transformers has {getattr(taken, field, 'nothing')}")
    if config["model_type"] == "modernbert" and "global_rope_theta" in config:
        check_rope_and_windows(config, model)


def check_rope_and_windows(config: dict, model: torch.nn.Module) -> None:
    every = config.get("global_attn_every_n_layers", 3)
    kinds = ["sliding_attention" if layer % every else "full_attention" for layer in range(config["num_hidden_layers"])]
    thetas = {"full_attention": config["global_rope_theta"], "sliding_attention": config["local_rope_theta"]}
    taken, rotary = model.config, model.base_model.rotary_emb
    found = {kind: taken.rope_parameters[kind]["rope_theta"] for kind in thetas}
    if (taken.layer_types, found, taken.sliding_window) != (kinds, thetas, config["local_attention"] // 2):
        sys.exit(f"transformers made {taken.layer_types}, {found}, {taken.sliding_window} of {config}")
    if {rotary.full_attention_inv_freq.dtype, rotary.sliding_attention_inv_freq.dtype} != {torch.float64}:
        sys.exit("the rotary embedding's frequencies are not in float64")


ROPE_FIELDS = {"global_rope_theta", "local_rope_theta", "global_attn_every_n_layers"}
# Not kept under the same name; none of them changes an output.
NOT_KEPT = {"gradient_checkpointing"}


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: tiny_encoders.py OUT_DIR [MODEL_TYPE]...")
    main(Path(sys.argv[1]), sys.argv[2:] or list(encoder_variants.FAMILIES))
