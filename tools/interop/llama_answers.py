"""Answers of a llama-server in plain ids, and how far two lists of them are apart.

`Engine(server, vocabulary)` asks a llama-server; `vocabulary` is None for a plain file. `difference` compares greedy
answers, `follow` asks for the next token at every place of a given answer, which is what compares lossy files fairly.
"""

import json
from pathlib import Path

from owner import Owner, Vocabulary
from llama_server import LlamaServer, Step
from prompts import PROMPTS


class GgufVocabulary(Vocabulary):
    """The secret vocabulary of a folder with model.gguf, which has no config.json."""

    def __init__(self, owner: Owner, encrypted: Path) -> None:
        self.owner = owner
        self.manifest = encrypted / "equicrypt.json"
        self.size = json.loads(self.manifest.read_text())["vocab_size"]
        self.plain_of = self.decrypt(list(range(self.size)))


class Engine:
    """Plain ids in, plain ids out; an encrypted file's server sees only cipher ids."""

    def __init__(self, server: LlamaServer, vocabulary: GgufVocabulary | None) -> None:
        self.server = server
        self.vocabulary = vocabulary

    def answer(self, prompt: list[int], count: int) -> list[Step]:
        return self.plain(self.server.complete(self.cipher(prompt), count))

    def follow(self, prompt: list[int], answer: list[int]) -> list[Step]:
        """What the engine would say at each place of `answer`, given everything before it."""
        sent = self.cipher(prompt + answer)
        places = range(len(prompt), len(sent))
        return self.plain([self.server.complete(sent[:place], 1, reuse=True)[0] for place in places])

    def cipher(self, ids: list[int]) -> list[int]:
        return self.vocabulary.encrypt(ids) if self.vocabulary else ids

    def plain(self, steps: list[Step]) -> list[Step]:
        if self.vocabulary is None:
            return steps
        tokens = self.vocabulary.decrypt([step.token for step in steps])
        plain_of = self.vocabulary.plain_of
        return [Step(token, step.logprob, {plain_of[cipher]: value for cipher, value in step.top.items()})
                for token, step in zip(tokens, steps)]


def prompt_ids(model: Path, count: int) -> list[list[int]]:
    """The built-in prompts as the plain folder's tokenizer and chat template make them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.chat_template is None:
        return [tokenizer(prompt)["input_ids"] for prompt in PROMPTS[:count]]
    return [tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                          return_dict=True)["input_ids"] for prompt in PROMPTS[:count]]


def difference(expected: list[list[Step]], found: list[list[Step]]) -> dict:
    """Identical answers, ids equal up to each answer's first difference, and how far log-probabilities are apart there.

    `chosen_logprob` is the largest difference at an equal chosen token, `top_logprobs` the largest among the likeliest
    ids that both list, `smallest_lead` the smallest lead of the first over the second id in `expected`.
    """
    identical, equal, places, chosen, listed, leads = 0, 0, 0, 0.0, 0.0, []
    for left, right in zip(expected, found, strict=True):
        identical += [step.token for step in left] == [step.token for step in right]
        places += len(left)
        for one, other in zip(left, right, strict=True):
            leads.append(lead(one))
            common = one.top.keys() & other.top.keys()
            listed = max([listed, *(abs(one.top[token] - other.top[token]) for token in common)])
            if one.token != other.token:
                break
            equal += 1
            chosen = max(chosen, abs(one.logprob - other.logprob))
    return {"identical": identical, "of": len(expected), "equal_ids": equal, "ids": places,
            "chosen_logprob": chosen, "top_logprobs": listed, "smallest_lead": min(leads)}


def agreement(expected: list[list[Step]], found: list[list[Step]]) -> float:
    """The share of places where both would say the same next token."""
    pairs = [(one.token, other.token) for left, right in zip(expected, found, strict=True)
             for one, other in zip(left, right, strict=True)]
    return sum(one == other for one, other in pairs) / len(pairs)


def deviation(expected: list[list[Step]], found: list[list[Step]]) -> float:
    """Mean absolute difference of the log-probability of `expected`'s token, where `found` lists it."""
    gaps = [abs(one.logprob - other.top[one.token]) for left, right in zip(expected, found, strict=True)
            for one, other in zip(left, right, strict=True) if one.token in other.top]
    return sum(gaps) / len(gaps)


def lead(step: Step) -> float:
    first, second = sorted(step.top.values(), reverse=True)[:2]
    return first - second
