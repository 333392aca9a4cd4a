"""Search in stock vector databases that see encrypted vectors only.

    equicrypt fetch minilm-l6-v2 -o minilm
    tools/setup_venv.sh venv && python3 -m venv vectors && vectors/bin/pip install -r examples/vector_search.txt
    venv/bin/python examples/vector_search.py --minilm minilm --equicrypt target/release/equicrypt --databases vectors

Three thousand passages of real text (Debian packages, fetched with apt-get download) and two hundred queries:

 1. plain:      sentence-transformers on the plain model, exact neighbours by inner product;
 2. encrypted:  `equicrypt serve` runs the encrypted model, which sees cipher ids and gives vectors of its own coordinates;
                `equicrypt embed --encrypted` decrypts them and encrypts them again for the database, which sees a secret
                rotation and scale of every vector, and with `--perturb B` noise;
 3. databases:  a Chroma server in a process of its own, and LanceDB; both are asked with encrypted queries.

Printed for each B: recall@10 of each database against the plain neighbours; and what a database can do that knows the
plain vectors of some passages: the mean cosine with which it recovers all others, by the better of least squares and the
orthogonal Procrustes fit. Exit status 0 only if recall is 1 without noise.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools" / "train"), str(ROOT / "tools" / "interop")]
import debian_texts  # noqa: E402
from owner import Owner  # noqa: E402

PASSAGES, QUERIES, NEIGHBOURS = 3000, 200, 10
KNOWN = (50, 200, 400, 1000, 2000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minilm", type=Path, required=True, help="the folder that `fetch minilm-l6-v2` makes")
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary")
    parser.add_argument("--databases", type=Path, required=True, help="an environment with examples/vector_search.txt")
    parser.add_argument("--perturb", type=float, nargs="*", default=[0.1, 0.2, 0.4, 0.8, 1.6])
    parser.add_argument("--packages", type=Path, help="where the Debian packages are kept")
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        passages, queries = texts(options.packages or work)
        model = SentenceTransformer(str(options.minilm), device="cpu")
        plain = [model.encode(part, batch_size=32).astype(np.float64) for part in (passages, queries)]
        truth = nearest(*plain)
        owner = Owner(options.equicrypt, work / "owner.key")
        owner.keygen()
        owner.encrypt(options.minilm, work / "encrypted")
        rows = []
        with Host(options.equicrypt, work / "encrypted") as host:
            for beta in [0.0, *options.perturb]:
                found = [embed(owner, options.minilm, host.url, part, beta) for part in (passages, queries)]
                row = {"perturb": beta, "exact": recall(nearest(*found, euclidean=True), truth)}
                row |= {name: recall(answers, truth) for name, answers in ask(options.databases, work, found).items()}
                row |= {f"known {count}": known_pairs(plain[0], found[0], count) for count in KNOWN}
                rows.append(row)
                print("  ".join(f"{name} {value:.4f}" for name, value in row.items()), file=sys.stderr, flush=True)
    print(json.dumps({"passages": len(passages), "queries": len(queries), "neighbours": NEIGHBOURS, "rows": rows}))
    return 0 if all(rows[0][name] == 1.0 for name in ("exact", "chroma", "lancedb")) else 1


def texts(folder: Path) -> tuple[list[str], list[str]]:
    sentences = [sentence.text for sentence in debian_texts.sentences(folder) if 40 <= len(sentence.text) <= 400]
    chosen = random.Random(7).sample(sentences, PASSAGES + QUERIES)
    return chosen[:PASSAGES], chosen[PASSAGES:]


def embed(owner: Owner, minilm: Path, url: str, part: list[str], beta: float) -> np.ndarray:
    """What the owner's machine hands to the database."""
    noise = ["--perturb", beta] if beta else []
    lines = owner.must("embed", "--model", minilm, "--key", owner.key, "--host", url, "--encrypted", *noise,
                       text="\n".join(part) + "\n").splitlines()
    if len(lines) != len(part):
        raise SystemExit(f"equicrypt embed: expected {len(part)} lines, found {len(lines)}")
    return np.array([json.loads(line)["embedding"] for line in lines])


def nearest(passages: np.ndarray, queries: np.ndarray, euclidean: bool = False) -> list[set[int]]:
    scores = queries @ passages.T
    if euclidean:
        scores = 2 * scores - (passages**2).sum(axis=1)
    return [set(map(int, row)) for row in np.argsort(-scores, axis=1)[:, :NEIGHBOURS]]


def recall(found: list, truth: list[set[int]]) -> float:
    return float(np.mean([len(set(answer) & best) / NEIGHBOURS for answer, best in zip(found, truth)]))


def ask(environment: Path, work: Path, vectors: list[np.ndarray]) -> dict[str, list]:
    """Runs vector_databases.py in its own environment: it has the vectors and nothing else."""
    np.savez(work / "vectors.npz", passages=vectors[0], queries=vectors[1])
    script = Path(__file__).with_name("vector_databases.py")
    python = environment / "bin" / "python"
    done = subprocess.run([python, script, work / "vectors.npz", str(NEIGHBOURS)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{script.name} left with status {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def known_pairs(plain: np.ndarray, encrypted: np.ndarray, count: int) -> float:
    """Mean cosine of the passages that are recovered from `count` known ones."""
    left, _, right = np.linalg.svd(encrypted[:count].T @ plain[:count])
    maps = [left @ right, np.linalg.lstsq(encrypted[:count], plain[:count], rcond=None)[0]]
    rest = plain[count:]
    cosines = []
    for found in (encrypted[count:] @ each for each in maps):
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(rest, axis=1)
        cosines.append(float(np.mean((found * rest).sum(axis=1) / lengths)))
    return max(cosines)


class Host:
    """`equicrypt serve` on a folder: a process that has no key."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.process = subprocess.Popen([binary, "serve", folder, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                                        text=True)
        self.url = self.process.stdout.readline().split(" on ")[-1].strip()

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


if __name__ == "__main__":
    sys.exit(main())
