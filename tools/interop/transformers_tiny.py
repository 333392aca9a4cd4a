"""Logits of encrypted tiny decoders of every family in stock Hugging Face transformers, against the plain ones'.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/interop/transformers_tiny.py --equicrypt BINARY [--decoders DIR] [--first-only]
        [--keep FOLDER] [MODEL_TYPE]...

For each variant of tests/golden/decoders: the plain folder (weights by the formula of tools/golden/tiny_weights.py, in
f32), the folder that `BINARY encrypt --dtype f32` makes of it in each profile, and with `--profile rotate --expand H`,
H twice the number of heads, where the family allows it. Both are loaded by `AutoModelForCausalLM.from_pretrained`, eager
attention and experts (the grouped kernels refuse rows this short), f32, nothing patched. The plain one's logits must be the golden ones; the encrypted one's logits for the
cipher ids, their columns put back in the plain order, must be the plain one's to 1e-4 of the largest.

So this checks what the project's own engine cannot: that the config.json that `encrypt` writes means to transformers
what was meant. Every field of the loaded config must be as in the plain folder, apart from those that an encryption
changes, and each warning about the encrypted config that the plain one did not cause is a failure too.

A table goes to standard error, JSON to standard output. Exit status 0 only if every line holds.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from owner import Owner, check_names_no_token

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools" / "golden"))
import tiny_weights  # noqa: E402

TOLERANCE = 1e-4
EXPANDING = ("llama", "mistral", "qwen3", "smollm3", "mixtral", "qwen3_moe", "phi3", "deepseek_v2", "deepseek_v3")
PROFILES = {"permute": ["--profile", "permute"], "rotate": ["--profile", "rotate"]}
CHANGES = {"bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"}
EXPANSION_CHANGES = {"hidden_size", "rms_norm_eps"}
# Null in the plain config, where transformers derives what the encrypted one states.
DERIVED = {"head_dim", "n_inner", "hidden_activation", "partial_rotary_factor"}
YARN_DEFAULTS = {"beta_fast": 32, "beta_slow": 1, "truncate": True}
# Fields that transformers keeps and its forward pass does not read in a model of that family; `encrypt` leaves them out.
NOT_READ = {
    "gemma2": {"hidden_act"},  # hidden_activation decides
    "gemma3_text": {"_sliding_window_pattern"},  # layer_types decides
    "gpt2": {"n_ctx"},  # n_positions decides
    "mixtral": {"router_aux_loss_coef"},  # training
    "phi3": {"attention_bias", "original_max_position_embeddings"},  # the latter counts under longrope only
    "smollm3": {"max_window_layers"},  # layer_types decides
}


def main() -> int:
    options = parse()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        work = options.keep or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        owner = Owner(options.equicrypt, work / "owner.key")
        if not owner.key.exists():
            owner.keygen()
        for file in sorted(options.decoders.glob("*.json")):
            if options.families and file.stem not in options.families:
                continue
            cases = json.loads(file.read_text())["cases"]
            for case in cases[:1] if options.first_only else cases:
                for row in measure(owner, work / file.stem / case["name"], file.stem, case):
                    rows.append(row)
                    print(line(row), file=sys.stderr)
    failed = [row for row in rows if row["failure"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} hold", file=sys.stderr)
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__, "dtype": "f32",
                      "tolerance": TOLERANCE, "hold": len(rows) - len(failed), "of": len(rows),
                      "seconds": round(time.monotonic() - STARTED, 1), "rows": rows}))
    return 0 if rows and not failed else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--decoders", type=Path, default=ROOT / "tests" / "golden" / "decoders")
    parser.add_argument("--first-only", action="store_true", help="only the first variant of each family")
    parser.add_argument("--keep", type=Path, help="leave the folders here")
    parser.add_argument("families", nargs="*", metavar="MODEL_TYPE")
    return parser.parse_args()


def measure(owner: Owner, folder: Path, family: str, case: dict) -> list[dict]:
    """One row for each way of encrypting this variant."""
    plain_folder = folder / "plain"
    write_plain(plain_folder, case)
    plain = Loaded(plain_folder, case["ids"])
    golden = np.array(case["logits"])
    golden_error = relative(plain.logits[case["positions"]], golden)
    heads = case["config"].get("num_attention_heads", case["config"].get("n_head"))
    ways = dict(PROFILES)
    if family in EXPANDING:
        ways[f"rotate +{2 * heads}"] = ["--profile", "rotate", "--expand", str(2 * heads)]
    rows = []
    for way, flags in ways.items():
        row = {"family": family, "variant": case["name"], "way": way, "plain_to_golden": golden_error,
               "difference": None, "top_1": None, "failure": None}
        try:
            row |= compare(owner, plain, plain_folder, folder / way.replace(" ", ""), case, flags)
        except (Exception, SystemExit) as error:
            row["failure"] = f"{type(error).__name__}: {error}"
        if golden_error > TOLERANCE:
            row["failure"] = f"the plain folder's logits are not the golden ones: {golden_error:.1e}"
        rows.append(row)
    if family not in EXPANDING:
        refused = owner.run("encrypt", plain_folder, "-o", folder / "expanded", "--key", owner.key, "--profile",
                            "rotate", "--expand", 2 * heads)
        if refused.returncode != 1 or "--expand" not in refused.stderr:
            rows[-1]["failure"] = f"--expand was not refused for {family}: status {refused.returncode}"
    return rows


def compare(owner: Owner, plain: "Loaded", plain_folder: Path, folder: Path, case: dict, flags: list[str]) -> dict:
    owner.encrypt(plain_folder, folder, "--dtype", "f32", *flags)
    check_names_no_token(folder)
    vocabulary = owner.vocabulary(folder)
    encrypted = Loaded(folder, vocabulary.encrypt(case["ids"]))
    order = [vocabulary.classes(plain_id)[0] for plain_id in range(plain.logits.shape[1])]
    found = encrypted.logits[:, order]
    changed = config_changes(plain.config, encrypted.config, "--expand" in flags)
    warnings = sorted(encrypted.warnings - plain.warnings)
    difference = relative(found, plain.logits)
    failures = []
    if difference > TOLERANCE:
        failures.append(f"logits differ by {difference:.1e} of the largest")
    if changed:
        failures.append(f"config fields [plain, encrypted]: {changed}")
    if warnings:
        failures.append(f"warnings: {warnings}")
    return {"difference": difference, "top_1": float((found.argmax(1) == plain.logits.argmax(1)).mean()),
            "failure": "; ".join(failures) or None}


def config_changes(plain: dict, encrypted: dict, expanded: bool) -> dict:
    """Fields of the loaded config whose meaning is another, as [plain, encrypted]."""
    free = CHANGES | NOT_READ.get(plain["model_type"], set()) | (EXPANSION_CHANGES if expanded else set())
    changed = {}
    for field in sorted((plain.keys() | encrypted.keys()) - free):
        before, after = plain.get(field), encrypted.get(field)
        spelled_out = field in DERIVED and before is None
        if not spelled_out and normal(before) != normal(after):
            changed[field] = [before, after]
    return changed


def normal(value: object) -> object:
    """A rope dictionary with its defaults spelled out and without the older of its two spellings of the type."""
    if not isinstance(value, dict):
        return value
    defaults = YARN_DEFAULTS if value.get("rope_type") == "yarn" else {}
    return defaults | {key: normal(item) for key, item in value.items() if key != "type"}


class Loaded:
    """A folder as stock transformers takes it: its config, what it warned of, and its logits for `ids`."""

    @torch.no_grad()
    def __init__(self, folder: Path, ids: list[int]) -> None:
        with recorded_warnings() as warnings:
            model, found = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
                output_loading_info=True)
            wrong = {kind: names for kind, names in found.items() if names}
            if wrong:
                raise ValueError(f"{folder.name}: transformers does not load the checkpoint as it is: {wrong}")
            self.logits = model.eval()(torch.tensor([ids]), use_cache=False).logits[0].numpy().astype(np.float64)
        self.config = {field: value for field, value in model.config.to_dict().items()
                       if field not in ("_name_or_path", "transformers_version", "dtype")}
        self.warnings = {text.replace(str(folder), "FOLDER") for text in warnings}


class recorded_warnings(logging.Handler):
    """Collects what transformers logs at WARNING and above, instead of printing it."""

    def __enter__(self) -> list[str]:
        self.texts = []
        self.logger = logging.getLogger("transformers")
        self.others, self.logger.handlers = self.logger.handlers, [self]
        return self.texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def __exit__(self, *error: object) -> None:
        self.logger.handlers = self.others


def write_plain(folder: Path, case: dict) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(case["config"]))
    weights = {name: tiny_weights.tensor(name, shape) for name, shape in case["tensors"].items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected value; infinite where a value is not a number."""
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def line(row: dict) -> str:
    difference = "-" if row["difference"] is None else f"{row['difference']:.1e}"
    return (f"{row['family']:12} {row['variant']:24} {row['way']:12} golden {row['plain_to_golden']:.1e}  "
            f"encrypted {difference:8} {row['failure'] or 'holds'}")


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
