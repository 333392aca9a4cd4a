"""Golden vectors for the key file and the key schedule, computed without any of the Rust code.

Usage: python tools/golden/key_schedule.py tests/golden/key_schedule.json   (needs: pip install cryptography)

HKDF is RFC 5869 (hmac from the standard library), ChaCha20 is RFC 8439 (the cryptography package), Bech32 is BIP 173.
"""

import hashlib
import hmac
import json
import math
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

PREFIX = "equicrypt-secret-key-"
LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
            if top >> bit & 1:
                check ^= generator
    return check


def bech32(prefix: str, data: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = polymod(expanded + values + [0] * 6) ^ 1
    values += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return (prefix + "1" + "".join(LETTERS[value] for value in values)).upper()


def hkdf(master: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    pseudorandom = hmac.new(salt or b"\0" * 32, master, hashlib.sha256).digest()
    return hmac.new(pseudorandom, info + b"\1", hashlib.sha256).digest()[:size]


class Stream:
    """64-bit little-endian words of the ChaCha20 key stream with nonce 0."""

    def __init__(self, key: bytes):
        self.cipher = Cipher(algorithms.ChaCha20(key, b"\0" * 16), mode=None).encryptor()

    def u64(self) -> int:
        return int.from_bytes(self.cipher.update(b"\0" * 8), "little")

    def below(self, bound: int) -> int:
        while True:
            product = self.u64() * bound
            if product % 2**64 >= (2**64 - bound) % bound:
                return product >> 64

    def symmetric(self) -> float:
        return (self.u64() >> 11) * 2.0**-52 - 1.0

    def gaussian_pair(self) -> tuple[float, float]:
        while True:
            u, v = self.symmetric(), self.symmetric()
            square = u * u + v * v
            if 0.0 < square < 1.0:
                factor = math.sqrt(-2.0 * math.log(square) / square)
                return u * factor, v * factor

    def permutation(self, n: int) -> list[int]:
        order = list(range(n))
        for last in range(n - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def main() -> None:
    master, fingerprint, epoch = bytes(range(32)), bytes([0xA5] * 32), 7

    def stream(label: str) -> Stream:
        salt = fingerprint + epoch.to_bytes(4, "little")
        return Stream(hkdf(master, salt, b"equicrypt v1 " + label.encode(), 32))

    u64 = stream("hidden")
    gaussians = stream("layer/12/v/2")
    salt = fingerprint + epoch.to_bytes(4, "little")
    noise = hkdf(master, salt, b"equicrypt v1 noise", 32)
    row = Stream(hkdf(noise, b"", b"embed/3", 32))
    golden = {
        "made_by": "tools/golden/key_schedule.py",
        "master": master.hex(),
        "fingerprint": fingerprint.hex(),
        "epoch": epoch,
        "text": bech32(PREFIX, master),
        "key_id": hkdf(master, b"", b"equicrypt v1 key id", 8).hex(),
        "hidden_u64": [f"{u64.u64():016x}" for _ in range(4)],
        "vocab_permutation": stream("vocab").permutation(40),
        "layer_12_v_2_gaussians": [x for _ in range(4) for x in gaussians.gaussian_pair()],
        "noise_embed_3_gaussians": [x for _ in range(2) for x in row.gaussian_pair()],
    }
    Path(sys.argv[1]).write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
