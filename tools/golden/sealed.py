"""Golden vectors for sealed requests and answers, computed without any of the Rust code.

Usage: python tools/golden/sealed.py tests/golden/sealed.json   (needs: pip install cryptography)

HPKE is RFC 9180 in base mode, step by step (X25519 and ChaCha20-Poly1305 of the cryptography package, HKDF of RFC 5869 with
hmac of the standard library), and is checked against appendix A.2 of that RFC first. The answer's key is that of section 4.4
of RFC 9458.
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from golden_json import write

KEM = b"KEM" + (0x20).to_bytes(2, "big")
SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x20, 1, 3))
INFO = b"equicrypt sealed request 1"
RESPONSE = b"equicrypt sealed response 1"


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt or b"\0" * 32, ikm, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes, size: int) -> bytes:
    out, block, counter = b"", b"", 1
    while len(out) < size:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:size]


def labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, size)


def derive_secret(ikm: bytes) -> X25519PrivateKey:
    prk = labeled_extract(KEM, b"", b"dkp_prk", ikm)
    return X25519PrivateKey.from_private_bytes(labeled_expand(KEM, prk, b"sk", b"", 32))


def public_bytes(secret: X25519PrivateKey) -> bytes:
    return secret.public_key().public_bytes_raw()


class Context:
    """The sender's side."""

    def __init__(self, recipient: bytes, info: bytes, ikm: bytes):
        ephemeral = derive_secret(ikm)
        self.enc = public_bytes(ephemeral)
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
        prk = labeled_extract(KEM, b"", b"eae_prk", shared)
        shared = labeled_expand(KEM, prk, b"shared_secret", self.enc + recipient, 32)
        psk_id = labeled_extract(SUITE, b"", b"psk_id_hash", b"")
        info = labeled_extract(SUITE, b"", b"info_hash", info)
        schedule = b"\0" + psk_id + info
        secret = labeled_extract(SUITE, shared, b"secret", b"")
        self.key = labeled_expand(SUITE, secret, b"key", schedule, 32)
        self.nonce = labeled_expand(SUITE, secret, b"base_nonce", schedule, 12)
        self.exporter = labeled_expand(SUITE, secret, b"exp", schedule, 32)

    def seal_first(self, associated: bytes, plain: bytes) -> bytes:
        return ChaCha20Poly1305(self.key).encrypt(self.nonce, plain, associated)

    def export(self, context: bytes, size: int) -> bytes:
        return labeled_expand(SUITE, self.exporter, b"sec", context, size)


def check_against_the_rfc() -> None:
    secret = derive_secret(bytes.fromhex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df"))
    ikm = bytes.fromhex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b")
    context = Context(public_bytes(secret), b"Ode on a Grecian Urn", ikm)
    assert context.enc.hex() == "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    sealed = context.seal_first(b"Count-0", b"Beauty is truth, truth beauty")
    assert sealed.hex() == "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
    assert context.export(b"", 32).hex() == "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e"


def pad(prefix: bytes, data: bytes) -> bytes:
    plain = prefix + len(data).to_bytes(4, "big") + data
    return plain + b"\0" * (-len(plain) % 64)


def frame(key: bytes, base: bytes, number: int, kind: int, data: bytes) -> bytes:
    nonce = bytes(a ^ b for a, b in zip(base, b"\0" * 4 + number.to_bytes(8, "big")))
    sealed = ChaCha20Poly1305(key).encrypt(nonce, pad(bytes([kind]), data), None)
    return len(sealed).to_bytes(4, "big") + sealed


def case(name: bytes, route: str, body: bytes, status: int, kind: str, pieces: list[bytes]) -> dict[str, object]:
    draw = lambda what, size=32: hashlib.sha256(name + what).digest()[:size]
    secret = X25519PrivateKey.from_private_bytes(draw(b"secret"))
    ikm, window, nonce = draw(b"ikm"), draw(b"window", 16), draw(b"nonce")
    context = Context(public_bytes(secret), INFO, ikm)
    associated = b"\1" + window + route.encode()
    request = b"\1" + window + context.enc + context.seal_first(associated, pad(b"", body))
    prk = extract(context.enc + nonce, context.export(RESPONSE, 32))
    key, base = expand(prk, b"key", 32), expand(prk, b"nonce", 12)
    frames = [(0, status.to_bytes(2, "big") + window + kind.encode())]
    frames += [(1, piece) for piece in pieces[:-1]] + [(2, pieces[-1])]
    response = nonce + b"".join(frame(key, base, number, *what) for number, what in enumerate(frames))
    fingerprint = hashlib.sha256(b"equicrypt transport key 1" + public_bytes(secret)).digest()[:16]
    return {
        "secret": secret.private_bytes_raw().hex(),
        "public": "equicrypt-transport-1:" + public_bytes(secret).hex(),
        "fingerprint": "-".join(fingerprint.hex()[start : start + 4] for start in range(0, 32, 4)),
        "ephemeral_ikm": ikm.hex(),
        "window": window.hex(),
        "route": route,
        "body": body.hex(),
        "request": request.hex(),
        "response_nonce": nonce.hex(),
        "status": status,
        "content_type": kind,
        "pieces": [piece.hex() for piece in pieces],
        "response": response.hex(),
    }


def main() -> None:
    check_against_the_rfc()
    events = [b'data: {"token_ids":[%d]}\n\n' % number for number in (7, 77777, 123)]
    cases = [
        case(b"one", "POST /v1/embeddings", b'{"input":[[1,22,333]]}', 200, "application/json", [b'{"data":[]}']),
        case(b"stream", "POST /inference/v1/generate", b"x" * 124, 200, "text/event-stream", [*events, b""]),
        case(b"empty", "POST /classify", b"", 429, "application/json", [b"y" * 59, b"z" * 60]),
    ]
    write(Path(sys.argv[1]), {"cases": cases})


main()
