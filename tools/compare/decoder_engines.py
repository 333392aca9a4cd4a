"""Three engines that decode, asked in one way: token ids in, greedy token ids out, and when each id came.

`Equicrypt` is `equicrypt serve`, `LlamaCpp` a llama-server, both asked over HTTP; `Transformers` is `generate` in this
process. All are used in a `with` block. `ask(prompts, count)` sends all prompts at once (transformers: as one batch)
and returns their answers of `count` ids; nothing computed for an earlier prompt is used again unless `reuse` is set.
`follow(prompt, answer)` is the id that the engine would say at each place of `answer`. `Gateway` is `equicrypt gateway`
before an `Equicrypt`; it takes plain ids and answers with texts.
"""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1] / "interop"))
from llama_server import LlamaServer  # noqa: E402
from served import Served  # noqa: E402
from sse import stream  # noqa: E402

DTYPES = ["f32", "bf16", "q8_0"]


class Answer(NamedTuple):
    ids: list[int]
    sent: float
    came: list[float]

    @property
    def first(self) -> float:
        """Seconds to the first id."""
        return self.came[0] - self.sent

    @property
    def decode_rate(self) -> float:
        """Ids a second after the first."""
        return (len(self.ids) - 1) / (self.came[-1] - self.came[0])


class Text(NamedTuple):
    """An answer of which only the text is known: its pieces, and when each came."""

    pieces: list[str]
    sent: float
    came: list[float]

    @property
    def first(self) -> float:
        return self.came[0] - self.sent


class Equicrypt:
    def __init__(self, binary: Path, folder: Path, dtype: str, places: int = 16) -> None:
        flags = ["--dtype", dtype] if takes_dtype(binary) else []
        self.served = Served(binary, "serve", folder, "--listen", "127.0.0.1:0", "--max-batch", places, *flags)
        self.salts = itertools.count()

    def __enter__(self) -> "Equicrypt":
        self.served.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.served.__exit__()

    def ask(self, prompts: list[list[int]], count: int, reuse: bool = False) -> list[Answer]:
        return at_once([lambda prompt=prompt: self.one(prompt, count, reuse) for prompt in prompts])

    def one(self, prompt: list[int], count: int, reuse: bool) -> Answer:
        # Requests of another salt never share what was computed for a prefix.
        salt = "kept" if reuse else str(next(self.salts))
        sent, events = stream(self.served.url + "/inference/v1/generate", {
            "token_ids": prompt, "stream": True, "cache_salt": salt,
            "sampling_params": {"max_tokens": count, "temperature": 0.0, "ignore_eos": True}})
        return answer(sent, [(when, token) for when, event in events for choice in event["choices"]
                             for token in choice["token_ids"] or []], count, "equicrypt serve")

    def follow(self, prompt: list[int], answer: list[int]) -> list[int]:
        return step_by_step(self, prompt, answer)


class Gateway:
    def __init__(self, binary: Path, host: Equicrypt, model: Path, key: Path, ends: list[int]) -> None:
        self.served = Served(binary, "gateway", "--model", model, "--key", key, "--upstream", host.served.url,
                             "--listen", "127.0.0.1:0")
        # What `ignore_eos` is for a host.
        self.never = {str(end): -100 for end in ends}

    def __enter__(self) -> "Gateway":
        self.served.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.served.__exit__()

    def ask(self, prompts: list[list[int]], count: int) -> list[Text]:
        return at_once([lambda prompt=prompt: self.one(prompt, count) for prompt in prompts])

    def one(self, prompt: list[int], count: int) -> Text:
        sent, events = stream(self.served.url + "/v1/completions", {
            "prompt": prompt, "max_tokens": count, "temperature": 0, "logit_bias": self.never, "stream": True,
            "stream_options": {"include_usage": True}})
        given = sum(event["usage"]["completion_tokens"] for _, event in events if event.get("usage"))
        if given != count:
            raise SystemExit(f"equicrypt gateway gave {given} ids, not {count}")
        pieces = [(when, choice["text"]) for when, event in events for choice in event["choices"] if choice["text"]]
        return Text([text for _, text in pieces], sent, [when for when, _ in pieces])


class LlamaCpp:
    """With the cache of keys and values in f16, as llama.cpp does where nothing else is asked for."""

    def __init__(self, program: Path, gguf: Path, log: Path, threads: int, flash: bool = True, places: int = 1,
                 context: int = 1024) -> None:
        self.server = LlamaServer(program, gguf, log, "-np", places, "-c", places * context, "-fa", "on" if flash else "off",
                                  "-ctk", "f16", "-ctv", "f16", "--cache-ram", 0, threads=threads)

    def __enter__(self) -> "LlamaCpp":
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    def ask(self, prompts: list[list[int]], count: int, reuse: bool = False) -> list[Answer]:
        return at_once([lambda prompt=prompt: self.one(prompt, count, reuse) for prompt in prompts])

    def one(self, prompt: list[int], count: int, reuse: bool) -> Answer:
        # Its fastest way to the likeliest id: every other sampler, and sorting the vocabulary, is left out.
        sent, events = stream(f"http://127.0.0.1:{self.server.port}/completion", {
            "prompt": prompt, "n_predict": count, "samplers": ["top_k"], "top_k": 1, "temperature": 0.0, "ignore_eos": True,
            "return_tokens": True, "cache_prompt": reuse, "stream": True})
        return answer(sent, [(when, token) for when, event in events for token in event["tokens"]], count, "llama-server")

    def follow(self, prompt: list[int], answer: list[int]) -> list[int]:
        return step_by_step(self, prompt, answer)


class Transformers:
    def __init__(self, folder: Path, dtype: str, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        torch.set_num_threads(threads)
        kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()
        # A checkpoint's own settings would be merged into those of a call.
        self.model.generation_config = GenerationConfig()
        self.kept: tuple[list[int], object] = [], None

    def __enter__(self) -> "Transformers":
        return self

    def __exit__(self, *_: object) -> None:
        del self.model, self.kept

    def ask(self, prompts: list[list[int]], count: int, reuse: bool = False) -> list[Answer]:
        import torch
        from transformers import GenerationConfig

        more = {"past_key_values": self.cache(prompts)} if reuse else {}
        wanted = GenerationConfig(do_sample=False, num_beams=1, max_new_tokens=count, min_new_tokens=count,
                                  eos_token_id=None, pad_token_id=0)
        stamps = Stamps()
        sent = perf_counter()
        ids = torch.tensor(prompts)
        with torch.no_grad():
            output = self.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted,
                                         streamer=stamps, **more)
        answers = output[:, ids.shape[1]:].tolist()
        return [answer(sent, list(zip(stamps.came, tokens)), count, "transformers") for tokens in answers]

    def cache(self, prompts: list[list[int]]) -> object:
        """Keys and values of all of the one prompt but its last id, computed at its first use."""
        import torch
        from transformers import DynamicCache

        [prompt] = prompts
        if self.kept[0] != prompt:
            cache = DynamicCache(config=self.model.config)
            with torch.no_grad():
                self.model(torch.tensor([prompt[:-1]]), past_key_values=cache, use_cache=True, logits_to_keep=1)
            self.kept = prompt, cache
        cache = self.kept[1]
        if (answered := cache.get_seq_length() - len(prompt) + 1) > 0:
            cache.crop(-answered)
        return cache

    def follow(self, prompt: list[int], answer: list[int]) -> list[int]:
        import torch

        with torch.no_grad():
            logits = self.model(torch.tensor([prompt + answer[:-1]])).logits[0]
        return logits[len(prompt) - 1:].argmax(-1).tolist()


class Stamps:
    """What `generate` hands each step's ids to; the first it hands over is the prompt."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def put(self, ids: object) -> None:
        self.calls.append(perf_counter())

    def end(self) -> None:
        pass

    @property
    def came(self) -> list[float]:
        return self.calls[1:]


def answer(sent: float, tokens: list[tuple[float, int]], count: int, engine: str) -> Answer:
    if len(tokens) != count:
        raise SystemExit(f"{engine} gave {len(tokens)} ids, not {count}")
    return Answer([token for _, token in tokens], sent, [when for when, _ in tokens])


def at_once(calls: list[Callable[[], Answer]]) -> list[Answer]:
    """Every call on a thread of its own, all started together."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Answer]) -> Answer:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def step_by_step(engine: Equicrypt | LlamaCpp, prompt: list[int], answer: list[int]) -> list[int]:
    return [engine.ask([prompt + answer[:place]], 1, reuse=True)[0].ids[0] for place in range(len(answer))]


def takes_dtype(binary: Path) -> bool:
    """Whether this build's `serve` lets its precision be chosen."""
    return "--dtype" in subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout
