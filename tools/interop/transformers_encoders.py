"""Outputs of encrypted tiny encoders of every family in stock Hugging Face transformers, against the plain ones'.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/interop/transformers_encoders.py --equicrypt BINARY [MODEL_TYPE]...

For each variant of tests/golden/encoders: the plain folder (weights by the formula of tools/golden/tiny_weights.py, in
f32) and the folder that `BINARY encrypt --dtype f32` makes of it in each profile. Both are loaded by the class of
transformers that the variant names, eager attention, f32, nothing patched. The plain one's outputs must be the golden
ones. The encrypted one is given the cipher ids; logits of ids are put back in the plain order, and of other outputs, whose
order only the owner knows, each row must hold the same numbers: hidden states and labels in another order, a pooler's in
another order and with other signs.

A table goes to standard error, JSON to standard output. Exit status 0 only if every line holds.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from owner import Owner

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools" / "golden"))
import tiny_weights  # noqa: E402

TOLERANCE = 1e-4
STARTED = time.monotonic()
# Families that count positions from the padding id keep that one id.
KEEPS_PAD = ("roberta", "xlm-roberta", "mpnet")

Outputs = dict[str, np.ndarray]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("families", nargs="*", metavar="MODEL_TYPE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        owner = Owner(options.equicrypt, Path(scratch) / "owner.key")
        owner.keygen()
        for file in sorted((ROOT / "tests" / "golden" / "encoders").glob("*.json")):
            if not options.families or file.stem in options.families:
                for case in json.loads(file.read_text())["cases"]:
                    rows += measure(owner, Path(scratch) / file.stem / case["name"], file.stem, case)
    failed = [row for row in rows if row["failure"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} hold", file=sys.stderr)
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__, "dtype": "f32",
                      "tolerance": TOLERANCE, "hold": len(rows) - len(failed), "of": len(rows),
                      "seconds": round(time.monotonic() - STARTED, 1), "rows": rows}))
    return 0 if rows and not failed else 1


def measure(owner: Owner, folder: Path, family: str, case: dict) -> list[dict]:
    plain_folder = folder / "plain"
    write_plain(plain_folder, case)
    plain = outputs(plain_folder, case, [entry["ids"] for entry in case["inputs"]])
    golden = max(off(found, entry, case) for found, entry in zip(plain, case["inputs"]))
    rows = []
    for profile in ("permute", "rotate"):
        row = {"family": family, "variant": case["name"], "profile": profile, "plain_to_golden": golden,
               "difference": None, "failure": None}
        try:
            row["difference"] = compare(owner, plain_folder, folder / profile, family, case, plain)
            if row["difference"] > TOLERANCE or golden > TOLERANCE:
                row["failure"] = "outputs differ"
        except (Exception, SystemExit) as error:
            row["failure"] = f"{type(error).__name__}: {error}"
        rows.append(row)
        difference = "-" if row["difference"] is None else f"{row['difference']:.1e}"
        print(f"{family:12} {case['name']:26} {profile:8} {difference:8} {row['failure'] or 'ok'}", file=sys.stderr)
    return rows


def compare(owner: Owner, plain_folder: Path, folder: Path, family: str, case: dict, plain: list[Outputs]) -> float:
    """The largest difference of any number, relative to the largest number of its kind."""
    owner.encrypt(plain_folder, folder, "--dtype", "f32", "--profile", folder.name)
    check_config(folder, family)
    vocabulary = owner.vocabulary(folder)
    texts = [owner_ids(vocabulary, entry["ids"]) for entry in case["inputs"]]
    order = [vocabulary.classes(plain_id)[0] for plain_id in range(vocabulary.size)]
    worst = 0.0
    for ours, theirs in zip(plain, outputs(folder, case, texts)):
        for name, expected in ours.items():
            found = theirs[name]
            if name == "logits" and case["class"].endswith("ForMaskedLM"):
                found = found[..., order]
            elif name == "pooled":
                expected, found = np.sort(np.abs(expected)), np.sort(np.abs(found))
            else:
                expected, found = np.sort(expected), np.sort(found)
            worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst


def owner_ids(vocabulary, ids: list[int]) -> list[int]:
    """A text of one id that is kept encrypts to itself, which a longer one must not."""
    return vocabulary.encrypt(ids) if len(set(ids)) > 2 else vocabulary.tokens("encrypt", ids)


def check_config(folder: Path, family: str) -> None:
    stated = json.loads((folder / "config.json").read_text())
    for field in ("bos_token_id", "eos_token_id", "pad_token_id"):
        kept = field == "pad_token_id" and family in KEEPS_PAD
        if (stated.get(field, "absent") is None) == kept:
            raise SystemExit(f"config.json states {field} = {stated.get(field, 'nothing')}")
    names = stated.get("id2label", {}).values()
    if list(names) != [f"LABEL_{index}" for index in range(len(names))]:
        raise SystemExit("config.json names labels")


@torch.no_grad()
def outputs(folder: Path, case: dict, texts: list[list[int]]) -> list[Outputs]:
    # A folder without pooler would get one at random.
    extra = {"add_pooling_layer": False} if "no-pooler" in case["name"] else {}
    model = getattr(transformers, case["class"]).from_pretrained(folder, dtype=torch.float32,
                                                                 attn_implementation="eager", **extra).eval()
    answers = []
    for entry, ids in zip(case["inputs"], texts):
        types = {"token_type_ids": torch.tensor([entry["token_types"]])} if "token_types" in entry else {}
        found = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), **types)
        named = {"logits": found.get("logits"), "hidden": found.get("last_hidden_state"),
                 "pooled": found.get("pooler_output")}
        wanted = [name for name in named if name in entry]
        answers.append({name: named[name][0].numpy().astype(np.float64) for name in wanted})
    return answers


def off(found: Outputs, entry: dict, case: dict) -> float:
    worst = 0.0
    for name, values in found.items():
        expected = np.array(entry[name])
        if name == "logits" and "positions" in entry:
            values = values[entry["positions"]]
        worst = max(worst, float(np.abs(values - expected).max() / np.abs(expected).max()))
    return worst


def write_plain(folder: Path, case: dict) -> None:
    folder.mkdir(parents=True)
    config = case["config"] | {"architectures": [case["class"]]}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: tiny_weights.tensor(name, shape) for name, shape in case["tensors"].items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    sys.exit(main())
