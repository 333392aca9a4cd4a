"""Sentence embeddings a second: MiniLM in equicrypt, encrypted and plain, in ONNX Runtime and in sentence-transformers.

    tools/setup_venv.sh VENV
    VENV/bin/python -m pip install --no-deps -r tools/compare/onnx-requirements.txt
    BINARY fetch minilm-l6-v2 -o MINILM
    VENV/bin/python tools/compare/minilm_throughput.py --equicrypt BINARY --minilm MINILM [--threads 2] [--rounds 9]
        [--batch 1 8 32] [--engine encrypted plain onnxruntime sentence-transformers]

All compute in f32 on the same texts of 128 tokens, in batches. sentence-transformers is called in this process with
tensors of ids (no tokenizer); ONNX Runtime too, on the graph that torch.onnx writes of the whole sentence-transformers
model, with all of its own optimisations. `encrypted` and `plain` are `equicrypt serve`, asked over HTTP, JSON and
base64 included. All take turns, each in another place of a round, so that what else the machine does meets all; each
round's ratio is taken by itself.

A table goes to standard error, JSON to standard output. Nothing is reported unless the answers are of the same texts: their
cosines with each other must be equal.
"""

import argparse
import base64
import contextlib
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rounds import machine, show, spread, turns, use_threads

sys.path.append(str(Path(__file__).resolve().parents[1] / "interop"))
from owner import Owner  # noqa: E402
from served import Served  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

OURS = ["encrypted", "plain"]
ENGINES = [*OURS, "onnxruntime", "sentence-transformers"]
TOKENS = 128
SAME_COSINES = 1e-4
# From this one on there is an operator for attention, which ONNX Runtime computes faster than its parts.
OPSET = 23
PAUSE = 0.1

# Rows of ids to rows of embeddings, both of numpy.
Embed = Callable[["np.ndarray"], "np.ndarray"]


def main() -> int:
    options = parse()
    use_threads(options.threads)
    import numpy as np
    import torch

    torch.set_num_threads(options.threads)
    random = np.random.default_rng()
    rows = []
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = {name: started(options, name, scratch, stack) for name in options.engine}
        for size in options.batch:
            texts = random.integers(1000, 30000, (size, TOKENS))
            check(engines, texts)
            rows += measured(options, engines, texts)
    print(json.dumps({"machine": machine(options.threads), "torch": torch.__version__, "rows": rows}))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary, a release build")
    parser.add_argument("--minilm", type=Path, required=True, help="the folder that `fetch minilm-l6-v2` makes")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--texts", type=int, default=64, help="texts in a turn, at least")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    return parser.parse_args()


def started(options: argparse.Namespace, name: str, scratch: Path, stack: contextlib.ExitStack) -> Embed:
    if name == "sentence-transformers":
        return of_sentence_transformers(sentence_transformer(options.minilm))
    if name == "onnxruntime":
        return of_onnxruntime(sentence_transformer(options.minilm), scratch / "model.onnx", options.threads)
    if name == "plain":
        return of_host(stack.enter_context(Served(options.equicrypt, "serve", options.minilm, "--listen", "127.0.0.1:0")))
    import numpy as np

    owner = Owner(options.equicrypt, scratch / "owner.key")
    owner.keygen()
    encrypted = scratch / "encrypted"
    owner.encrypt(options.minilm, encrypted)
    vocabulary = owner.vocabulary(encrypted)
    cipher_of = np.empty(vocabulary.size, dtype=np.int64)
    cipher_of[vocabulary.plain_of] = np.arange(vocabulary.size)
    embed = of_host(stack.enter_context(Served(options.equicrypt, "serve", encrypted, "--listen", "127.0.0.1:0")))
    return lambda texts: embed(cipher_of[texts])


def sentence_transformer(folder: Path) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return SentenceTransformer(str(folder), device="cpu").eval()


def of_sentence_transformers(model: "SentenceTransformer") -> Embed:
    import torch

    @torch.no_grad()
    def embed(texts: "np.ndarray") -> "np.ndarray":
        ids = torch.from_numpy(texts)
        return model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})["sentence_embedding"].numpy()

    return embed


def of_onnxruntime(model: "SentenceTransformer", file: Path, threads: int) -> Embed:
    import numpy as np
    import onnxruntime

    write_onnx(model, file)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    return lambda texts: session.run(None, {"input_ids": texts, "attention_mask": np.ones_like(texts)})[0]


def write_onnx(model: "SentenceTransformer", file: Path) -> None:
    """The whole model, pooling and norm included, for any batch and length."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    sides = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    ids = torch.ones(2, TOKENS, dtype=torch.long)
    # What the exporter prints is not the JSON that a caller waits for.
    with contextlib.redirect_stdout(sys.stderr):
        program = torch.onnx.export(Whole().eval(), (ids, ids.clone()), dynamo=True, verbose=False, opset_version=OPSET,
                                    input_names=["input_ids", "attention_mask"], output_names=["vectors"],
                                    dynamic_shapes={"input_ids": sides, "attention_mask": sides})
        program.save(file)


def of_host(host: Served) -> Embed:
    import numpy as np

    def embed(texts: "np.ndarray") -> "np.ndarray":
        body = json.dumps({"input": texts.tolist(), "encoding_format": "base64"}).encode()
        request = urllib.request.Request(f"{host.url}/v1/embeddings", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as response:
            data = json.load(response)["data"]
        return np.array([np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4") for entry in data])

    return embed


def check(engines: dict[str, Embed], texts: "np.ndarray") -> None:
    """Also warms every engine up. One text has no cosine but its own, so there are always some more."""
    import numpy as np

    several = np.concatenate([texts, texts[:, ::-1], np.roll(texts, 1, axis=1)])
    cosines = {name: (found := embed(several)) @ found.T for name, embed in engines.items()}
    first = next(iter(cosines))
    for name, found in cosines.items():
        if (difference := np.abs(found - cosines[first]).max()) > SAME_COSINES:
            raise SystemExit(f"{name} and {first} did not embed the same texts: cosines differ by {difference:.1e}")


def measured(options: argparse.Namespace, engines: dict[str, Embed], texts: "np.ndarray") -> list[dict]:
    calls = max(1, options.texts // len(texts))
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for order in turns(list(engines), options.rounds):
        for name in order:
            # What ran before may still spin for work.
            time.sleep(PAUSE)
            rates[name].append(rate(lambda: engines[name](texts), calls, len(texts)))
    rows = []
    for name in engines:
        row = {"engine": name, "batch": len(texts), "tokens": TOKENS, "texts_per_second": spread(rates[name]),
               "ratios": {ours: spread([a / b for a, b in zip(rates[ours], rates[name])])
                          for ours in OURS if ours in engines and ours != name}}
        rows.append(row)
        ratios = [f"{ours}/{name} {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
                  for ours, ratio in row["ratios"].items()]
        show(f"batch {len(texts):3}: {name:21} {row['texts_per_second']['median']:7.1f} texts/s  {', '.join(ratios)}")
    return rows


def rate(run: Callable[[], object], calls: int, size: int) -> float:
    """Texts a second."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return calls * size / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
