"""The real openai client against `equicrypt gateway`, on SmolLM2-135M-Instruct and all-MiniLM-L6-v2.

    python tools/gateway/openai_client.py --equicrypt target/release/equicrypt --smollm2 DIR [--minilm DIR]

Everything that the client can ask is asked: chats, streams, stop strings, several answers, seeds, log-probabilities, biases,
penalties, tools, JSON schemas, completions, responses, embeddings, errors, a stream that is left. Meanwhile every byte
between gateway and host is kept, and at the end nothing readable may be in it. Prints a JSON object of the checks with
their seconds; leaves with status 1 at the first that fails. Needs requirements.txt beside this file.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import openai
from openai import OpenAI
from pydantic import BaseModel, Field
from wire import Wire, secret_of

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
from served import Served  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "tests/golden"
QUESTION = "Explain briefly why lighthouses flash."
STOP = "because"
WEATHER = {
    "type": "function",
    "function": {
        "name": "lookup_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "tell_time", "description": "The time of day"}}


class Person(BaseModel):
    """With bounds: a small model may write a list without end."""

    name: Annotated[str, Field(max_length=30)]
    age: Annotated[int, Field(ge=0, le=120)]
    hobbies: Annotated[list[Annotated[str, Field(max_length=20)]], Field(max_length=3)]


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


class Chats:
    """The checks on a decoder; each method is one."""

    def __init__(self, client: OpenAI, host: Served) -> None:
        self.client, self.host = client, host

    def ask(self, text: str = QUESTION, **more):
        most = "max_tokens" if "max_tokens" in more else "max_completion_tokens"
        settings = {"temperature": 0, most: 40} | more
        return self.client.chat.completions.create(model="any", messages=user(text), **settings)

    def streams_say_what_answers_say(self) -> None:
        whole = self.ask()
        said = whole.choices[0].message.content
        assert len(said) > 40 and whole.choices[0].finish_reason == "length", whole
        assert whole.usage.completion_tokens == 40 and whole.usage.total_tokens == whole.usage.prompt_tokens + 40
        chunks = list(self.ask(stream=True, stream_options={"include_usage": True}))
        assert chunks[0].choices[0].delta.role == "assistant"
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 40
        assert all(chunk.usage is None for chunk in chunks[:-1])

    def stop_strings_end_answers(self) -> None:
        said = self.ask(max_completion_tokens=80).choices[0].message.content
        word = said.split()[6]
        cut = self.ask(max_completion_tokens=80, stop=[STOP + "!", word]).choices[0]
        assert cut.message.content == said[: said.index(word)] and cut.finish_reason == "stop", cut

    def several_answers_and_seeds(self) -> None:
        draw = lambda seed: [c.message.content for c in self.ask(n=3, temperature=1.5, top_p=0.9, seed=seed).choices]
        assert draw(7) == draw(7) != draw(8)
        assert len(set(draw(7))) > 1

    def log_probabilities(self) -> None:
        choice = self.ask(logprobs=True, top_logprobs=4, max_tokens=12).choices[0]
        content = choice.logprobs.content
        assert len(content) == 12 and "".join(token.token for token in content) == choice.message.content
        for token in content:
            assert bytes(token.bytes).decode(errors="replace") == token.token
            assert len(token.top_logprobs) == 4 and token.top_logprobs[0].token == token.token
            assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1 + 1e-6

    def biases_and_penalties(self) -> None:
        plain = self.ask(max_tokens=30).choices[0].message.content
        first = self.ask(max_tokens=1, logprobs=True).choices[0].logprobs.content[0].token
        completion = self.client.completions.create(model="any", prompt=first, max_tokens=1, echo=True, temperature=0)
        assert completion.choices[0].text.startswith(first)
        for more in [{"frequency_penalty": 2.0}, {"presence_penalty": 2.0}]:
            assert self.ask(max_tokens=30, **more).choices[0].message.content != plain
        # Token 0 of this model ends texts; all but it are likelier.
        assert self.ask(max_tokens=3, logit_bias={"0": -100}).choices[0].message.content
        forced = self.ask(max_tokens=3, logit_bias={"504": 100}, logprobs=True).choices[0].logprobs.content
        assert len({token.token for token in forced}) == 1

    def required_tools_are_called(self) -> None:
        for stream in [False, True]:
            for choice, names in [
                ("required", {"lookup_weather", "tell_time"}),
                ({"type": "function", "function": {"name": "lookup_weather"}}, {"lookup_weather"}),
            ]:
                asked = self.ask(
                    "How is the weather in Lisbon?", tools=[WEATHER, CLOCK], tool_choice=choice, stream=stream,
                    max_completion_tokens=100,
                )
                name, arguments, reason = called(asked, stream)
                assert name in names and reason == "tool_calls", (name, arguments, reason)
                if name == "lookup_weather":
                    parsed = json.loads(arguments)
                    assert isinstance(parsed["city"], str) and isinstance(parsed["days"], int), arguments

    def tool_results_are_read(self) -> None:
        call = {"id": "call_1", "type": "function", "function": {"name": "tell_time", "arguments": "{}"}}
        messages = user("What time is it?") + [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "It is noon."},
        ]
        answer = self.client.chat.completions.create(
            model="any", messages=messages, tools=[CLOCK], temperature=0, max_tokens=20
        )
        assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls"), answer

    def schemas_are_followed(self) -> None:
        for temperature in [0, 1.2]:
            answer = self.client.chat.completions.parse(
                model="any", messages=user("Make up a person."), response_format=Person, temperature=temperature, seed=3,
                max_tokens=400,
            )
            assert isinstance(answer.choices[0].message.parsed, Person), answer
        stream = self.ask("A JSON object, please.", response_format={"type": "json_object"}, stream=True, max_tokens=300)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text.startswith("{"), text

    def completions_take_texts_and_ids(self) -> None:
        make = lambda prompt, **more: self.client.completions.create(
            model="any", prompt=prompt, temperature=0, max_tokens=8, **more
        )
        text = make("The lighthouse keeper").choices[0].text
        assert make("The lighthouse keeper", echo=True).choices[0].text == "The lighthouse keeper" + text
        assert "".join(chunk.choices[0].text for chunk in make("The lighthouse keeper", stream=True)) == text
        several = make(["The lighthouse keeper", "Once upon"], n=2)
        assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
        assert several.choices[0].text == several.choices[1].text == text
        probabilities = make("The lighthouse keeper", logprobs=2).choices[0].logprobs
        assert "".join(probabilities.tokens) == text and len(probabilities.top_logprobs[0]) == 2
        ids = make([504, 30706, 5, 77])
        assert ids.usage.prompt_tokens == 4

    def second_turns_find_the_cache(self) -> None:
        first = self.ask(max_completion_tokens=60)
        said = first.choices[0].message.content
        messages = user(QUESTION) + [{"role": "assistant", "content": said}] + user("Why?")
        second = self.client.chat.completions.create(model="any", messages=messages, temperature=0, max_tokens=5)
        # The template writes an end behind the answer; all before it was seen by the host.
        known = first.usage.prompt_tokens + first.usage.completion_tokens - 1
        assert second.usage.prompt_tokens_details.cached_tokens >= known, (known, second.usage)

    def responses(self) -> None:
        whole = self.client.responses.create(model="any", input=QUESTION, temperature=0, max_output_tokens=40)
        assert whole.output_text == self.ask().choices[0].message.content and whole.status == "incomplete"
        events = list(self.client.responses.create(
            model="any", input=[{"role": "user", "content": QUESTION}], instructions="Be kind.", temperature=0,
            max_output_tokens=20, stream=True,
        ))
        kinds = [event.type for event in events]
        assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.incomplete", kinds
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert events[-1].response.output_text == text and len(text) > 10
        assert [event.sequence_number for event in events] == list(range(len(events)))
        tool = {"type": "function"} | WEATHER["function"]
        called = self.client.responses.create(
            model="any", input="How is the weather in Lisbon?", tools=[tool], tool_choice="required", temperature=0
        )
        call = called.output[0]
        assert call.type == "function_call" and call.name == "lookup_weather" and json.loads(call.arguments)["city"]

    def models_and_errors(self) -> None:
        (model,) = self.client.models.list().data
        assert self.client.models.retrieve(model.id).id == model.id
        fails(openai.NotFoundError, lambda: self.client.models.retrieve("nothing"))
        fails(openai.BadRequestError, lambda: self.ask("lighthouse " * 9000))
        fails(openai.BadRequestError, lambda: self.ask(temperature=-1))
        fails(openai.BadRequestError, lambda: self.client.embeddings.create(model="any", input="x"))

    def a_stream_that_is_left_stops_the_host(self) -> None:
        stream = self.ask("Count to a thousand.", stream=True, max_completion_tokens=4000)
        for _ in range(5):
            next(iter(stream))
        assert self.host.metric("equicrypt_answers_running") == 1
        stream.close()
        deadline = time.monotonic() + 10
        while self.host.metric("equicrypt_answers_running"):
            assert time.monotonic() < deadline, "the host goes on"
            time.sleep(0.05)


def called(asked, stream: bool) -> tuple[str, str, str]:
    """The only call of an answer: its name, its arguments, and why the answer ended."""
    if not stream:
        choice = asked.choices[0]
        (call,) = choice.message.tool_calls
        assert call.id.startswith("call_")
        return call.function.name, call.function.arguments, choice.finish_reason
    chunks = list(asked)
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert {call.index for call in calls} == {0} and calls[0].id
    arguments = "".join(call.function.arguments or "" for call in calls)
    return calls[0].function.name, arguments, chunks[-1].choices[0].finish_reason


def fails(kind: type[Exception], ask) -> None:
    try:
        ask()
    except kind as error:
        assert str(error), error
        return
    raise AssertionError(f"no {kind.__name__}")


def embeddings(client: OpenAI) -> None:
    """A text, texts, ids and both encodings, against the numbers of sentence-transformers."""
    golden = json.loads((GOLDEN / "minilm_embeddings.json").read_text())
    cases = golden["cases"][:8]
    texts = [case["text"] for case in cases]
    for form in ["float", "base64"]:
        answer = client.embeddings.create(model="any", input=texts, encoding_format=form)
        for case, item in zip(cases, answer.data, strict=True):
            vector = decoded(item.embedding)
            assert max(abs(a - b) for a, b in zip(vector, case["embedding"], strict=True)) < 1e-5, case["text"]
    one = client.embeddings.create(model="any", input=texts[0]).data[0].embedding
    ids = client.embeddings.create(model="any", input=cases[0]["ids"]).data[0].embedding
    lists = client.embeddings.create(model="any", input=[case["ids"] for case in cases]).data[0].embedding
    assert close(one, ids) and close(one, lists)
    fails(openai.BadRequestError, lambda: client.embeddings.create(model="any", input=[10**7]))
    fails(openai.BadRequestError, lambda: client.embeddings.create(model="any", input=texts[0], dimensions=7))


def decoded(embedding) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    import base64
    import struct

    data = base64.b64decode(embedding)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def close(a: list[float], b: list[float]) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) < 1e-6


def nothing_readable(wire: Wire, binary: Path, key: Path) -> None:
    """No word of a prompt or of a tool, no stop string, no key, and no run of plain ids is on the wire."""
    seen = wire.seen.decode(errors="replace")
    assert seen.count("POST /inference/v1/generate") > 20 and len(seen) > 50_000
    texts = [QUESTION, STOP, json.dumps([WEATHER, CLOCK]), "Lisbon", "Count to a thousand.", "Make up a person.", "hobbies"]
    found = [word for word in set(re.findall(r"[A-Za-z_]{5,}", " ".join(texts))) if word in seen]
    # Words of the wire format itself.
    assert set(found) <= {"false", "index", "object"}, found
    assert secret_of(key) not in seen and secret_of(key)[24:40].lower() not in seen.lower()
    plain = json.loads((GOLDEN / "smollm2_chat.json").read_text())["cases"][0]["ids"]
    for start in range(len(plain) - 6):
        run = ",".join(map(str, plain[start : start + 6]))
        assert run not in seen, "a run of plain ids"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--equicrypt", type=Path, required=True)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--minilm", type=Path)
    args = parser.parse_args()
    binary = args.equicrypt.resolve()
    seconds: dict[str, float] = {}

    def check(name: str, run, *with_these) -> None:
        start = time.monotonic()
        try:
            run(*with_these)
        except Exception:
            print(f"FAILED: {name}", file=sys.stderr)
            raise
        seconds[name] = round(time.monotonic() - start, 2)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        key = folder / "owner.key"
        run = lambda *words: subprocess.run([binary, *words], check=True, stdout=subprocess.DEVNULL)
        run("keygen", "-o", key)
        run("encrypt", args.smollm2, "-o", folder / "chat", "--key", key)
        with Served(binary, "serve", folder / "chat", "--listen", "127.0.0.1:0") as host:
            wire = Wire(host.url)
            with Served(binary, "gateway", "--model", args.smollm2, "--key", key, "--upstream", wire.url,
                        "--listen", "127.0.0.1:0", "--unsealed") as gateway:
                chats = Chats(OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0), host)
                for name in [name for name in vars(Chats) if not name.startswith("_") and name != "ask"]:
                    check(name, getattr(chats, name))
                check("nothing_readable", nothing_readable, wire, binary, key)
        if args.minilm:
            run("encrypt", args.minilm, "-o", folder / "embed", "--key", key, "--rotate-output")
            with Served(binary, "serve", folder / "embed", "--listen", "127.0.0.1:0") as host, Served(
                binary, "gateway", "--model", args.minilm, "--key", key, "--upstream", host.url,
                "--listen", "127.0.0.1:0",
            ) as gateway:
                client = OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
                check("embeddings", embeddings, client)
    print(json.dumps({"openai": openai.__version__, "seconds": seconds}, indent=2))


if __name__ == "__main__":
    main()
