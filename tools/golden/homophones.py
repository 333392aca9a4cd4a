"""Golden vectors for homophones, computed without any of the Rust code.

Usage: python tools/golden/homophones.py tests/golden/homophones.json   (needs: pip install cryptography)

ChaCha20-Poly1305 is RFC 8439 (the cryptography package); the key schedule is that of key_schedule.py.
"""

import base64
import hashlib
import json
import math
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from key_schedule import Stream, hkdf

MASTER, FINGERPRINT, EPOCH, KEPT, EXTRA = bytes(range(32)), bytes([0xA5] * 32), 7, 3, 12
WEIGHTS = [0.0, 40.0, 9.5, 100.0, 3.0, 3.0, 1.0, 0.5, 0.0, 17.0]
PROMPT = [1, 1, 9, 1, 3, 2, 1, 0, 9, 8, 1, 5, 2, 1]


def subkey(label: str) -> bytes:
    salt = FINGERPRINT + EPOCH.to_bytes(4, "little")
    return hkdf(MASTER, salt, b"equicrypt v1 " + label.encode(), 32)


def allocate(shares: list[float]) -> list[int]:
    """The largest remainder: the plain id of each extra cipher id, ascending."""
    shares = [0.0 if i == KEPT else share for i, share in enumerate(shares)]
    exact = [share / sum(shares) * EXTRA for share in shares]
    counts = [math.floor(x) for x in exact]
    order = sorted((i for i in range(len(shares)) if shares[i] > 0), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: EXTRA - sum(counts)]:
        counts[i] += 1
    return [i for i, count in enumerate(counts) for _ in range(count)]


def seal(extra: list[int]) -> str:
    table = b"".join(i.to_bytes(4, "little") for i in extra)
    key_id = hkdf(MASTER, b"", b"equicrypt v1 key id", 8).hex()
    fields = [key_id, EPOCH, FINGERPRINT.hex(), len(WEIGHTS), len(WEIGHTS) + EXTRA, KEPT]
    about = "\n".join(["equicrypt homophones v1", *map(str, fields), ""]).encode()
    nonce = hkdf(subkey("homophones/nonce"), b"", about + table, 12)
    sealed = ChaCha20Poly1305(subkey("homophones/table")).encrypt(nonce, table, about)
    return base64.b64encode(nonce + sealed).decode()


def partition(extra: list[int]) -> list[int]:
    """The plain id of each cipher id."""
    slots = [*range(len(WEIGHTS)), *extra]
    rows = [slots[slot] for slot in Stream(subkey("vocab")).permutation(len(slots))]
    place = rows.index(KEPT)
    rows[place], rows[KEPT] = rows[KEPT], rows[place]
    return rows


def encrypt(rows: list[int]) -> list[int]:
    state, cipher = subkey("homophones/choice"), []
    for plain in PROMPT:
        state = hashlib.sha256(state + plain.to_bytes(4, "little")).digest()
        homophones = [c for c, row in enumerate(rows) if row == plain]
        random = int.from_bytes(hashlib.sha256(state + b"choice").digest()[:8], "little")
        cipher.append(homophones[random * len(homophones) >> 64])
    return cipher


def main() -> None:
    golden = {"made_by": "tools/golden/homophones.py", "weights": WEIGHTS, "prompt": PROMPT}
    for name, shares in [("proportional", WEIGHTS), ("square_root", [math.sqrt(w) for w in WEIGHTS])]:
        extra = allocate(shares)
        rows = partition(extra)
        golden[name] = {"extra": extra, "table": seal(extra), "rows": rows, "cipher": encrypt(rows)}
    Path(sys.argv[1]).write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
