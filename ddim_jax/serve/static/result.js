// The result on the page: what is shown of it, its figures, and the controls of both.
import { fillDownloads } from "./downloads.js";
import { $, announce, element, fail, show } from "./page.js";
import { ask } from "./server.js";
import { Viewer } from "./viewer.js";
import { area, named, quantity, range, titled, volume } from "./words.js";

// Of the result that is shown: its run { name, files, job }, viewers, chosen window (null: each slice's own), and its loads.
let now = null;

export async function present(run) {
  close();
  const { networks, links } = run.job;
  const names = networks.map(({ name }) => name);
  const tell = (name, index) => (names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} ${index + 1}`);
  const viewers = networks.map((one, index) => new Viewer(one, tell(one.name, index), ask, links.picture, drag, step));
  const mine = { run, viewers, window: null, stop: new AbortController(), loading: false, wanted: false };
  now = mine;
  $("name").textContent = run.name;
  $("slice").max = networks[0].slices.length;
  $("slice").value = Math.ceil(networks[0].slices.length / 2);
  $("slice").disabled = false;
  $("slice-field").hidden = networks[0].slices.length < 2;
  fillStructures(networks);
  $("window-help").classList.toggle("touch", networks[0].window !== null);
  const most = Math.max(...networks.map((one) => one.options.samples));
  const all = most > 1 ? [["all", `All ${most}`]] : [];
  fill($("sample"), [["", "None"], ...all, ...numbers(most).map((n) => [`${n - 1}`, `Number ${n}`])]);
  $("window-group").disabled = false;
  $("window-segment").hidden = !networks[0].window;
  fillAbout(run, viewers);
  $("viewers").replaceChildren(...viewers.map((viewer) => viewer.figure));
  resetThreshold();
  show("result");
  await load();
  if (mine !== now || !viewers[0].shown) return;
  announce(`Done. ${words()}`);
  viewers[0].canvas.focus({ preventScroll: true });
}

// Ends what is on its way for the result; it is about to be removed.
export function close() {
  clearTimeout(reloading);
  now?.stop.abort();
  now = null;
}

export const chosenWindow = () => now.window;

const words = () => now.viewers.map((viewer) => viewer.words()).join(" ");

const numbers = (count) => Array.from({ length: count }, (_, index) => index + 1);

function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", text, { value })));
}

function fillStructures(networks) {
  const names = [...new Set(networks.flatMap((one) => one.classes.map((other) => other.name)))];
  fill($("structure"), [...(names.length > 1 ? [["", "All"]] : []), ...names.map((name) => [name, titled(name)])]);
  $("structure-field").hidden = names.length < 2;
}

function fillAbout(run, viewers) {
  const rows = [];
  for (const { network: one, name } of viewers) {
    const { options } = one;
    rows.push(["Checkpoint", `${name}, step ${one.step}`], ["SHA-256", one.sha256]);
    rows.push(["Samples", `${options.samples}, ${quantity(options.steps, "step")} each${options.sampler ? ` (${options.sampler})` : ""}, seed ${options.seed}`]);
    if (options.threshold !== null) rows.push(["Threshold", `${options.threshold}`]);
    rows.push(["Intervals", one.calibration ?? `none: ${one.not_calibrated ?? "the checkpoint is not calibrated"}`]);
    if (one.not_judged) rows.push(["Unlike images", `not judged: ${one.not_judged}`]);
    if (one.note) rows.push(["Trained on", one.note]);
    if (one.terms) rows.push(["Terms", one.terms]);
  }
  $("about").replaceChildren(...rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

// ---- loading and drawing

function view() {
  return {
    slice: Number($("slice").value),
    structure: $("structure").value,
    // null: the mask as the checkpoint decides.
    threshold: $("threshold").dataset.own ? Number($("threshold").value) : null,
    outline: $("outline").checked,
    layer: document.querySelector("input[name=layer]:checked").value,
    sample: $("sample").value,
    window: now.window,
  };
}

// Loads what is wanted. While a load is on its way the newest wish alone waits: the server is asked for one at a time.
async function load() {
  const mine = now;
  mine.wanted = true;
  if (mine.loading) return;
  mine.loading = true;
  try {
    while (mine.wanted) {
      mine.wanted = false;
      const asked = view();
      const loaded = await Promise.all(mine.viewers.map((viewer) => viewer.load(asked, mine.stop.signal)));
      if (mine !== now) return;
      const stepped = mine.viewers[0].shown && mine.viewers[0].shown.slice !== asked.slice;
      mine.viewers.forEach((viewer, index) => { viewer.shown = loaded[index]; });
      $("error").hidden = true;
      settle();
      if (stepped) announce(words());
    }
  } catch (error) {
    if (mine !== now) return;
    mine.wanted = false;
    if (error.status === 404) {
      gone();
    } else {
      error.message = named(error.message, mine.run.files);
      fail(error);
    }
    settle();
  } finally {
    mine.loading = false;
  }
}

// Brings the controls to the slice that is shown.
function settle() {
  const slice = now.viewers[0].shown?.slice;
  if (!slice) return;
  if (!now.wanted) $("slice").value = slice;
  if (!now.window) setWindow(ownWindow());
  fillDownloads(now.run, now.viewers, slice);
  if ($("slice").disabled) for (const button of $("downloads").querySelectorAll("button")) button.disabled = true;
  draw();
}

// The server has removed the result; what was loaded stays to be looked at.
function gone() {
  fail(new Error("The server keeps this result no longer. Give the image again for other slices, windows and downloads."));
  now.run.job.links = {}; // there is nothing left to remove
  $("slice").disabled = true;
  $("window-group").disabled = true;
  now.window = null;
}

let drawing = 0;
function draw() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => {
    if (!now?.viewers[0].shown) return;
    const asked = view();
    // With the figures, so that number and figures are never of two slices.
    $("slice-value").textContent = `${now.viewers[0].shown.slice} / ${$("slice").max}`;
    $("threshold").disabled = asked.structure === "" && $("structure").options.length > 1;
    $("threshold-value").textContent = Number($("threshold").value).toFixed(2);
    $("decided").disabled = asked.threshold === null;
    $("window-segment").disabled = asked.window === null;
    for (const viewer of now.viewers) viewer.draw(asked);
    fillFigures(asked);
  });
}

function resetThreshold() {
  delete $("threshold").dataset.own;
  $("threshold").value = now.run.job.networks[0].options.threshold ?? 0.5;
}

function step(by) {
  const before = $("slice").value;
  if ($("slice").disabled) return;
  $("slice").value = Number(before) + by;
  if ($("slice").value !== before) load();
}

// ---- the window

const ownWindow = () => now.viewers[0].ownWindow(now.viewers[0].shown.slice) ?? [127.5, 255];

function setWindow([centre, width]) {
  $("centre").value = Number(centre.toPrecision(5));
  $("width").value = Number(width.toPrecision(5));
}

function chooseWindow() {
  if ($("centre").value === "" || !(Number($("width").value) > 0)) return; // somebody is typing
  now.window = [Number($("centre").value), Number($("width").value)];
  draw();
  reload();
}

function drag(dx, dy) {
  if ($("window-group").disabled || !now.viewers[0].shown) return;
  const [centre, width] = now.window ?? ownWindow();
  const most = ownWindow()[1];
  setWindow([centre + dy * most / 400, Math.max(width + dx * most / 400, most / 256)]);
  chooseWindow();
}

let reloading = 0;
function reload() {
  clearTimeout(reloading);
  reloading = setTimeout(load, 150); // the values that the first window cut off come from the server
}

// ---- figures

function fillFigures(asked) {
  const several = now.viewers.length > 1;
  let bounded = false;
  const warnings = [];
  const notes = new Set(); // of the whole result, and the same of all networks
  const tables = now.viewers.map((viewer) => {
    const { network, shown } = viewer;
    const one = network.slices[shown.slice - 1];
    const table = element("table");
    table.append(element("caption", several ? viewer.name : "Figures"));
    const row = (name, text, main) => {
      const line = element("tr");
      line.append(element("th", name, { scope: "row" }), element("td", text, main ? { class: "main" } : {}));
      table.append(line);
    };
    const slices = network.slices.length;
    if (one.warning) warnings.push(several ? `${viewer.name}: ${one.warning}` : one.warning);
    for (const note of network.notes) notes.add(named(note, now.run.files));
    for (const found of one.classes) {
      if (asked.structure && found.name !== asked.structure) continue;
      const where = one.area_at ? `, at the ${one.area_at}` : "";
      const whole = slices > 1 ? "Area in this slice" : "Area of the mask";
      const ofClass = slices > 1 ? `${found.name}, this slice` : found.name;
      row(`${network.classes.length > 1 ? ofClass : whole}${where}`, area(found.area, one.pixel_mm2), true);
      // They are of the mask, and of pictures like those of the calibration alone.
      if ("area_low" in found && !one.warning) {
        bounded = true;
        row(`${Math.round(100 * network.coverage)}% interval`, range(found.area_low, found.area_high, one.pixel_mm2));
        row("Dice at least", found.dice_low.toFixed(2));
      }
      const own = viewer.areaAt(found.name, asked.threshold);
      if (own !== null) row(`Area above ${asked.threshold.toFixed(2)}`, area(own, one.pixel_mm2), true);
      if (slices > 1) {
        const { volume_ml: ml } = network.classes.find((other) => other.name === found.name);
        row(`Volume, all ${slices} slices`, ml === null ? "not known" : volume(ml), ml !== null);
      }
    }
    row("Doubt", one.doubt.toFixed(3));
    if (slices > 1) {
      const most = network.slices.reduce((found, other, index) => (other.doubt > network.slices[found].doubt ? index : found), 0);
      row("Largest doubt", `${network.slices[most].doubt.toFixed(3)}, slice ${most + 1}`);
    }
    if (one.unlikeness !== null) row("Unlikeness", `${one.unlikeness.toPrecision(3)} (limit 1)`);
    row("Size", `${one.width} × ${one.height}`);
    const [down, across] = one.pixel_mm ?? [1, 1];
    if (down !== across) row("Pixel, not square", `${Number(across.toPrecision(4))} × ${Number(down.toPrecision(4))} mm`);
    return table;
  });
  const help = ["Doubt is the part of Dice that the mask is expected to miss: the larger, the more a person should look."];
  if (bounded) help.push("Interval and lowest Dice are made for images like those of the calibration, below; for others they can be wrong.");
  const said = warnings.map((text) => element("p", text, { class: "warning", role: "note" }));
  const told = [...notes].map((text) => element("p", `Note: ${text}`, { role: "note" }));
  $("figures").replaceChildren(...said, ...tables, ...told, ...help.map((text) => element("p", text, { class: "quiet" })));
}

// ---- events

$("slice").addEventListener("input", load);
for (const id of ["outline", "sample"]) $(id).addEventListener("input", draw);
for (const radio of document.querySelectorAll("input[name=layer]")) radio.addEventListener("input", draw);
$("structure").addEventListener("input", () => {
  resetThreshold();
  draw();
});
$("threshold").addEventListener("input", () => {
  $("threshold").dataset.own = "yes";
  draw();
});
$("decided").addEventListener("click", () => {
  resetThreshold();
  $("threshold").focus(); // the button is of no use any more
  draw();
});
for (const id of ["centre", "width"]) {
  $(id).addEventListener("input", chooseWindow);
  $(id).addEventListener("blur", () => now?.viewers[0].shown && setWindow(now.window ?? ownWindow()));
}
$("window-reset").addEventListener("click", () => {
  now.window = null;
  load();
});
