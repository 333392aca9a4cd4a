"""What encryption costs where an encrypted model runs: the same engine on the encrypted and on the plain model, in pairs.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/compare/overhead.py --equicrypt BINARY --model SMOLLM2 --llama-build DIR [--rounds 15]
        [--engine equicrypt llama.cpp transformers] [--variant permute rotate untied] [--requests 1 4 16]
        [--dtype f32|bf16|q8_0] [--scratch DIR] [--threads 2]

A round asks the plain model and the encrypted one the same questions, one directly after the other, and every second round
the other way round: as many requests at once as --requests says (transformers: as one batch), each of 32 ids of its own and
64 ids to answer. Its ratio is encrypted over plain, of the ids a second that all requests together got, and of the mean
time to their first. Above 1 is better for the first, worse for the second. The goal is a median from 0.98 to 1.02.

`permute` and `rotate` are profiles of `equicrypt encrypt`. `rotate` unties a tied head; `untied` is the plain model with its
head untied by a copy, and tells what that alone costs. For llama.cpp the plain model is made a GGUF file by `equicrypt
export`, the encrypted one by `equicrypt encrypt --format gguf`; --dtype is how the file's weights are stored, what
transformers computes in, and the `serve --dtype` of a build that has it.

Before anything is timed the pair must compute the same: under `permute` and `untied` at f32 the same answers, otherwise (both
round differently) the same next id at 90 of 100 places. A table goes to standard error, JSON to standard output. All of it
takes about forty minutes; each of the options above leaves something out.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from decoder_engines import DTYPES, Answer, Equicrypt, LlamaCpp, Transformers
from decoder_models import VARIANTS, Ids, Models, weights_bytes
from rounds import machine, show, spread, use_threads

sys.path.append(str(Path(__file__).resolve().parents[1] / "interop"))
import llama_build  # noqa: E402
from llama_answers import prompt_ids  # noqa: E402
from owner import Owner  # noqa: E402

ENGINES = ["equicrypt", "llama.cpp", "transformers"]
PROMPT, NEW = 32, 64
CHECKED_PROMPTS, CHECKED_IDS = 3, 48
SAME = 0.9
PAUSE = 0.2


class Side:
    """A running engine with the ids that its model was made for."""

    def __init__(self, engine: object, ids: Ids, size: int) -> None:
        self.engine, self.ids, self.bytes = engine, ids, size

    def ask(self, prompts: list[list[int]], count: int) -> list[Answer]:
        return self.engine.ask([self.ids.encrypt(prompt) for prompt in prompts], count)

    def answer(self, prompt: list[int]) -> list[int]:
        return self.ids.decrypt(self.ask([prompt], CHECKED_IDS)[0].ids)

    def follow(self, prompt: list[int], answer: list[int]) -> list[int]:
        return self.ids.decrypt(self.engine.follow(self.ids.encrypt(prompt), self.ids.encrypt(answer)))


def main() -> int:
    options = parse()
    use_threads(options.threads)
    rows = []
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = Models(Owner(options.equicrypt, scratch / "owner.key"), options.model, scratch)
        prompts = prompt_ids(options.model, CHECKED_PROMPTS)
        for name in options.engine:
            for variant in options.variant:
                with contextlib.ExitStack() as running:
                    plain, other = (side(options, models, name, which, scratch, running) for which in ("plain", variant))
                    exact = variant != "rotate" and options.dtype == "f32"
                    same = check(f"{name}, {variant}", plain, other, prompts, exact)
                    for requests in options.requests:
                        row = {"engine": name, "variant": variant, "dtype": options.dtype, "requests": requests,
                               "weights": other.bytes / plain.bytes, "same_ids": same} | paired(options, plain, other, requests)
                        rows.append(row)
                        show(described(row))
    print(json.dumps({"machine": machine(options.threads), "prompt": PROMPT, "new": NEW, "rows": rows}))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary, a release build")
    parser.add_argument("--model", type=Path, required=True, help="a plain decoder's Hugging Face folder")
    parser.add_argument("--llama-build", type=Path, help="a folder for llama.cpp's build, used again if it is there")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--variant", nargs="+", choices=VARIANTS[1:], default=["permute", "rotate", "untied"])
    parser.add_argument("--requests", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="keep what is made of the model here, for the next time")
    options = parser.parse_args()
    if options.llama_build is None and "llama.cpp" in options.engine:
        parser.error("llama.cpp needs --llama-build DIR; or leave it out with --engine equicrypt transformers")
    if options.dtype == "q8_0" and "transformers" in options.engine:
        parser.error("transformers has no q8_0; leave it out with --engine equicrypt llama.cpp")
    options.vocab_size = json.loads((options.model / "config.json").read_text())["vocab_size"]
    options.random = random.Random(time.time_ns())
    return options


def side(options: argparse.Namespace, models: Models, name: str, variant: str, scratch: Path,
         running: contextlib.ExitStack) -> Side:
    places = max(options.requests)
    if name == "llama.cpp":
        file = models.gguf(variant, options.dtype)
        engine = LlamaCpp(llama_build.llama_server(options.llama_build), file, scratch / f"llama-{variant}.log",
                          options.threads, places=places, context=256)
        vocabulary = models.vocabulary(file.parent)
    else:
        file = models.folder(variant)
        engine = (Equicrypt(options.equicrypt, file, options.dtype, places) if name == "equicrypt"
                  else Transformers(file, options.dtype, options.threads))
        vocabulary = models.vocabulary(file)
    return Side(running.enter_context(engine), vocabulary, weights_bytes(file))


def check(name: str, plain: Side, other: Side, prompts: list[list[int]], exact: bool) -> float:
    """The share of ids that are the same; the pair is not measured if they are too few."""
    pairs = []
    for prompt in prompts:
        expected = plain.answer(prompt)
        found = other.answer(prompt) if exact else other.follow(prompt, expected)
        pairs += zip(expected, found, strict=True)
    share = sum(one == other for one, other in pairs) / len(pairs)
    if share < (1 if exact else SAME):
        raise SystemExit(f"{name}: {share:.1%} of the plain model's ids; the pair does not compute the same, and is not "
                         "measured")
    return share


def paired(options: argparse.Namespace, plain: Side, other: Side, requests: int) -> dict:
    rates: list[tuple[float, float]] = []
    firsts: list[tuple[float, float]] = []
    for number in range(-1, options.rounds):
        prompts = [[options.random.randrange(options.vocab_size) for _ in range(PROMPT)] for _ in range(requests)]
        found = {}
        for one in (plain, other) if number % 2 else (other, plain):
            time.sleep(PAUSE)
            found[one] = speed(one.ask(prompts, NEW))
        # The first round warms up.
        if number >= 0:
            rates.append((found[plain][0], found[other][0]))
            firsts.append((found[plain][1], found[other][1]))
    return {"plain": {"rate": spread([pair[0] for pair in rates]), "first": spread([pair[0] for pair in firsts])},
            "encrypted": {"rate": spread([pair[1] for pair in rates]), "first": spread([pair[1] for pair in firsts])},
            "rate_ratio": spread([other / plain for plain, other in rates]),
            "first_ratio": spread([other / plain for plain, other in firsts])}


def speed(answers: list[Answer]) -> tuple[float, float]:
    """Ids a second of all answers together, and the mean time to their first ids."""
    seconds = max(answer.came[-1] for answer in answers) - min(answer.sent for answer in answers)
    return sum(len(answer.ids) for answer in answers) / seconds, statistics.mean(answer.first for answer in answers)


def described(row: dict) -> str:
    return (f"{row['engine']:12} {row['variant']:7} {row['dtype']:4} {row['requests']:2} at once: "
            f"{row['plain']['rate']['median']:6.1f} -> {row['encrypted']['rate']['median']:6.1f} ids/s, "
            f"ratio {interval(row['rate_ratio'])}; first id {1000 * row['plain']['first']['median']:6.1f} -> "
            f"{1000 * row['encrypted']['first']['median']:6.1f} ms, ratio {interval(row['first_ratio'])}; "
            f"{row['weights']:.2f} times the bytes, {row['same_ids']:.1%} same ids")


def interval(ratio: dict) -> str:
    return (f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}] "
            f"({ratio['min']:.3f} to {ratio['max']:.3f})")


if __name__ == "__main__":
    sys.exit(main())
