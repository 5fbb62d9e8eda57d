"""The denoising U-Net in float64 NumPy, from parameters by name; shares no code with the package.

Numbers of groups are read off the kernels: a kernel [kh, kw, i, o] on c channels has c / i groups.
"""

import numpy as np


def silu(x):
    return x / (1.0 + np.exp(-x))


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def conv(p, x, stride=1, padding=None):
    """Convolution by its sum; `padding` ((top, bottom), (left, right)), by default the size is kept."""
    kernel = p["kernel"].astype(np.float64)
    kh, kw, group_in, out = kernel.shape
    if padding is None:
        padding = ((kh // 2, kh // 2), (kw // 2, kw // 2))
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    groups = x.shape[-1] // group_in
    group_out = out // groups
    y = np.zeros((x.shape[0], rows, columns, out))
    for g in range(groups):
        entering, leaving = slice(g * group_in, (g + 1) * group_in), slice(g * group_out, (g + 1) * group_out)
        for i in range(kh):
            for j in range(kw):
                seen = x[:, i : i + stride * rows : stride, j : j + stride * columns : stride, entering]
                y[..., leaving] += seen @ kernel[i, j, :, leaving]
    return y + p["bias"]


def norm(p, x, groups, eps=1e-6):
    y = np.empty_like(x)
    width = x.shape[-1] // groups
    for n in range(x.shape[0]):
        for g in range(groups):
            part = x[n, :, :, g * width : (g + 1) * width]
            y[n, :, :, g * width : (g + 1) * width] = (part - part.mean()) / np.sqrt(part.var() + eps)
    return y * p["scale"] + p["bias"]


def attention(p, x, norm_groups):
    batch, height, width, _ = x.shape
    y = norm(p["norm"], x, norm_groups)
    q, k, v = (conv(p[name], y).reshape(batch, height * width, -1) for name in "qkv")
    logits = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    x = x + conv(p["proj_out"], (weights @ v).reshape(batch, height, width, -1))
    return x + channel_attention(p["channel"], y) if "channel" in p else x


def channel_attention(p, y):
    """One channel at a time."""
    q, k, v = (conv(p[name], y) for name in "qkv")
    z = np.zeros_like(v)
    for n in range(len(y)):
        for j in range(v.shape[-1]):
            alike = np.array([np.mean(q[n, :, :, j] * k[n, :, :, i]) for i in range(v.shape[-1])])
            weights = np.exp(alike - alike.max())
            for i, weight in enumerate(weights / weights.sum()):
                z[n, :, :, j] += weight * v[n, :, :, i]
    return p["scale"] * conv(p["proj_out"], z)


def residual_block(p, x, time, norm_groups, shuffled=1):
    """With `shuffled` = g, channel k of the first convolution goes to place (k mod C/g) g + k // (C/g)."""
    y = conv(p["conv1"], silu(norm(p["norm1"], x, norm_groups)))
    y = y + dense(p["temb_proj"], silu(time))[:, None, None, :]
    y = silu(norm(p["norm2"], y, norm_groups))
    size = y.shape[-1] // shuffled
    places = [(k % size) * shuffled + k // size for k in range(y.shape[-1])]
    ordered = np.empty_like(y)
    ordered[..., places] = y
    y = conv(p["conv2"], ordered)
    return y + (conv(p["shortcut"], x) if "shortcut" in p else x)


def embedding(t, channels):
    half = channels // 2
    angles = np.asarray(t, np.float64)[:, None] * np.exp(-np.log(10000.0) * np.arange(half) / (half - 1))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def fold(x, patch):
    parts = [x[:, i::patch, j::patch] for i in range(patch) for j in range(patch)]
    return np.concatenate(parts, axis=-1)


def unfold(x, patch):
    batch, height, width, channels = x.shape
    inner = channels // patch**2
    y = np.empty((batch, height * patch, width * patch, inner))
    for i in range(patch):
        for j in range(patch):
            start = (i * patch + j) * inner
            y[:, i::patch, j::patch] = x[..., start : start + inner]
    return y


def unet(p, noisy_mask, image, t, *, levels, blocks, base, norm_groups, patch):
    """Attention wherever there are parameters for it."""

    def attend(name, x):
        return attention(p[name], x, norm_groups) if name in p else x

    time = dense(p["temb_dense_1"], silu(dense(p["temb_dense_0"], embedding(t, base))))
    x = np.concatenate([noisy_mask, image], axis=-1).astype(np.float64)
    x = conv(p["conv_in"], fold(x, patch))
    stack = [x]
    for level in range(levels):
        for b in range(blocks):
            x = residual_block(p[f"down_{level}_block_{b}"], x, time, norm_groups)
            x = attend(f"down_{level}_attn_{b}", x)
            stack.append(x)
        if level < levels - 1:
            x = conv(p[f"down_{level}_downsample"], x, stride=2, padding=((0, 1), (0, 1)))
            stack.append(x)
    x = residual_block(p["mid_block_1"], x, time, norm_groups)
    x = attend("mid_attn_1", x)
    x = residual_block(p["mid_block_2"], x, time, norm_groups)
    for level in range(levels - 1, -1, -1):
        for b in range(blocks + 1):
            x = residual_block(p[f"up_{level}_block_{b}"], np.concatenate([x, stack.pop()], axis=-1), time, norm_groups)
            x = attend(f"up_{level}_attn_{b}", x)
        if level > 0:
            x = conv(p[f"up_{level}_upsample"], x.repeat(2, axis=1).repeat(2, axis=2))
    return unfold(conv(p["conv_out"], silu(norm(p["norm_out"], x, norm_groups))), patch)
