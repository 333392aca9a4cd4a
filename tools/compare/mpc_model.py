"""MiniLM's encoder in jax, as SPU computes it on shares: for mpc_layer.py.

Softmax, division and the square root are SPU's own approximations in fixed point. GELU would be a rational function of erf
there, with two divisions; this takes a polynomial between -GELU_BOUND and GELU_BOUND and 0 or x outside, as systems made
for transformers do (PUMA, BOLT): GELU(x) = x/2 + E(x), E even.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

GELU_BOUND, GELU_DEGREE = 3.5, 10


def encoder(x: jax.Array, weights: dict[str, jax.Array], layers: int, heads: int, eps: float) -> jax.Array:
    for layer in range(layers):
        x = block(x, weights, f"encoder.layer.{layer}", heads, eps)
    return x


def block(x: jax.Array, weights: dict[str, jax.Array], at: str, heads: int, eps: float) -> jax.Array:
    def linear(x: jax.Array, name: str) -> jax.Array:
        return x @ weights[f"{at}.{name}.weight"].T + weights[f"{at}.{name}.bias"]

    def norm(x: jax.Array, name: str) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + eps)
        return scaled * weights[f"{at}.{name}.weight"] + weights[f"{at}.{name}.bias"]

    tokens, width = x.shape
    q, k, v = (linear(x, f"attention.self.{name}").reshape(tokens, heads, -1).transpose(1, 0, 2)
               for name in ("query", "key", "value"))
    scores = q @ k.transpose(0, 2, 1) * np.float32(1 / math.sqrt(width // heads))
    mixed = (jax.nn.softmax(scores, axis=-1) @ v).transpose(1, 0, 2).reshape(tokens, width)
    h = norm(x + linear(mixed, "attention.output.dense"), "attention.output.LayerNorm")
    return norm(h + linear(gelu(linear(h, "intermediate.dense")), "output.dense"), "output.LayerNorm")


def gelu(x: jax.Array) -> jax.Array:
    square = jnp.square(x * np.float32(1 / GELU_BOUND))
    even = np.float32(COEFFICIENTS[-1])
    for coefficient in COEFFICIENTS[-2::-1]:
        even = even * square + np.float32(coefficient)
    return jnp.where(x < -GELU_BOUND, 0.0, jnp.where(x > GELU_BOUND, x, 0.5 * x + even))


def even_part() -> np.ndarray:
    """Coefficients of E's polynomial in (x / GELU_BOUND)^2: least squares at Chebyshev's points."""
    t = np.cos(np.pi * (np.arange(2000) + 0.5) / 4000)
    powers = np.polynomial.polynomial.polyvander(t * t, GELU_DEGREE // 2)
    return np.linalg.lstsq(powers, exact(GELU_BOUND * t) - GELU_BOUND * t / 2, rcond=None)[0]


def exact(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_error() -> float:
    """The largest error of the piecewise polynomial, before fixed point."""
    x = np.linspace(-2 * GELU_BOUND, 2 * GELU_BOUND, 20001)
    inside = x / 2 + np.polynomial.polynomial.polyval((x / GELU_BOUND) ** 2, COEFFICIENTS)
    found = np.where(x < -GELU_BOUND, 0, np.where(x > GELU_BOUND, x, inside))
    return float(np.abs(found - exact(x)).max())


COEFFICIENTS = even_part()
