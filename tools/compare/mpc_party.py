"""One of the computing parties of mpc_layer.py: a process with SPU's runtime and one share of everything secret.

Parties talk to each other over TCP on this machine; the client's pipe brings and takes shares. SPU counts what its link sends
and writes the counts to its log, which goes to a file here and is read back.
"""

import re
import time
from multiprocessing.connection import Connection
from pathlib import Path

from spu import Executable, Runtime, libspu

LINK = re.compile(r"Link details: total send bytes (\d+), recv bytes (\d+), send actions (\d+)")
TIMEOUT_MS = 600_000


def run(rank: int, ports: list[int], settings: bytes, log: Path, pipe: Connection) -> None:
    log_to(log)
    config = libspu.RuntimeConfig()
    config.ParseFromString(settings)
    config.enable_pphlo_profile = True
    runtime = Runtime(libspu.link.create_brpc(addresses(ports), rank), config)
    while True:
        try:
            program, inputs = pipe.recv()
        except EOFError:
            return
        for name, parts in inputs.items():
            runtime.set_var(name, share(parts))
        if program is None:
            continue
        start = time.perf_counter()
        runtime.run(Executable(*program))
        seconds = time.perf_counter() - start
        outputs = [plain(runtime.get_var(name)) for name in program[2]]
        pipe.send((outputs, seconds, *counts(log)))


def log_to(file: Path) -> None:
    options = libspu.logging.LogOptions()
    options.enable_console_logger, options.system_log_path = False, str(file)
    libspu.logging.setup_logging(options)


def addresses(ports: list[int]) -> libspu.link.Desc:
    description = libspu.link.Desc()
    description.recv_timeout_ms = description.http_timeout_ms = TIMEOUT_MS
    for rank, port in enumerate(ports):
        description.add_party(f"party{rank}", f"127.0.0.1:{port}")
    return description


def plain(share: libspu.Share) -> tuple[bytes, list[bytes]]:
    return share.meta, list(share.share_chunks)


def share(parts: tuple[bytes, list[bytes]]) -> libspu.Share:
    made = libspu.Share()
    made.meta, made.share_chunks = parts
    return made


def counts(log: Path) -> tuple[int, int]:
    """Bytes and messages that this party sent in its last run."""
    sent, _, messages = LINK.findall(log.read_text())[-1]
    return int(sent), int(messages)
