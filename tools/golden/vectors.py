"""Golden vectors for embeddings in a database, computed without any of the Rust code.

Usage: python tools/golden/vectors.py tests/golden/vectors.json   (needs: pip install cryptography)

c = s R x + lambda: R as crates/cipher/src/sample.rs draws it, s and lambda as crates/cipher/src/vectors.rs says.
"""

import json
import math
import sys
from pathlib import Path

from key_schedule import Stream, hkdf

BLOCK = 16


def haar(stream: Stream, n: int) -> list[list[float]]:
    rows: list[list[float]] = []
    for _ in range(n):
        row = [x for _ in range((n + 1) // 2) for x in stream.gaussian_pair()][:n]
        for _ in range(2):
            for earlier in rows:
                overlap = sum(a * b for a, b in zip(earlier, row))
                row = [x - overlap * e for x, e in zip(row, earlier)]
        norm = math.sqrt(sum(x * x for x in row))
        assert norm > 1e-6
        rows.append([x / norm for x in row])
    return rows


def rotated(stream: Stream, x: list[float]) -> list[float]:
    """Rounds of a permutation and Haar blocks, then a signed permutation."""
    size = len(x)
    rounds, reach = 1, BLOCK
    while reach < size:
        rounds, reach = rounds + 1, reach * BLOCK
    for _ in range(rounds if rounds == 1 else rounds + 1):
        x = [x[i] for i in stream.permutation(size)]
        for start in range(0, size, BLOCK):
            part = x[start : start + BLOCK]
            block = haar(stream, len(part))
            x[start : start + BLOCK] = [sum(a * b for a, b in zip(row, part)) for row in block]
    source = stream.permutation(size)
    return [x[i] * (1.0 if stream.below(2) == 0 else -1.0) for i in source]


def unit(stream: Stream) -> float:
    return (stream.u64() >> 11) * 2.0**-53


def main() -> None:
    master, fingerprint, epoch = bytes(range(32)), bytes([0xA5] * 32), 7
    nonce = bytes(range(0xF0, 0x100)).hex()
    plain = [math.sin(1.0 + 0.7 * i) for i in range(21)]
    size = len(plain)

    def stream(label: str) -> Stream:
        salt = fingerprint + epoch.to_bytes(4, "little")
        info = f"equicrypt v1 vectors/{size}/{label}".encode()
        return Stream(hkdf(master, salt, info, 32))

    scale = 2.0 ** (4.0 * (2.0 * unit(stream("scale")) - 1.0))
    clean = [scale * x for x in rotated(stream("rotation"), plain)]

    def encrypted(beta: float) -> list[float]:
        if beta == 0.0:
            return clean
        noise = stream(f"noise/{nonce}")
        radius = scale * beta / 4.0 * unit(noise) ** (1.0 / size)
        direction = [x for _ in range((size + 1) // 2) for x in noise.gaussian_pair()][:size]
        length = math.sqrt(sum(x * x for x in direction))
        return [c + radius * x / length for c, x in zip(clean, direction)]

    golden = {
        "made_by": "tools/golden/vectors.py",
        "master": master.hex(),
        "fingerprint": fingerprint.hex(),
        "epoch": epoch,
        "key_id": hkdf(master, b"", b"equicrypt v1 key id", 8).hex(),
        "nonce": nonce,
        "scale": scale,
        "plain": plain,
        "cases": [{"beta": beta, "values": encrypted(beta)} for beta in (0.0, 0.5)],
    }
    Path(sys.argv[1]).write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
