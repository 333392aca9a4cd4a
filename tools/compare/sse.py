"""Streams of server-sent events with the time at which each event came.

Nothing is parsed before the stream has ended: what the client does meanwhile would be taken from the server's cores.
"""

import http.client
import json
import time
from urllib.parse import urlsplit

SECONDS = 1800


def stream(url: str, body: dict) -> tuple[float, list[tuple[float, dict]]]:
    """When the request was sent, and the stream's events, each with when it came (`time.perf_counter`)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    text = json.dumps(body)
    sent = time.perf_counter()
    connection.request("POST", parts.path, text, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{url} answered {answer.status}: {answer.read()[:500].decode(errors='replace')}")
    pieces = []
    while piece := answer.read1(65536):
        pieces.append((time.perf_counter(), piece))
    connection.close()
    return sent, [(when, event) for when, line in lines(pieces) if (event := parsed(line, url)) is not None]


def lines(pieces: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Every line, with when its end came."""
    found, rest = [], b""
    for when, piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        found += [(when, line.strip()) for line in whole]
    return found


def parsed(line: bytes, url: str) -> dict | None:
    if not line.startswith(b"data:") or line == b"data: [DONE]":
        return None
    event = json.loads(line.removeprefix(b"data:"))
    if "error" in event:
        raise SystemExit(f"{url} failed in its answer: {event['error']}")
    return event
