"""STAPLE pixel by pixel and with plain probabilities; shares no code with the package."""

import numpy as np


def staple(masks, iterations=5000):
    """masks [raters, ...] of 0 and 1 -> (probability [...], sensitivity [raters], specificity [raters])."""
    raters = len(masks)
    votes = [[int(v) for v in np.ravel(mask)] for mask in masks]
    pixels = len(votes[0])
    prior = sum(map(sum, votes)) / (raters * pixels)
    w, before = [sum(vote[i] for vote in votes) / raters for i in range(pixels)], [2.0] * (2 * raters)
    for _ in range(iterations):
        inside, outside = sum(w), pixels - sum(w)
        p = [sum(w[i] for i in range(pixels) if votes[j][i]) / inside for j in range(raters)]
        q = [sum(1.0 - w[i] for i in range(pixels) if not votes[j][i]) / outside for j in range(raters)]
        w = []
        for i in range(pixels):
            a, b = prior, 1.0 - prior
            for j in range(raters):
                a *= p[j] if votes[j][i] else 1.0 - p[j]
                b *= 1.0 - q[j] if votes[j][i] else q[j]
            w.append(a / (a + b))
        if max(abs(x - y) for x, y in zip(before, p + q, strict=True)) < 1e-9:
            break
        before = p + q
    return np.reshape(w, np.shape(masks)[1:]), np.array(p), np.array(q)
