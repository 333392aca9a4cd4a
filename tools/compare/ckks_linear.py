"""Linear layers on CKKS ciphertexts, for ckks_layer.py: a host that has weights and no secret key, in processes of its own.

A ciphertext holds TOKENS tokens of WIDTH coordinates, coordinate after coordinate: turning its slots by s * TOKENS turns
the coordinates of all tokens by s. A matrix is cut into WIDTH x WIDTH blocks and applied by its diagonals in baby steps
and giant steps (Halevi and Shoup), with BABY + GIANT rotations in place of WIDTH. One multiplication deep: a ciphertext
comes encrypted, is multiplied once by plain weights, and goes back.

Ring dimension 8,192 and a modulus of 160 bits: 128-bit security in the table of the Homomorphic Encryption Standard, which
SEAL enforces.
"""

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tenseal.sealapi as seal

DEGREE, BITS, SCALE = 8192, [60, 40, 60], 2.0**40
TOKENS, WIDTH = 8, 512
BABY, GIANT = 32, 16
END = (None, None)
FORK = multiprocessing.get_context("fork")


def context() -> seal.SEALContext:
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(DEGREE)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(DEGREE, BITS))
    return seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)


class Linear:
    """y = W x + b with the plain W and b prepared; x and y are encrypted."""

    def __init__(self, shared: seal.SEALContext, weight: np.ndarray, bias: np.ndarray) -> None:
        encoder = seal.CKKSEncoder(shared)
        outputs, inputs = (-(-size // WIDTH) for size in weight.shape)
        padded = np.zeros((outputs * WIDTH, inputs * WIDTH))
        padded[: weight.shape[0], : weight.shape[1]] = weight
        self.blocks = [[diagonals(encoder, padded[o : o + WIDTH, i : i + WIDTH])
                        for i in range(0, padded.shape[1], WIDTH)] for o in range(0, padded.shape[0], WIDTH)]
        shifts = np.zeros(outputs * WIDTH)
        shifts[: len(bias)] = bias
        self.biases = [encoded(encoder, row, SCALE**2) for row in shifts.reshape(outputs, WIDTH)]

    def apply(self, evaluator: seal.Evaluator, keys: seal.GaloisKeys, turned: list[list[seal.Ciphertext]]) -> list:
        """`turned`: of each input ciphertext, its baby steps."""
        answers = []
        for row, bias in zip(self.blocks, self.biases):
            total = None
            for giant in range(GIANT):
                part = None
                for steps, block in zip(turned, row):
                    for step, diagonal in zip(steps, block[giant * BABY : (giant + 1) * BABY]):
                        if diagonal is not None:
                            part = added(evaluator, part, product(evaluator, step, diagonal))
                if giant:
                    evaluator.rotate_vector_inplace(part, giant * BABY * TOKENS, keys)
                total = added(evaluator, total, part)
            evaluator.add_plain_inplace(total, bias)
            evaluator.rescale_to_next_inplace(total)
            answers.append(total)
        return answers


def product(evaluator: seal.Evaluator, x: seal.Ciphertext, weights: seal.Plaintext) -> seal.Ciphertext:
    y = seal.Ciphertext()
    evaluator.multiply_plain(x, weights, y)
    return y


def added(evaluator: seal.Evaluator, total: seal.Ciphertext | None, y: seal.Ciphertext) -> seal.Ciphertext:
    if total is None:
        return y
    evaluator.add_inplace(total, y)
    return total


class Hosts:
    """`count` processes with the prepared weights; each takes the ciphertexts of TOKENS tokens at a time."""

    def __init__(self, shared: seal.SEALContext, linears: dict, count: int) -> None:
        self.pipes, self.processes = [], []
        for _ in range(count):
            here, there = FORK.Pipe()
            process = FORK.Process(target=host, args=(shared, linears, there), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)
        self.sent = self.received = self.turns = 0
        self.host_seconds = 0.0

    def keys(self, galois: bytes) -> None:
        for pipe in self.pipes:
            pipe.send_bytes(galois)

    def ask(self, names: list, groups: list[list[bytes]]) -> list[list[bytes]]:
        """Every group of ciphertexts through the linear layers `names`; the groups are spread over the processes."""
        answers = []
        self.turns += 1
        for start in range(0, len(groups), len(self.pipes)):
            round_ = list(zip(self.pipes, groups[start : start + len(self.pipes)]))
            for pipe, group in round_:
                pipe.send((names, group))
                self.sent += sum(map(len, group))
            done = [pipe.recv() for pipe, _ in round_]
            self.host_seconds += max(seconds for _, seconds in done)
            answers += [answer for answer, _ in done]
        self.received += sum(len(ciphertext) for answer in answers for ciphertext in answer)
        return answers

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes):
            pipe.send(END)
            process.join()


def host(shared: seal.SEALContext, linears: dict, pipe: Connection) -> None:
    """The host's side: what it is sent is the keys for rotations, then ciphertexts."""
    evaluator, keys = seal.Evaluator(shared), seal.GaloisKeys()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "object"
        file.write_bytes(pipe.recv_bytes())
        keys.load(shared, str(file))
        while True:
            names, group = pipe.recv()
            if (names, group) == END:
                return
            start = time.perf_counter()
            turned = [baby_steps(evaluator, keys, loaded(shared, data, file)) for data in group]
            answers = [saved(y, file) for name in names for y in linears[name].apply(evaluator, keys, turned)]
            pipe.send((answers, time.perf_counter() - start))


def baby_steps(evaluator: seal.Evaluator, keys: seal.GaloisKeys, x: seal.Ciphertext) -> list[seal.Ciphertext]:
    steps = [x]
    for step in range(1, BABY):
        turned = seal.Ciphertext()
        evaluator.rotate_vector(x, step * TOKENS, keys, turned)
        steps.append(turned)
    return steps


def rotations() -> list[int]:
    """The Galois elements of all turns that are used: 3 generates the rotations of SEAL's slots."""
    steps = [*range(1, BABY), *range(BABY, GIANT * BABY, BABY)]
    return [pow(3, step * TOKENS, 2 * DEGREE) for step in steps]


def diagonals(encoder: seal.CKKSEncoder, block: np.ndarray) -> list[seal.Plaintext | None]:
    """Diagonal d is W[i, i + d], turned back by its giant step; None where it is zero: SEAL refuses to multiply by that."""
    rows, prepared = np.arange(WIDTH), []
    for d in range(WIDTH):
        diagonal = np.roll(block[rows, (rows + d) % WIDTH], d // BABY * BABY)
        prepared.append(encoded(encoder, diagonal, SCALE) if diagonal.any() else None)
    return prepared


def encoded(encoder: seal.CKKSEncoder, coordinates: np.ndarray, scale: float) -> seal.Plaintext:
    """The same for each token."""
    plaintext = seal.Plaintext()
    encoder.encode(np.repeat(coordinates, TOKENS).tolist(), scale, plaintext)
    return plaintext


def saved(thing: object, file: Path) -> bytes:
    """SEAL's bindings write and read files only."""
    thing.save(str(file))
    return file.read_bytes()


def loaded(shared: seal.SEALContext, data: bytes, file: Path) -> seal.Ciphertext:
    file.write_bytes(data)
    ciphertext = seal.Ciphertext()
    ciphertext.load(shared, str(file))
    return ciphertext
