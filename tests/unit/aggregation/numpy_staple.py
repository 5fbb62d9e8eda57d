"""STAPLE in float64, pixel by pixel and with plain probabilities; shares no code with the package."""

import numpy as np


def staple(masks, iterations=2000):
    """masks [raters, ...] of 0 and 1 -> (probability [...], sensitivity [raters], specificity [raters])."""
    raters = len(masks)
    votes = [[int(v) for v in np.ravel(mask)] for mask in masks]
    pixels = len(votes[0])
    prior = sum(map(sum, votes)) / (raters * pixels)
    p, q = [0.99999] * raters, [0.99999] * raters
    for _ in range(iterations):
        w = []
        for i in range(pixels):
            a, b = prior, 1.0 - prior
            for j in range(raters):
                a *= p[j] if votes[j][i] else 1.0 - p[j]
                b *= 1.0 - q[j] if votes[j][i] else q[j]
            w.append(a / (a + b))
        inside, outside = sum(w), pixels - sum(w)
        before = p + q
        p = [sum(w[i] for i in range(pixels) if votes[j][i]) / inside for j in range(raters)]
        q = [sum(1.0 - w[i] for i in range(pixels) if not votes[j][i]) / outside for j in range(raters)]
        if max(abs(x - y) for x, y in zip(before, p + q, strict=True)) < 1e-12:
            break
    return np.reshape(w, np.shape(masks)[1:]), np.array(p), np.array(q)
