"""The gateway before stock engines: the same chats, the same answers.

    python tools/gateway/engines.py --equicrypt target/release/equicrypt --smollm2 DIR \
        [--llama-build DIR] [--vllm VENV]

Encrypts SmolLM2-135M-Instruct in f32, serves it with `equicrypt serve`, with llama.cpp's server (made in --llama-build by
tools/interop/llama_build.py) and with vLLM's CPU build (made in --vllm by tools/interop/vllm_env.py; once with its route
for ids, once with its completions only), and asks each through `equicrypt gateway`: greedy chats, a stop string,
log-probabilities, a bias, a schema, a second turn, a stream that is left. Greedy answers have to be those before
`equicrypt serve`, log-probabilities within 2e-3 (llama.cpp's product of attention rounds keys to f16 by default).
Before llama.cpp the throughput of 4 chats at once is also compared with the same chats sent to it directly. Prints JSON;
leaves with status 1 if anything fails.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
import llama_build  # noqa: E402
import vllm_env  # noqa: E402
from llama_server import LlamaServer  # noqa: E402
from served import Served  # noqa: E402

QUESTIONS = ["What is the capital of France?", "Name three colours.", "Why do ships float?"]
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string", "maxLength": 12}}, "required": ["colour"],
          "additionalProperties": False}
LOGPROB_LIMIT = 2e-3


class Gateway:
    def __init__(self, url: str) -> None:
        self.url = url

    def chat(self, messages, **more) -> dict:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return self.post("/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 40} | more)

    def post(self, route: str, body: dict) -> dict:
        return json.load(opened(self.url + route, body))

    def state(self) -> dict:
        return json.load(urllib.request.urlopen(f"{self.url}/state"))


def opened(url: str, body: dict):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=300)


def said(answer: dict) -> str:
    return answer["choices"][0]["message"]["content"]


def asked(gateway: Gateway) -> dict:
    """Everything that an engine has to do, and what came of it."""
    found = {"engine": gateway.state()["hosts"][0]["engine"]}
    found["answers"] = [said(gateway.chat(question)) for question in QUESTIONS]
    turns = [{"role": "user", "content": QUESTIONS[2]}, {"role": "assistant", "content": found["answers"][2]},
             {"role": "user", "content": "Why?"}]
    found["cached"] = gateway.chat(turns, max_tokens=4)["usage"]["prompt_tokens_details"]["cached_tokens"]
    word = found["answers"][2].split()[4]
    found["stopped"] = said(gateway.chat(QUESTIONS[2], stop=[word])) == found["answers"][2].split(word)[0]
    answer = gateway.chat(QUESTIONS[0], logprobs=True, top_logprobs=3, max_tokens=9)
    found["logprobs"] = [token["logprob"] for token in answer["choices"][0]["logprobs"]["content"]]
    found["end"] = answer["choices"][0]["finish_reason"]
    # " capital": without it the first answer cannot be what it was.
    found["biased"] = "capital" not in said(gateway.chat(QUESTIONS[0], logit_bias={"3575": -100}, max_tokens=12))
    shaped = said(gateway.chat("A colour, please.", response_format={
        "type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA}}, max_tokens=60))
    found["shaped"] = len(json.loads(shaped)["colour"]) <= 12
    stream = opened(gateway.url + "/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Count."}], "stream": True, "max_tokens": 400})
    for _ in range(8):
        stream.readline()
    stream.close()
    deadline = time.monotonic() + 20
    while gateway.state()["hosts"][0]["running"]:
        if time.monotonic() > deadline:
            raise SystemExit("a stream that was left goes on")
        time.sleep(0.05)
    found["usable_after"] = said(gateway.chat(QUESTIONS[0])) == found["answers"][0]
    return found


def of_direct(gateway: Gateway, direct: str, ids: list[int]) -> float:
    """Tokens a second of 4 answers at once through the gateway, over those sent to llama.cpp directly."""
    def seconds(url: str, body: dict) -> float:
        start = time.monotonic()
        threads = [threading.Thread(target=lambda: opened(url, body).read()) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - start

    # No stop id is told to llama.cpp: both run to 96 tokens.
    never = {"logit_bias": {"2": -100, "0": -100}}
    through = {"prompt": ids, "max_tokens": 96, "temperature": 0, "stream": True} | never
    straight = {"prompt": ids, "n_predict": 96, "temperature": 0, "stream": True, "top_k": 0, "top_p": 1, "min_p": 0,
                "repeat_penalty": 1}
    ratios = [seconds(direct + "/completion", straight) / seconds(gateway.url + "/v1/completions", through)
              for _ in range(5)]
    return round(statistics.median(ratios), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--equicrypt", type=Path, required=True)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--llama-build", type=Path)
    parser.add_argument("--vllm", type=Path)
    args = parser.parse_args()
    binary = args.equicrypt.resolve()
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        key, encrypted = folder / "owner.key", folder / "encrypted"
        run = lambda *words: subprocess.run([binary, *words], check=True, stdout=subprocess.DEVNULL)
        run("keygen", "-o", key)
        run("encrypt", args.smollm2, "-o", encrypted, "--key", key, "--dtype", "f32")

        @contextlib.contextmanager
        def gateway(upstream: str):
            with Served(binary, "gateway", "--model", args.smollm2, "--key", key, "--upstream", upstream, "--manifest",
                        encrypted / "equicrypt.json", "--listen", "127.0.0.1:0") as served:
                yield Gateway(served.url)

        with Served(binary, "serve", encrypted, "--listen", "127.0.0.1:0") as host, gateway(host.url) as before:
            found["equicrypt"] = asked(before)
        if args.llama_build:
            gguf = folder / "encrypted.gguf"
            run("export", encrypted, "-o", gguf, "--quantize", "f32")
            program = llama_build.llama_server(args.llama_build)
            with LlamaServer(program, gguf, folder / "llama.log", "-np", 4, "-c", 4096) as host:
                url = f"http://127.0.0.1:{host.port}"
                with gateway(url) as before:
                    found["llama.cpp"] = asked(before) | {"of_direct": of_direct(before, url, list(range(300, 340)))}
        if args.vllm:
            vllm_env.install(args.vllm)
            with vllm_env.serve(args.vllm, encrypted, folder / "vllm.log", "float32", []) as host:
                with gateway(host.base) as before:
                    found["vllm, route for ids"] = asked(before)
                with Served(binary, "gateway", "--model", args.smollm2, "--key", key, "--upstream", host.base,
                            "--manifest", encrypted / "equicrypt.json", "--engine", "vllm-completions",
                            "--listen", "127.0.0.1:0") as served:
                    found["vllm, completions"] = asked(Gateway(served.url))
    failed = [f"{name}: {what}" for name, result in found.items() for what in wrong(result, found["equicrypt"])]
    print(json.dumps(found, indent=2, ensure_ascii=False))
    if failed:
        raise SystemExit("; ".join(failed))


def wrong(result: dict, expected: dict) -> list[str]:
    problems = [name for name in ["stopped", "biased", "shaped", "usable_after"] if not result[name]]
    if result["answers"] != expected["answers"]:
        problems.append("answers")
    if max(abs(a - b) for a, b in zip(result["logprobs"], expected["logprobs"], strict=True)) > LOGPROB_LIMIT:
        problems.append("logprobs")
    if result["end"] != "stop":
        problems.append("end")
    # vLLM tells cached tokens only if its operator asks for it, and shares blocks of 128.
    if not result["engine"].startswith("vllm") and result["cached"] < 64:
        problems.append("cache")
    return problems


if __name__ == "__main__":
    main()
