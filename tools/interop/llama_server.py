"""llama.cpp's programs as processes that live as long as a `with` block, on free ports of 127.0.0.1.

`LlamaServer(program, gguf, log, *flags)` is a llama-server with one slot; `complete(ids, count)` asks it for a greedy
answer. `RpcServer(program, log)` is a ggml-rpc-server. Both are waited for, and stopped by their own process id.
"""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

CONTEXT = 768
TOP = 20
START_SECONDS = 300
# f32 keys and values and no flash attention: nothing but the weights is rounded to fewer bits.
PRECISE = ["-ctk", "f32", "-ctv", "f32", "-fa", "off"]


class Step(NamedTuple):
    """One generated token: its id, its natural log-probability, and the likeliest ids with theirs."""

    token: int
    logprob: float
    top: dict[int, float]


class Process:
    """A child process; its output goes to the file `log`."""

    def __init__(self, command: list[object], log: Path) -> None:
        self.command = [str(word) for word in command]
        self.log = log

    def __enter__(self):
        with self.log.open("w") as output:
            self.child = subprocess.Popen(self.command, stdout=output, stderr=subprocess.STDOUT)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.child.poll() is not None:
                raise SystemExit(f"{self.command[0]} left with status {self.child.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.command[0]} was not ready after {START_SECONDS} s: {self.tail()}")
            time.sleep(0.2)

    def is_ready(self) -> bool:
        raise NotImplementedError

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:].strip()

    def stop(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class RpcServer(Process):
    """A ggml-rpc-server on its machine's CPU; `address` is what --rpc takes."""

    def __init__(self, program: Path, log: Path, threads: int = 1) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        super().__init__([program, "-H", "127.0.0.1", "-p", self.port, "-t", threads], log)

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class LlamaServer(Process):
    def __init__(self, program: Path, gguf: Path, log: Path, *flags: object, threads: int = 2) -> None:
        self.port = free_port()
        super().__init__([program, "-m", gguf, "--host", "127.0.0.1", "--port", self.port, "-c", CONTEXT, "-np", 1,
                          "-t", threads, "-tb", threads, *PRECISE, "--no-ui", "--offline", *flags], log)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def complete(self, ids: list[int], count: int, reuse: bool = False) -> list[Step]:
        """`count` greedy tokens after `ids`. With `reuse` the server may keep what it computed for a common prefix."""
        body = {"prompt": ids, "n_predict": count, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
                "repeat_penalty": 1.0, "n_probs": TOP, "return_tokens": True, "cache_prompt": reuse, "stream": False}
        answer = self.post("/completion", body)
        steps = [Step(entry["id"], entry["logprob"], {top["id"]: top["logprob"] for top in entry["top_logprobs"]})
                 for entry in answer["completion_probabilities"]]
        if [step.token for step in steps] != answer["tokens"] or len(steps) != count or answer["truncated"]:
            raise SystemExit(f"llama-server gave {len(steps)} tokens of {count} (stop_type {answer['stop_type']}, "
                             f"truncated {answer['truncated']}); {self.log} may say why")
        return steps

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"llama-server answered {error.code} to {path}: {error.read().decode()[:500]}") from None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
