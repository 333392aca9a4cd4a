"""LoRA adapters of encrypted bases in stock PEFT: base + adapter must say what the plain pair says.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/interop/peft_adapter.py --equicrypt BINARY [--decoders DIR] [MODEL_TYPE]...

For the first variant of each family in tests/golden/decoders: PEFT makes an adapter of rank 4, filled at random, for the
plain folder, on all linear layers but the head, and but the MLP where there are experts. `BINARY encrypt --adapter` rewrites it for the encrypted folder of each profile.
`PeftModel.from_pretrained` loads both pairs, f32, nothing patched. The encrypted pair's logits for the cipher ids, put
back in the plain order, must be the plain pair's to 1e-4 of the largest; the plain adapter must have changed the plain
model, and must not fit the encrypted one.

A table goes to standard error, JSON to standard output. Exit status 0 only if every line holds.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from owner import Owner
from transformers_tiny import PROFILES, TOLERANCE, relative, write_plain

LINEAR = (torch.nn.Linear, Conv1D)
NOT_ADAPTED = {"lm_head", "gate", "gate_proj", "up_proj", "down_proj", "gate_up_proj", "shared_expert_gate"}
ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = parse()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        owner = Owner(options.equicrypt, Path(scratch) / "owner.key")
        owner.keygen()
        for file in sorted(options.decoders.glob("*.json")):
            if not options.families or file.stem in options.families:
                case = json.loads(file.read_text())["cases"][0]
                rows += measure(owner, Path(scratch) / file.stem, file.stem, case)
    failed = [row for row in rows if row["failure"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} hold", file=sys.stderr)
    print(json.dumps({"peft": peft.__version__, "transformers": transformers.__version__, "tolerance": TOLERANCE,
                      "hold": len(rows) - len(failed), "of": len(rows), "rows": rows}))
    return 0 if rows and not failed else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--decoders", type=Path, default=ROOT / "tests" / "golden" / "decoders")
    parser.add_argument("families", nargs="*", metavar="MODEL_TYPE")
    return parser.parse_args()


def measure(owner: Owner, folder: Path, family: str, case: dict) -> list[dict]:
    """One row for each profile."""
    plain_folder, adapter = folder / "plain", folder / "adapter"
    write_plain(plain_folder, case)
    alone = logits(load(plain_folder), case["ids"])
    modules = make_adapter(plain_folder, adapter)
    plain = logits(pair(plain_folder, adapter), case["ids"])
    rows = []
    for profile, flags in PROFILES.items():
        base, rewritten = folder / profile, folder / f"{profile}-adapter"
        owner.encrypt(plain_folder, base, "--dtype", "f32", *flags)
        owner.must("encrypt", plain_folder, "--adapter", adapter, "--base", base, "-o", rewritten, "--key", owner.key)
        vocabulary = owner.vocabulary(base)
        ids = vocabulary.encrypt(case["ids"])
        order = [vocabulary.classes(plain_id)[0] for plain_id in range(plain.shape[1])]
        found = logits(pair(base, rewritten), ids)[:, order]
        wrong = logits(pair(base, adapter), ids)[:, order]
        row = {"family": family, "profile": profile, "modules": modules, "difference": relative(found, plain),
               "adapter_changes": relative(alone, plain), "plain_adapter_on_encrypted": relative(wrong, plain)}
        holds = row["difference"] < TOLERANCE < min(row["adapter_changes"], row["plain_adapter_on_encrypted"])
        row["failure"] = None if holds else "see the differences"
        rows.append(row)
        print(f"{family:12} {profile:8} {modules:3} modules  encrypted {row['difference']:.1e}  without adapter "
              f"{row['adapter_changes']:.1e}  plain adapter {row['plain_adapter_on_encrypted']:.1e}  "
              f"{row['failure'] or 'holds'}", file=sys.stderr)
    return rows


def make_adapter(plain_folder: Path, adapter: Path) -> int:
    """Returns how many linear layers it is for."""
    torch.manual_seed(1)
    model = load(plain_folder)
    # Experts are no linear layers to PEFT but one parameter, and their adapters are refused.
    excluded = NOT_ADAPTED if any("experts" in name for name, _ in model.named_modules()) else {"lm_head"}
    layers = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, LINEAR)}
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=sorted(layers - excluded))
    model = get_peft_model(model, config)
    filled = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
    for parameter in filled:
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(adapter)
    return len(filled) // 2


def load(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                experts_implementation="eager").eval()


def pair(base: Path, adapter: Path) -> torch.nn.Module:
    return PeftModel.from_pretrained(load(base), adapter).eval()


@torch.no_grad()
def logits(model: torch.nn.Module, ids: list[int]) -> np.ndarray:
    return model(torch.tensor([ids]), use_cache=False).logits[0].numpy().astype(np.float64)


if __name__ == "__main__":
    sys.exit(main())
