"""Fits the tail of the normal distribution for ops/gelu.rs: prints the factors and their error in f32.

The share of a normal distribution below -z, times exp(z² / 2), as a polynomial in 1 / (1 + 0.4 z) without a
constant term; least squares with weights that rise where the relative error is large. Needs numpy.
"""

import math

import numpy

DEGREE, PITCH, ROUNDS = 10, 0.4, 60

z = numpy.concatenate([numpy.linspace(0, 6, 4000), numpy.linspace(6, 36, 1000)])
tail = numpy.array([0.5 * math.exp(v * v / 2) * math.erfc(v / math.sqrt(2)) for v in z])
powers = numpy.stack([(1 / (1 + PITCH * z)) ** k for k in range(1, DEGREE + 1)], 1)
weights = numpy.ones_like(z)
for _ in range(ROUNDS):
    scale = weights / tail
    factors, *_ = numpy.linalg.lstsq(powers * scale[:, None], tail * scale, rcond=None)
    error = numpy.abs(powers @ factors / tail - 1)
    weights *= 1 + 3 * error / error.max()
    weights /= weights.mean()

single = numpy.float32
t = single(1) / (single(1) + single(PITCH) * z.astype(single))
found = numpy.zeros_like(t)
for factor in reversed(factors.astype(single)):
    found = (found + factor) * t
print(", ".join(str(single(factor)) for factor in factors))
print(f"relative error {error.max():.1e}, in f32 {numpy.abs(found / tail - 1).max():.1e}")
