"""Convolution and its gradients as sums over the taps, in NumPy: nothing of it is XLA's or the kernels'."""

import numpy as np


def convolve(x, kernel, *, groups=1, strides=(1, 1), pads=((0, 0), (0, 0))):
    """The value, float64, and a function of the gradient of it that gives the gradients of x and of the kernel."""
    batch, height, width, _ = x.shape
    kh, kw, group_in, out_channels = kernel.shape
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), *pads, (0, 0)))
    padded = padded.reshape(*padded.shape[:3], groups, group_in)
    by_group = np.asarray(kernel, np.float64).reshape(kh, kw, group_in, groups, out_channels // groups)
    rows, columns = (max(0, (padded.shape[axis + 1] - kernel.shape[axis]) // strides[axis] + 1) for axis in range(2))
    under = {
        (r, c): np.s_[:, r : r + rows * strides[0] : strides[0], c : c + columns * strides[1] : strides[1]]
        for r, c in np.ndindex(kh, kw)
        if rows and columns
    }
    y = np.zeros((batch, rows, columns, groups, out_channels // groups))
    for tap, window in under.items():
        y += np.einsum("bhwgi,igo->bhwgo", padded[window], by_group[tap])

    def pull_back(gradient):
        gradient = np.asarray(gradient, np.float64).reshape(y.shape)
        of_padded, of_kernel = np.zeros_like(padded), np.zeros_like(by_group)
        for tap, window in under.items():
            of_padded[window] += np.einsum("bhwgo,igo->bhwgi", gradient, by_group[tap])
            of_kernel[tap] = np.einsum("bhwgi,bhwgo->igo", padded[window], gradient)
        (top, _), (left, _) = pads
        return of_padded[:, top : top + height, left : left + width].reshape(x.shape), of_kernel.reshape(kernel.shape)

    return y.reshape(batch, rows, columns, out_channels), pull_back
