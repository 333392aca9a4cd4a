"""Sentence embeddings a second: the encrypted MiniLM in `equicrypt serve`, the plain one in sentence-transformers.

    tools/setup_venv.sh VENV
    BINARY fetch minilm-l6-v2 -o MINILM
    VENV/bin/python tools/compare/minilm_throughput.py --equicrypt BINARY --minilm MINILM [--threads 2] [--rounds 9]

Both compute in f32 on the same texts of 128 tokens, in batches. sentence-transformers is called in its own process with
tensors of ids (no tokenizer); the encrypted model is asked over HTTP, JSON and base64 included. The two take turns, so that
what else the machine does meets both; each round's ratio is taken by itself, and the median is printed.

A table goes to standard error, JSON to standard output. Exit status 0 only if the answers are of the same texts: their
cosines with each other must be equal.
"""

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools" / "interop"))
TOKENS = 128


def main() -> int:
    options = parse()
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(options.threads)
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    from owner import Owner

    torch.set_num_threads(options.threads)
    model = SentenceTransformer(str(options.minilm), device="cpu")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        owner = Owner(options.equicrypt, Path(scratch) / "owner.key")
        owner.keygen()
        encrypted = Path(scratch) / "encrypted"
        owner.encrypt(options.minilm, encrypted)
        vocabulary = owner.vocabulary(encrypted)
        words = np.random.default_rng(1).integers(1000, 30000, (max(options.batch), TOKENS))
        cipher_of = np.empty(vocabulary.size, dtype=np.int64)
        cipher_of[vocabulary.plain_of] = np.arange(vocabulary.size)
        with Host(options.equicrypt, encrypted) as host:
            for size in options.batch:
                texts = words[:size]

                @torch.no_grad()
                def theirs() -> "np.ndarray":
                    ids = torch.from_numpy(texts)
                    features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                    return model(features)["sentence_embedding"].numpy()

                def ours() -> "np.ndarray":
                    return host.embed(cipher_of[texts].tolist())

                plain, found = theirs(), ours()
                if np.abs(plain @ plain.T - found @ found.T).max() > 1e-4:
                    raise SystemExit("the two did not embed the same texts")
                calls = max(1, options.texts // size)
                pairs = [(rate(theirs, calls, size), rate(ours, calls, size)) for _ in range(options.rounds)]
                ratio = statistics.median(b / a for a, b in pairs)
                row = {"batch": size, "tokens": TOKENS, "threads": options.threads,
                       "sentence_transformers": statistics.median(a for a, _ in pairs),
                       "equicrypt": statistics.median(b for _, b in pairs), "ratio": ratio}
                rows.append(row)
                print(f"batch {size:3}: sentence-transformers {row['sentence_transformers']:7.1f} texts/s, "
                      f"equicrypt {row['equicrypt']:7.1f}, ratio {ratio:.2f}", file=sys.stderr, flush=True)
    print(json.dumps({"torch": torch.__version__, "rows": rows}))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary, a release build")
    parser.add_argument("--minilm", type=Path, required=True, help="the folder that `fetch minilm-l6-v2` makes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--texts", type=int, default=64, help="texts in a round, at least")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8, 32])
    return parser.parse_args()


def rate(run: object, calls: int, size: int) -> float:
    """Texts a second."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return calls * size / (time.perf_counter() - start)


class Host:
    """`equicrypt serve` on a folder."""

    def __init__(self, binary: Path, folder: Path) -> None:
        # Nothing of a measurement is kept.
        self.state = tempfile.TemporaryDirectory()
        env = {**os.environ, "XDG_STATE_HOME": self.state.name}
        self.process = subprocess.Popen([binary, "serve", folder, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                                        text=True, env=env)
        self.url = self.process.stdout.readline().split(" on ")[-1].strip()

    def embed(self, ids: list[list[int]]) -> "np.ndarray":
        import numpy as np

        body = json.dumps({"input": ids, "encoding_format": "base64"}).encode()
        request = urllib.request.Request(f"{self.url}/v1/embeddings", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as response:
            data = json.load(response)["data"]
        return np.array([np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4") for entry in data])

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.state.cleanup()


if __name__ == "__main__":
    sys.exit(main())
