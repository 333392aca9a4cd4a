"""Turns, medians and ratios for measurements whose parts take turns, and what they ran on."""

import math
import os
import platform
import statistics
import sys
from pathlib import Path

FLAGS = ["avx2", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"]


def turns(names: list[str], rounds: int) -> list[list[str]]:
    """For each round an order: each round begins with another, and every second one runs backwards."""
    orders = []
    for number in range(rounds):
        start = number // 2 % len(names)
        order = names[start:] + names[:start]
        orders.append(order[::-1] if number % 2 else order)
    return orders


def spread(values: list[float]) -> dict:
    """Median, extremes, and the interval that holds the median of such values in 95 of 100 cases (by order alone)."""
    ordered = sorted(values)
    low, high = interval(len(ordered))
    return {"median": statistics.median(ordered), "min": ordered[0], "max": ordered[-1], "low": ordered[low],
            "high": ordered[high], "rounds": len(ordered)}


def interval(count: int) -> tuple[int, int]:
    """Places in a sorted list of `count`; the ends, where there are too few for 95 of 100."""
    below, outside = 0, 0.0
    while below < (count - 1) // 2:
        outside += math.comb(count, below) / 2**count
        if outside > 0.025:
            break
        below += 1
    low = max(below - 1, 0)
    return low, count - 1 - low


def machine(threads: int) -> dict:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    stated = {name.strip(): value.strip() for name, value in fields.items()}
    return {"cpu": stated.get("model name", platform.processor()), "cores": os.cpu_count(), "threads": threads,
            "instructions": [flag for flag in FLAGS if flag in stated.get("flags", "").split()]}


def use_threads(threads: int) -> None:
    """For this process's libraries and for every server that it starts; before any of them is loaded."""
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
