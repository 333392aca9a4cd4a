"""Sentence embeddings of an encrypted MiniLM in stock sentence-transformers, against the plain ones.

    tools/setup_venv.sh VENV
    BINARY fetch minilm-l6-v2 -o MINILM
    VENV/bin/python tools/interop/sentence_transformers_minilm.py --equicrypt BINARY --minilm MINILM

Both folders are loaded by `SentenceTransformer`, f32, nothing patched. The encrypted one, once under `permute`, once under
`rotate --rotate-output`, is given the texts of tests/golden/minilm_tokens.json as cipher ids, and as the pieces "t17 t5"
of its own tokenizer, which must give the same. Compared: the cosines of all pairs of texts, which encryption must not
change, and the coordinates, which it must.

A table goes to standard error, JSON to standard output. Exit status 0 only if every line holds.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer

from owner import Owner

ROOT = Path(__file__).resolve().parents[2]
COSINES = 1e-6
WAYS = {"permute": ["--profile", "permute"], "rotate --rotate-output": ["--profile", "rotate", "--rotate-output"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--minilm", type=Path, required=True, help="the folder that `fetch minilm-l6-v2` makes")
    options = parser.parse_args()
    torch.set_num_threads(2)
    texts = [case["ids"] for case in json.loads((ROOT / "tests/golden/minilm_tokens.json").read_text())["cases"]]
    plain = embed(SentenceTransformer(str(options.minilm), device="cpu"), texts)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        owner = Owner(options.equicrypt, Path(scratch) / "owner.key")
        owner.keygen()
        for number, (way, flags) in enumerate(WAYS.items()):
            folder = Path(scratch) / str(number)
            owner.encrypt(options.minilm, folder, *flags)
            cipher = split(owner.vocabulary(folder).encrypt([i for text in texts for i in text]), texts)
            model = SentenceTransformer(str(folder), device="cpu")
            found = embed(model, cipher)
            pieces = model.encode([" ".join(f"t{i}" for i in ids) for ids in cipher])
            row = {"way": way, "texts": len(texts),
                   "cosines": float(np.abs(found @ found.T - plain @ plain.T).max()),
                   "pieces": float(np.abs(pieces - found).max()),
                   "same_coordinate": float(np.mean(np.abs(found - plain) < 1e-6)),
                   "same_values": float(np.abs(np.sort(np.abs(found)) - np.sort(np.abs(plain))).max())}
            # Under permute the numbers are the same in another order; the rotation must hide them too.
            hidden = row["same_values"] < 1e-5 if way == "permute" else row["same_values"] > 1e-3
            row["holds"] = row["cosines"] < COSINES and row["pieces"] < 1e-6 and row["same_coordinate"] < 0.01 and hidden
            rows.append(row)
            print(f"{way:24} cosines of all pairs to {row['cosines']:.1e}, text pieces to {row['pieces']:.1e}, "
                  f"{100 * row['same_coordinate']:.2f} % of coordinates in place {'ok' if row['holds'] else 'FAILED'}",
                  file=sys.stderr)
    print(json.dumps({"sentence_transformers": sentence_transformers.__version__, "torch": torch.__version__,
                      "rows": rows}))
    return 0 if all(row["holds"] for row in rows) else 1


@torch.no_grad()
def embed(model: SentenceTransformer, texts: list[list[int]]) -> np.ndarray:
    vectors = []
    for ids in texts:
        features = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        vectors.append(model(features)["sentence_embedding"][0].numpy())
    return np.array(vectors, dtype=np.float64)


def split(ids: list[int], like: list[list[int]]) -> list[list[int]]:
    rest = iter(ids)
    return [[next(rest) for _ in text] for text in like]


if __name__ == "__main__":
    sys.exit(main())
