// One checkpoint's result on a canvas: the picture through its window, layers and outlines.

const [SMALLEST, LARGEST] = [768, 1600]; // pixels of the longer side that is drawn
// A single class that nobody named.
export const titled = (name) => (name === "foreground" ? "mask" : name);
const OUTLINE = [0, 255, 170];
const PROBABILITY = [60, 160, 255];
const UNCERTAINTY = [255, 150, 40];
const HYPOTHESIS = [255, 230, 60];

export class Viewer {
  constructor(network, ask, pictures, drag, step) {
    Object.assign(this, { network, ask, pictures });
    this.shown = {};
    this.figure = document.createElement("figure");
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.classList.add("drags");
    this.caption = document.createElement("figcaption");
    this.figure.append(this.canvas, this.caption);
    // A finger on other pictures scrolls the page; two zoom it everywhere.
    this.canvas.classList.toggle("windowed", network.window !== null);
    let last = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0 || (event.pointerType === "touch" && network.window === null)) return;
      this.canvas.setPointerCapture(event.pointerId);
      last = event;
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last || event.pointerId !== last.pointerId) return;
      drag(event.clientX - last.clientX, event.clientY - last.clientY); // movementX is 0 of touches in some browsers
      last = event;
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { last = null; });
    this.canvas.addEventListener("wheel", (event) => {
      if (network.slices.length < 2 || event.ctrlKey) return;
      event.preventDefault();
      step(Math.sign(event.deltaY));
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (!by || network.slices.length < 2) return;
      event.preventDefault();
      step(by);
    });
  }

  async load({ slice, window }) {
    const run = (this.run = (this.run ?? 0) + 1);
    const { files, width, height } = this.network.slices[slice - 1];
    // The first window's picture is there already; another one of a DICOM or NIfTI file is asked for.
    const own = this.network.window;
    const other = this.pictures && own && (window[0] !== Number(own[0].toPrecision(5)) || window[1] !== Number(own[1].toPrecision(5)));
    const address = other ? `${this.pictures}?slice=${slice}&window=${window.join(",")}` : files.picture;
    const wanted = { picture: address };
    if (slice !== this.shown.slice) for (const name of ["masks", "probability", "uncertainty", "samples"]) wanted[name] = files[name];
    const names = Object.keys(wanted);
    const bitmaps = await Promise.all(names.map((name) => this.bitmap(wanted[name])));
    if (run !== this.run) return;
    const longest = Math.max(width, height);
    const scale = Math.min(Math.max(longest, SMALLEST), LARGEST) / longest;
    const shown = { ...(slice === this.shown.slice ? this.shown : { fields: new Map() }), slice, scale };
    Object.assign(shown, Object.fromEntries(names.map((name, index) => [name, bitmaps[index]])));
    shown.width = Math.max(1, Math.round(width * scale));
    shown.height = Math.max(1, Math.round(height * scale));
    shown.window = other ? window : own ?? [127.5, 255];
    shown.pixels = pixelsOf(shown.picture, 0, 0, width, height, shown.width, shown.height);
    this.shown = shown;
  }

  async bitmap(address) {
    return createImageBitmap(await (await this.ask(address)).blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  }

  // One channel of a part of a layer at the size that is drawn, made once.
  field(name, column, row = 0, rows = 1) {
    const key = `${name} ${column} ${row}`;
    const { fields, width, height } = this.shown;
    if (!fields.has(key)) {
      const bitmap = this.shown[name];
      const columns = name === "uncertainty" ? 1 : this.network.classes.length;
      const [w, h] = [bitmap.width / columns, bitmap.height / rows];
      const rgba = pixelsOf(bitmap, column * w, row * h, w, h, width, height);
      const values = new Uint8Array(width * height);
      for (let i = 0; i < values.length; i += 1) values[i] = rgba[4 * i];
      fields.set(key, values);
    }
    return fields.get(key);
  }

  // Pixels of the picture whose probability is above a threshold; null for none, or no such class.
  areaAt(name, threshold) {
    const number = this.network.classes.findIndex((one) => one.name === name);
    if (threshold === null || number < 0 || !this.shown.probability) return null;
    const key = `count ${number}`;
    if (!this.shown.fields.has(key)) {
      const bitmap = this.shown.probability;
      const width = bitmap.width / this.network.classes.length;
      const rgba = pixelsOf(bitmap, number * width, 0, width, bitmap.height, width, bitmap.height);
      const counts = new Float64Array(256);
      for (let i = 0; i < rgba.length; i += 4) counts[rgba[i]] += 1;
      this.shown.fields.set(key, counts);
    }
    return this.shown.fields.get(key).reduce((sum, count, value) => sum + (value / 255 > threshold ? count : 0), 0);
  }

  draw(asked) {
    const { width, height, pixels, window } = this.shown;
    if (!pixels) return;
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const data = image.data;
    const table = levels(window, asked.window);
    for (let i = 0; i < data.length; i += 4) {
      data[i] = table[pixels[i]];
      data[i + 1] = table[pixels[i + 1]];
      data[i + 2] = table[pixels[i + 2]];
      data[i + 3] = 255;
    }
    const legend = [];
    const { classes, options } = this.network;
    const chosen = classes.map((one, number) => ({ ...one, number })).filter((one) => !asked.structure || one.name === asked.structure);
    const own = asked.threshold !== null && chosen.length === 1;
    if (asked.layer === "probability") {
      for (const one of chosen) tint(data, this.field("probability", one.number), chosen.length > 1 ? one.colour : PROBABILITY, 0.55 / 255);
      legend.push([PROBABILITY, "probability: the stronger, the higher"]);
    } else if (asked.layer === "uncertainty") {
      tint(data, this.field("uncertainty", 0), UNCERTAINTY, 2 * 0.85 / 255);
      legend.push([UNCERTAINTY, "uncertainty: how far the samples differ"]);
    }
    const thick = Math.max(1, Math.round(Math.max(width, height) / 400));
    if (asked.hypothesis !== "") {
      const wanted = asked.hypothesis === "all" ? [...Array(options.samples).keys()] : [Number(asked.hypothesis)].filter((n) => n < options.samples);
      for (const sample of wanted) for (const one of chosen) {
        outline(data, this.field("samples", one.number, sample, options.samples), 127, width, height, 1 + (thick > 1), HYPOTHESIS);
      }
      legend.push([HYPOTHESIS, wanted.length === 1 ? `hypothesis ${wanted[0] + 1}` : `${wanted.length} hypotheses`]);
    }
    if (asked.outline) for (const one of chosen) {
      const colour = classes.length > 1 ? one.colour : OUTLINE;
      if (own) outline(data, this.field("probability", one.number), 255 * asked.threshold, width, height, thick, colour);
      else outline(data, this.field("masks", one.number), 127, width, height, thick, colour);
      legend.push([colour, own ? `${titled(one.name)}: probability above ${asked.threshold.toFixed(2)}` : titled(one.name)]);
    }
    context.putImageData(image, 0, 0);
    this.describe(asked, legend);
  }

  describe(asked, legend) {
    const parts = legend.map(([colour, text]) => {
      const part = document.createElement("span");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = `rgb(${colour.join(" ")})`;
      part.append(swatch, text);
      return part;
    });
    const name = document.createElement("strong");
    name.textContent = this.network.name;
    this.caption.replaceChildren(name, ...parts);
    this.canvas.setAttribute("aria-label", `${this.words()} Shown: ${legend.map(([, text]) => text).join(", ") || "the picture alone"}.`);
  }

  words() {
    const { slices, name } = this.network;
    const one = slices[(this.shown.slice ?? 1) - 1];
    const areas = one.classes.map((found) => `${titled(found.name)} ${Math.round(found.area)} pixels`).join(", ");
    const where = slices.length > 1 ? `slice ${this.shown.slice} of ${slices.length}, ` : "";
    return `${name}: ${where}${areas}, doubt ${one.doubt.toFixed(3)}.${one.warning ? ` ${one.warning}` : ""}`;
  }
}

function pixelsOf(bitmap, x, y, w, h, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, x, y, w, h, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

// The grey level of each one in a picture of the window `from`, shown with the window `to`.
function levels(from, to) {
  const table = new Uint8ClampedArray(256);
  for (let level = 0; level < 256; level += 1) {
    const value = from[0] + (level / 255 - 0.5) * from[1];
    table[level] = 255 * ((value - to[0]) / to[1] + 0.5);
  }
  return table;
}

function tint(data, values, colour, strength) {
  for (let i = 0; i < values.length; i += 1) {
    const part = Math.min(1, values[i] * strength);
    for (let c = 0; c < 3; c += 1) data[4 * i + c] += part * (colour[c] - data[4 * i + c]);
  }
}

function outline(data, values, threshold, width, height, thick, colour) {
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
