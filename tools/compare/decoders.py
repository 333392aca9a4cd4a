"""Speed of one decoder in equicrypt, llama.cpp and transformers: decoding, reading a prompt, the time to the first token.

    tools/setup_venv.sh VENV
    VENV/bin/python tools/compare/decoders.py --equicrypt BINARY --model SMOLLM2 --llama-build DIR [--rounds 5]
        [--dtype f32 bf16 q8_0] [--engine equicrypt llama.cpp llama.cpp-no-fa transformers]
        [--measure decode prefill] [--context 128 1024 8192] [--scratch DIR] [--threads 2]

The plain model, token ids in and out, greedy, one request at a time: `decode` is the speed after the first of 128 ids that
follow a prompt of 16, `prefill` a prompt of 512 over the time to the first id after it. Prompts are drawn anew for every
request. `--context` measures decoding behind prompts of so many ids (the last that fit the model), which each engine has
read before and still holds. `llama.cpp` is llama-server with flash attention, `llama.cpp-no-fa` without; it is built in
--llama-build if it is not there. A build of equicrypt without `serve --dtype` has one way to compute, f32 on weights kept in
bf16 where that loses nothing, and is measured with it at f32 and at bf16. transformers has no q8_0.

Engines take turns in every round, each in another place of it; a ratio is taken within its round, then the median. Before
anything is timed the engine must compute the same: at f32 the ids of equicrypt's f32 answers exactly, at bf16 and q8_0 the
same next id at 95 and 90 of 100 places of those. A table goes to standard error, JSON to standard output. All of it takes
long; --engine, --dtype, --measure and --context leave something out, and --scratch keeps the files made for one model.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from decoder_engines import DTYPES, Answer, Equicrypt, LlamaCpp, Transformers, takes_dtype
from decoder_models import Models
from rounds import machine, show, spread, turns, use_threads

sys.path.append(str(Path(__file__).resolve().parents[1] / "interop"))
import llama_build  # noqa: E402
from llama_answers import prompt_ids  # noqa: E402
from owner import Owner  # noqa: E402

ENGINES = ["equicrypt", "llama.cpp", "llama.cpp-no-fa", "transformers"]
MEASURES = ["decode", "prefill"]
SHORT, NEW, LONG, BEHIND = 16, 128, 512, 64
CHECKED_PROMPTS, CHECKED_IDS = 4, 48
SAME = {"bf16": 0.95, "q8_0": 0.9}
PAUSE = 0.2


def main() -> int:
    options = parse()
    use_threads(options.threads)
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = Models(Owner(options.equicrypt, scratch / "owner.key"), options.model, scratch)
        found: dict[str, list] = {"speeds": [], "ratios": [], "contexts": []}
        expected = reference(options)
        for dtype in options.dtype:
            with contextlib.ExitStack() as running:
                engines = started(options, models, dtype, scratch, running)
                agreed = {name: check(name, engine, dtype, expected) for name, engine in engines.items()}
                if options.measure:
                    samples = measured(options, engines)
                    found["speeds"] += report(dtype, samples, agreed)
                    found["ratios"] += ratios(dtype, samples)
                for context in options.context:
                    found["contexts"] += behind(options, engines, dtype, context)
    print(json.dumps({"machine": machine(options.threads), "versions": versions(options)} | found))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--equicrypt", type=Path, required=True, help="the equicrypt binary, a release build")
    parser.add_argument("--model", type=Path, required=True, help="a plain decoder's Hugging Face folder")
    parser.add_argument("--llama-build", type=Path, help="a folder for llama.cpp's build, used again if it is there")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--measure", nargs="*", choices=MEASURES, default=MEASURES)
    parser.add_argument("--context", nargs="*", type=int, default=[128, 1024, 8192])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="keep what is made of the model here, for the next time")
    options = parser.parse_args()
    if options.llama_build is None and any(name.startswith("llama.cpp") for name in options.engine):
        parser.error("llama.cpp needs --llama-build DIR; or leave it out with --engine equicrypt transformers")
    options.config = json.loads((options.model / "config.json").read_text())
    options.random = random.Random(time.time_ns())
    return options


def reference(options: argparse.Namespace) -> list[tuple[list[int], list[int]]]:
    """Prompts, and the answers that every engine has to give."""
    with Equicrypt(options.equicrypt, options.model, "f32") as engine:
        return [(prompt, engine.ask([prompt], CHECKED_IDS)[0].ids)
                for prompt in prompt_ids(options.model, CHECKED_PROMPTS)]


def started(options: argparse.Namespace, models: Models, dtype: str, scratch: Path, running: contextlib.ExitStack) -> dict:
    engines = {}
    for name in options.engine:
        if name == "equicrypt":
            if dtype == "q8_0" and not takes_dtype(options.equicrypt):
                continue
            engine = Equicrypt(options.equicrypt, options.model, dtype)
        elif name == "transformers":
            if dtype == "q8_0":
                continue
            engine = Transformers(options.model, dtype, options.threads)
        else:
            longest = max([LONG + NEW, *(prompt_of(options, context) + BEHIND for context in options.context)])
            engine = LlamaCpp(llama_build.llama_server(options.llama_build), models.gguf("plain", dtype),
                              scratch / f"{name}-{dtype}.log", options.threads, flash=name == "llama.cpp", context=longest)
        engines[name] = running.enter_context(engine)
    return engines


def check(name: str, engine: object, dtype: str, expected: list[tuple[list[int], list[int]]]) -> float:
    """The share of ids that are as expected; the engine is not measured if they are too few."""
    if dtype == "f32":
        pairs = [pair for prompt, ids in expected
                 for pair in zip(ids, engine.ask([prompt], len(ids))[0].ids, strict=True)]
    else:
        pairs = [pair for prompt, ids in expected for pair in zip(ids, engine.follow(prompt, ids), strict=True)]
    share = sum(one == other for one, other in pairs) / len(pairs)
    if share < SAME.get(dtype, 1):
        raise SystemExit(f"{name} at {dtype} says {share:.1%} of equicrypt's f32 ids; it does not compute the same, and "
                         "is not measured")
    return share


def measured(options: argparse.Namespace, engines: dict) -> dict[str, dict[str, list[float]]]:
    """For each engine and column the values of all rounds."""
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in engines}

    def add(name: str, **values: float) -> None:
        for column, value in values.items():
            samples[name].setdefault(column, []).append(value)

    for order in turns(list(engines), options.rounds):
        for name in order:
            time.sleep(PAUSE)
            if "decode" in options.measure:
                answer = alone(engines[name], drawn(options, SHORT), NEW)
                add(name, decode=answer.decode_rate, first_short=answer.first)
            if "prefill" in options.measure:
                answer = alone(engines[name], drawn(options, LONG), 1)
                add(name, prefill=LONG / answer.first, first_long=answer.first)
    return samples


def behind(options: argparse.Namespace, engines: dict, dtype: str, context: int) -> list[dict]:
    """Decoding after a prompt of `context` ids that the engine holds."""
    prompt = drawn(options, prompt_of(options, context))
    for engine in engines.values():
        alone(engine, prompt, BEHIND, reuse=True)
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for order in turns(list(engines), options.rounds):
        for name in order:
            time.sleep(PAUSE)
            rates[name].append(alone(engines[name], prompt, BEHIND, reuse=True).decode_rate)
    rows = []
    for name in engines:
        row = {"dtype": dtype, "context": len(prompt), "engine": name, "decode": spread(rates[name])}
        if "equicrypt" in rates and name != "equicrypt":
            row["ratio"] = spread([ours / theirs for ours, theirs in zip(rates["equicrypt"], rates[name])])
        rows.append(row)
        ratio = f", equicrypt/{name} {described(row['ratio'])}" if "ratio" in row else ""
        show(f"{dtype:5} {name:16} behind {len(prompt):5} ids: {row['decode']['median']:7.1f} ids/s{ratio}")
    return rows


def prompt_of(options: argparse.Namespace, context: int) -> int:
    return min(context, options.config["max_position_embeddings"] - BEHIND)


def alone(engine: object, prompt: list[int], count: int, reuse: bool = False) -> Answer:
    return engine.ask([prompt], count, reuse)[0]


def drawn(options: argparse.Namespace, length: int) -> list[int]:
    return [options.random.randrange(options.config["vocab_size"]) for _ in range(length)]


def report(dtype: str, samples: dict, agreed: dict[str, float]) -> list[dict]:
    rows = []
    for name, columns in samples.items():
        rows.append({"dtype": dtype, "engine": name, "same_ids": agreed[name]}
                    | {column: spread(values) for column, values in columns.items()})
        parts = [shown(column, spread(values)["median"]) for column, values in columns.items()]
        show(f"{dtype:5} {name:16} {', '.join(parts)}; {agreed[name]:.1%} of ids as equicrypt in f32")
    return rows


def shown(column: str, value: float) -> str:
    if column in MEASURES:
        return f"{column} {value:7.1f} ids/s"
    return f"first id after {SHORT if column == 'first_short' else LONG} in {1000 * value:7.1f} ms"


def ratios(dtype: str, samples: dict) -> list[dict]:
    """equicrypt's figures over each other's; of llama.cpp's two ways, over the one with the better median."""
    rows = []
    ours = samples.get("equicrypt")
    for measure in MEASURES:
        if ours is None or measure not in ours:
            continue
        llama = [name for name in samples if name.startswith("llama.cpp")]
        best = [max(llama, key=lambda name: spread(samples[name][measure])["median"])] if llama else []
        for other in best + [name for name in samples if name == "transformers"]:
            ratio = spread([a / b for a, b in zip(ours[measure], samples[other][measure])])
            rows.append({"dtype": dtype, "measure": measure, "against": other, "ratio": ratio})
            show(f"{dtype:5} {measure:7} equicrypt/{other}: {described(ratio)}")
    return rows


def described(ratio: dict) -> str:
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


def versions(options: argparse.Namespace) -> dict:
    import torch
    import transformers

    return {"equicrypt_dtype": "as asked" if takes_dtype(options.equicrypt) else "one for all: f32, weights kept losslessly",
            "llama.cpp": f"{llama_build.PACKAGE} {llama_build.VERSION}", "torch": torch.__version__,
            "transformers": transformers.__version__}


if __name__ == "__main__":
    sys.exit(main())
