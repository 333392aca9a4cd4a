"""Small valid inputs for every target in fuzz/, in the folders where cargo-fuzz looks for them.

Usage: python tools/fuzz/seeds.py fuzz/corpus   (needs nothing)

They are made of the golden vectors, of the texts in the tests of the answers' parser, and of what docs/formats.md says. A target
that takes several values takes them from the bytes as the arbitrary crate does: numbers from the front, the length of a slice
before the last from the end.
"""

import argparse
import ast
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden"
PARSER_TESTS = ROOT / "crates" / "gateway" / "src" / "parse" / "tests"

# Rows of the tables TOOL_FORMATS and REASONING_FORMATS, and one behind them for none.
TOOLS, REASONING = 9, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder for each target goes into it")
    folder = parser.parse_args().folder
    for target, seeds in SEEDS.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (folder / target / f"seed-{number}").write_bytes(seed)


def answers() -> Iterator[bytes]:
    """Format, reasoning, length of the pieces, and a text."""
    texts = dict.fromkeys(text for path in sorted(PARSER_TESTS.glob("*.rs")) for text in literals(path.read_text()))
    for number, text in enumerate(texts):
        yield bytes([number % TOOLS, number % (2 * REASONING), 1 + number % 3]) + text.encode()
    for tool in range(TOOLS):
        for reasoning in range(2 * REASONING):
            yield bytes([tool, reasoning, 1]) + b'<think>why</think>[{"name": "f", "arguments": {"a": [1.5e3, null]}}]'


def literals(rust: str) -> Iterator[str]:
    for written in re.findall(r'"((?:[^"\\]|\\.)*)"', rust):
        if len(written) > 8:
            yield ast.literal_eval('"' + re.sub(r"\\u\{(\w+)\}", lambda found: f"\\U{found[1]:0>8}", written.replace("\n", "\\n")) + '"')


def key_text() -> Iterator[bytes]:
    for key in of_golden("key_schedule.json", "text"):
        yield from (key.encode(), key.lower().encode(), f"# a key\n{key}\n".encode())


def manifest() -> Iterator[bytes]:
    whole = {
        "format_version": 1, "key_id": "00010203040506ff", "epoch": 0, "profile": "permute", "architecture": "llama",
        "source_fingerprint": "ab" * 32, "vocab_size": 10, "plain_vocab_size": 10, "dtype": "BF16",
    }
    more = [{}, {"kept_id": 3, "profile": "rotate"}, {"epoch": 4, "weights_epoch": 2}, {"noise": 0.5, "rotates_output": True},
            {"vocab_size": 12, "homophone_table": "QUJD" * 12}]
    yield from (json.dumps(whole | fields, indent=2).encode() for fields in more)


def modules() -> Iterator[bytes]:
    kinds = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    for number, kind in enumerate(kinds):
        names = ["Transformer", "Pooling", *["Dense"] * (number % 2), *["Normalize"] * (number % 3 > 0)]
        paths = ["", *(f"{place}_{name}" for place, name in enumerate(names) if place)]
        files: dict[str, object] = {
            "modules.json": [
                {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{name}"}
                for place, (name, path) in enumerate(zip(names, paths, strict=True))
            ],
            "1_Pooling/config.json": {"word_embedding_dimension": 8, f"pooling_mode_{kind}": True},
            "2_Dense/config.json": {
                "in_features": 8, "out_features": 4, "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        }
        yield json.dumps(files).encode()


def safetensors_header() -> Iterator[bytes]:
    """The length of the data, and a header."""
    for dtype, size in [("BF16", 2), ("F32", 4), ("F64", 8), ("F16", 2)]:
        header = {
            "__metadata__": {"format": "pt"},
            "a.weight": {"dtype": dtype, "shape": [2, 3], "data_offsets": [0, 6 * size]},
            "b": {"dtype": dtype, "shape": [], "data_offsets": [6 * size, 7 * size]},
        }
        yield struct.pack("<H", 7 * size) + json.dumps(header).encode()


def gguf() -> Iterator[bytes]:
    values = [(0, b"\1"), (3, b"\1\0"), (4, b"\1\0\0\0"), (6, b"\0\0\x80?"), (7, b"\1"), (8, gguf_string(b"llama")),
              (9, struct.pack("<IQ", 5, 2) + bytes(8)), (9, struct.pack("<IQ", 8, 1) + gguf_string(b"a")), (10, bytes(8)), (12, bytes(8))]
    metadata = b"".join(gguf_string(b"k%d" % place) + struct.pack("<I", kind) + value for place, (kind, value) in enumerate(values))
    aligned = gguf_string(b"general.alignment") + struct.pack("<II", 4, 64)
    # Types of GGML with the bytes of 256 values: F32, F16, Q4_0, Q8_0, Q4_K, BF16.
    for number, (kind, size) in enumerate([(0, 1024), (1, 512), (2, 144), (8, 272), (12, 144), (30, 512)]):
        align = [32, 64][number % 2]
        head = b"GGUF" + struct.pack("<IQQ", 2 + number % 2, 1, len(values) + number % 2) + metadata + aligned * (number % 2)
        head += gguf_string(b"token_embd.weight") + struct.pack("<IQIQ", 1, 256, kind, 0)
        yield head + bytes(-len(head) % align) + bytes(size)


def gguf_string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def sealed() -> Iterator[bytes]:
    """Length of the pieces, whether the end is genuine, a body, what somebody else writes, and the body's length."""
    for written in [*of_golden("sealed.json", "request"), *of_golden("sealed.json", "response")]:
        body, more = b'{"input":[[1,22,333]]}', bytes.fromhex(written)
        length = len(body).to_bytes(1 if len(body) + len(more) < 256 else 2, "little")
        yield from (bytes([7, genuine]) + body + more + length for genuine in (0, 1))


def sse() -> Iterator[bytes]:
    ids = 'data: {"choices": [{"index": 0, "token_ids": [88, 47]}]}'
    events = [ids, ": comment", "event: x\nid: 1\nretry: 5\ndata:a\ndata: b", "data: [DONE]"]
    for end in ["\n", "\r", "\r\n"]:
        for mark in ["", "\ufeff"]:
            text = mark + "\n\n".join(events) + "\n\n"
            yield b"\3" + text.replace("\n", end).encode()


def of_golden(name: str, field: str) -> Iterator[str]:
    """The values of a field, wherever it is."""

    def walk(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get(field), str):
                yield value[field]
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    yield from walk(json.loads((GOLDEN / name).read_text()))


def shares_frames() -> Iterator[bytes]:
    """Messages of both sides, one and several."""
    def frame(kind: int, payload: bytes) -> bytes:
        return struct.pack("<I4B", len(payload), 1, kind, 0, 0) + payload

    residues = struct.pack("<6I", 1, 2, 3, 4, 5, 6)
    asked = [frame(1, bytes(32)), frame(2, bytes(range(32))), frame(3, struct.pack("<4I", 7, 0, 1, 3) + residues),
             frame(4, struct.pack("<3IQ", 8, 1, 5, 40))]
    answered = [frame(17, bytes(32)), frame(18, struct.pack("<3I", 7, 1, 3) + residues), frame(19, b"another model")]
    for messages in (asked, answered):
        yield from messages
        yield b"".join(messages)


SEEDS = {
    "answers": answers,
    "gguf": gguf,
    "key_text": key_text,
    "manifest": manifest,
    "modules": modules,
    "safetensors_header": safetensors_header,
    "sealed": sealed,
    "shares_frames": shares_frames,
    "sse": sse,
}

if __name__ == "__main__":
    main()
