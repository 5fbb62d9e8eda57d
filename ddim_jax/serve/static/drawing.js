// Pixels: bitmaps made into numbers, windows, tints and outlines.

// RGBA of a part of a bitmap at another size.
export function pixelsOf(bitmap, x, y, w, h, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, x, y, w, h, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

// The grey level of each one in a picture of the window `from`, shown with the window `to`; inverted: larger values are darker.
export function levels(from, to, inverted) {
  const table = new Uint8ClampedArray(256);
  for (let level = 0; level < 256; level += 1) {
    const value = from[0] + ((inverted ? 255 - level : level) / 255 - 0.5) * from[1];
    const shown = 255 * ((value - to[0]) / to[1] + 0.5);
    table[level] = inverted ? 255 - shown : shown;
  }
  return table;
}

export function tint(data, values, colour, strength) {
  for (let i = 0; i < values.length; i += 1) {
    const part = Math.min(1, values[i] * strength);
    for (let c = 0; c < 3; c += 1) data[4 * i + c] += part * (colour[c] - data[4 * i + c]);
  }
}

export function outline(data, values, threshold, width, height, thick, colour) {
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const i = y * width + x;
      if (values[i] <= threshold) continue;
      const inner = x >= thick && x < width - thick && y >= thick && y < height - thick
        && values[i - thick] > threshold && values[i + thick] > threshold
        && values[i - thick * width] > threshold && values[i + thick * width] > threshold;
      if (!inner) for (let c = 0; c < 3; c += 1) data[4 * i + c] = colour[c];
    }
  }
}
