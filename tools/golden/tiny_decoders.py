"""Golden logits of tiny decoders of every supported family, whose weights a formula gives.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/golden/tiny_decoders.py tests/golden/decoders [MODEL_TYPE]...

One JSON a family, named by its model_type. For each variant of tiny_variants.py: `save_pretrained` names the tensors of
its checkpoint, the formula of tiny_weights.py fills them, and `from_pretrained` loads that checkpoint, so that the
names and the layout are those of a file and not of transformers' modules. The logits are computed in float64 throughout
(float64.py), with eager attention and without a cache, and stored for every second position. `f32_error` is the largest
difference of any logit from the stock f32 model's.

Nothing is written unless transformers took every field of the config, and unless a second computation, which shares no
code with transformers (decoder_reference.py), gives the same logits.
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
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import decoder_reference
import float64
import golden_json
import tiny_variants
import tiny_weights

PROMPT = [1, 17, 4, 30, 9, 9, 22, 0, 31, 13, 5, 26, 17, 2]
POSITIONS = list(range(1, len(PROMPT), 2))
AGREEMENT = 1e-11
LARGEST_F32_ERROR = 1e-4


def main(out: Path, families: list[str]) -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for family in families:
        cases = [measure(family, variant) for variant in tiny_variants.FAMILIES[family][1]]
        golden_json.write(out / f"{family}.json", {
            "about": f"logits of tiny {family} models; made by tools/golden/tiny_decoders.py",
            "weights": tiny_weights.FORMULA,
            "first_u_of_lm_head_weight": tiny_weights.uniform("lm_head.weight", 4),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "computed_in": "float64",
            "cases": cases,
        })
        print(f"{family}: {len(cases)} models, {(out / f'{family}.json').stat().st_size} bytes")


def measure(family: str, variant: str) -> dict:
    config = tiny_variants.config(family, variant)
    shapes = checkpoint_shapes(config)
    if (family, variant) == ("gpt2", "no-prefix"):
        shapes = first_published_names(shapes, config)
    weights = {name: tiny_weights.tensor(name, shape) for name, shape in shapes.items()}
    exact, single = logits(config, weights, check_taken)
    reference = decoder_reference.logits(config, weights, PROMPT)
    difference = float(np.abs(exact - reference).max())
    if difference > AGREEMENT:
        sys.exit(f"{family} {variant}: transformers and decoder_reference.py differ by {difference:.1e}")
    error = float(np.abs(single - exact).max())
    if error > LARGEST_F32_ERROR:
        sys.exit(f"{family} {variant}: f32 and f64 differ by {error:.1e}; is a router's choice a near tie?")
    print(f"{family:12} {variant:24} f32 {error:.1e}, reference {difference:.1e}, largest {np.abs(exact).max():.1f}")
    return {"name": variant, "config": config, "tensors": shapes, "ids": PROMPT, "f32_error": float(f"{error:.1e}"),
            "positions": POSITIONS,
            "logits": [[float(f"{value:.13g}") for value in exact[position]] for position in POSITIONS]}


def logits(config: dict, weights: dict[str, np.ndarray], check: Callable) -> tuple[np.ndarray, np.ndarray]:
    """[positions, vocab] in float64, and by the stock model in f32; `check(config, model)` sees the former."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), config, weights)
        single = run(load(Path(folder), torch.float32))
        with float64.everywhere():
            model = load(Path(folder), torch.float64).double()
            check(config, model)
            with float64.refusing_narrower():
                exact = run(model)
    return exact, single.astype(np.float64)


@torch.no_grad()
def run(model: torch.nn.Module) -> np.ndarray:
    return model(torch.tensor([PROMPT]), use_cache=False).logits[0].numpy()


def load(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
    wrong = {kind: names for kind, names in found.items() if names}
    if wrong:
        sys.exit(f"transformers does not load the checkpoint as it is: {wrong}")
    return model.eval()


def write_checkpoint(folder: Path, config: dict, weights: dict[str, np.ndarray]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def checkpoint_shapes(config: dict) -> dict[str, list[int]]:
    """What `save_pretrained` writes: tied heads are left out, experts are one by one."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
        with safe_open(Path(folder) / "model.safetensors", framework="np") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}


def first_published_names(shapes: dict[str, list[int]], config: dict) -> dict[str, list[int]]:
    """GPT-2's own files: no "transformer." in front, and each layer's causal mask, which is to be ignored."""
    named = {name.removeprefix("transformer."): shape for name, shape in shapes.items()}
    side = config["n_ctx"]
    masks = {f"h.{layer}.attn.bias": [1, 1, side, side] for layer in range(config["n_layer"])}
    return dict(sorted((named | masks).items()))


def check_taken(config: dict, model: torch.nn.Module) -> None:
    """Every field of the config must have reached the model's own config, old rope fields through rope_parameters."""
    taken = model.config
    if type(model).__name__ not in config["architectures"]:
        sys.exit(f"transformers made a {type(model).__name__} of {config['architectures']}")
    for field, value in config.items():
        if field in ROPE_FIELDS or field in NOT_KEPT:
            continue
        if field == "hidden_act" and value == "gelu" and config["model_type"] == "gemma":
            value = "gelu_pytorch_tanh"
        if field == "sliding_window" and config.get("use_sliding_window") is False:
            value = 0 if config["model_type"] == "qwen2_moe" else None
        if getattr(taken, field, "nothing") != value:
            sys.exit(f"{field} is {value}, transformers has {getattr(taken, field, 'nothing')}")
    if config["model_type"] != "gpt2":
        check_rope(config, model)


def check_rope(config: dict, model: torch.nn.Module) -> None:
    rope = model.config.rope_parameters
    rotary = model.base_model.rotary_emb
    kind, theta = rotary_kind(config), config.get("rope_theta", config.get("rotary_emb_base"))
    if config["model_type"] == "gemma3_text":
        kinds = {"full_attention": kind, "sliding_attention": "default"}
        thetas = {layer: rope[layer]["rope_theta"] for layer in kinds}
        expected = {"full_attention": theta, "sliding_attention": config["rope_local_base_freq"]}
        if rotary.rope_type != kinds or thetas != expected:
            sys.exit(f"transformers made {rope} of {config}")
        return
    partial = config.get("partial_rotary_factor", config.get("rotary_pct", 1.0))
    found = (rotary.rope_type, rope["rope_theta"], rope.get("partial_rotary_factor", 1.0))
    if found != (kind, theta, partial):
        sys.exit(f"transformers made {found} of {(kind, theta, partial)}")
    missing = {key: value for key, value in (config.get("rope_scaling") or {}).items() if rope.get(key) != value}
    if missing or rotary.inv_freq.dtype != torch.float64:
        sys.exit(f"the rotary embedding has {rotary.inv_freq.dtype} frequencies and lacks {missing}")


def rotary_kind(config: dict) -> str:
    scaling = config.get("rope_scaling") or {}
    return scaling.get("rope_type", scaling.get("type", "default"))


ROPE_FIELDS = {"rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor", "rotary_pct",
               "rotary_emb_base"}
# Not kept under the same name, or changed by `double()`; none of them changes a logit.
NOT_KEPT = {"torch_dtype", "sliding_window_pattern", "_sliding_window_pattern"}


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: tiny_decoders.py OUT_DIR [MODEL_TYPE]...")
    main(Path(sys.argv[1]), sys.argv[2:] or list(tiny_variants.FAMILIES))
