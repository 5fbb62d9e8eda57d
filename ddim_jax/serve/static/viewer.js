// One checkpoint's result on a canvas: the picture through its window, layers and outlines.
import { levels, outline, pixelsOf, tint } from "./drawing.js";
import { element } from "./page.js";
import { area, quantity, titled } from "./words.js";

const [SMALLEST, LARGEST] = [768, 1600]; // pixels of the longer side that is drawn
const PICTURE_WINDOW = [127.5, 255]; // of files that say none
const SIDES = ["top", "right", "bottom", "left"];
const OUTLINE = [0, 255, 170];
const PROBABILITY = [60, 160, 255];
const UNCERTAINTY = [255, 150, 40];
const SAMPLE = [255, 230, 60];
const STEP = 40; // pixels of the wheel for a slice: a touchpad has a few in each event, a notch of a mouse more

export class Viewer {
  // name: as the person tells it from the other one; pictures: where slices with other windows are.
  constructor(network, name, ask, pictures, drag, step) {
    Object.assign(this, { network, name, ask, pictures });
    this.shown = null;
    this.figure = element("figure");
    this.canvas = element("canvas", undefined, { tabindex: 0, role: "img", class: "drags" });
    this.caption = element("figcaption");
    const frame = element("div", undefined, { class: "frame" });
    this.edges = SIDES.map((side) => element("span", undefined, { class: `edge ${side}`, "aria-hidden": true }));
    frame.append(this.canvas, ...this.edges);
    this.figure.append(frame, this.caption);
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
    let turned = 0;
    this.canvas.addEventListener("wheel", (event) => {
      if (network.slices.length < 2 || event.ctrlKey || !event.deltaY) return;
      event.preventDefault();
      turned += event.deltaY;
      if (Math.abs(turned) < STEP) return;
      step(Math.sign(turned));
      turned = 0;
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (!by || network.slices.length < 2) return;
      event.preventDefault();
      step(by);
    });
  }

  // The window that the file, or the request, says for a slice; null for pictures.
  ownWindow(slice) {
    return this.network.slices[slice - 1].window;
  }

  // A slice with a window, or its own if that is null, as `shown` is to be; nothing changes yet.
  async load({ slice, window }, signal) {
    const { files, width, height, aspect } = this.network.slices[slice - 1];
    // The first window's picture is there already; another one of a DICOM or NIfTI file is asked for.
    const other = this.pictures && this.ownWindow(slice) && window;
    const same = slice === this.shown?.slice;
    const wanted = { picture: other ? `${this.pictures}?slice=${slice}&window=${window.join(",")}` : files.picture };
    if (!same) for (const name of ["masks", "probability", "uncertainty", "samples"]) wanted[name] = files[name];
    const names = Object.keys(wanted);
    const bitmaps = await Promise.all(names.map((name) => this.bitmap(wanted[name], signal)));
    // In their true proportions: pixels need not be square.
    const [across, down] = [width, height * (aspect ?? 1)];
    const scale = Math.min(Math.max(width, height, SMALLEST), LARGEST) / Math.max(across, down);
    const shown = { ...(same ? this.shown : { fields: new Map() }), slice };
    Object.assign(shown, Object.fromEntries(names.map((name, index) => [name, bitmaps[index]])));
    shown.width = Math.max(1, Math.round(across * scale));
    shown.height = Math.max(1, Math.round(down * scale));
    shown.window = other ? window : this.ownWindow(slice) ?? PICTURE_WINDOW;
    shown.pixels = pixelsOf(shown.picture, 0, 0, width, height, shown.width, shown.height);
    return shown;
  }

  async bitmap(address, signal) {
    return createImageBitmap(await (await this.ask(address, { signal })).blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
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
    if (threshold === null || number < 0 || !this.shown) return null;
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
    if (!this.shown) return;
    const { slice, width, height, pixels, window } = this.shown;
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const data = image.data;
    const table = levels(window, asked.window ?? this.ownWindow(slice) ?? PICTURE_WINDOW, this.network.window_inverted);
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
      for (const one of chosen) {
        const colour = chosen.length > 1 ? one.colour : PROBABILITY;
        tint(data, this.field("probability", one.number), colour, 0.55 / 255);
        legend.push([colour, chosen.length > 1 ? `probability of ${one.name}` : "probability: the stronger, the higher"]);
      }
    } else if (asked.layer === "uncertainty") {
      tint(data, this.field("uncertainty", 0), UNCERTAINTY, 2 * 0.85 / 255);
      legend.push([UNCERTAINTY, "uncertainty: how far the samples differ"]);
    }
    const thick = Math.max(1, Math.round(Math.max(width, height) / 400));
    if (asked.sample !== "") {
      const wanted = asked.sample === "all" ? [...Array(options.samples).keys()] : [Number(asked.sample)].filter((n) => n < options.samples);
      for (const sample of wanted) for (const one of chosen) {
        outline(data, this.field("samples", one.number, sample, options.samples), 127, width, height, 1 + (thick > 1), SAMPLE);
      }
      legend.push([SAMPLE, wanted.length === 1 ? `sample ${wanted[0] + 1}` : `${wanted.length} samples`]);
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
      const part = element("span");
      const swatch = element("span", undefined, { class: "swatch" });
      swatch.style.background = `rgb(${colour.join(" ")})`;
      part.append(swatch, text);
      return part;
    });
    const edges = this.network.slices[this.shown.slice - 1].edges ?? {};
    this.edges.forEach((span, index) => {
      span.textContent = edges[SIDES[index]] ?? "";
    });
    this.caption.replaceChildren(element("strong", this.name), ...parts);
    this.canvas.setAttribute("aria-label", `${this.words()} Shown: ${legend.map(([, text]) => text).join(", ") || "the image alone"}.`);
  }

  // What is shown, for who does not see it.
  words() {
    const { slices } = this.network;
    const { slice } = this.shown;
    const one = slices[slice - 1];
    const size = (pixels) => (one.pixel_mm2 === null ? quantity(pixels, "pixel") : area(pixels, one.pixel_mm2));
    const areas = one.classes.map((found) => `${titled(found.name)} ${size(found.area)}`);
    const letters = SIDES.filter((side) => one.edges?.[side]).map((side) => `${side} ${one.edges[side].split("").join(" ")}`);
    const where = slices.length > 1 ? `slice ${slice} of ${slices.length}, ` : "";
    return `${this.name}: ${where}${areas.join(", ")}, doubt ${one.doubt.toFixed(3)}.${letters.length ? ` Edges: ${letters.join(", ")}.` : ""}${one.warning ? ` ${one.warning}` : ""}`;
  }
}
