// The page of `ddim-jax serve`. Every text from outside reaches the page as textContent.
import { Viewer, titled } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const POLL = 300;
const CHOSEN = ["steps", "samples"];
const FILES = { mask: "Mask", probability: "Probability", uncertainty: "Uncertainty", overlay: "Overlay", "dicom-seg": "DICOM-SEG", nifti: "NIfTI" };

const state = { about: null, token: sessionStorage.getItem("token"), files: null, example: 0, name: "", job: null, viewers: [], run: 0 };

// ---- the server

async function ask(path, options = {}) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  const error = new Error(body?.error ?? `The server answers with status ${answer.status}.`);
  error.status = answer.status;
  error.retry = Number(answer.headers.get("Retry-After"));
  throw error;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function send(fields) {
  const run = ++state.run;
  forget();
  show("progress");
  say("Sending");
  $("bar").removeAttribute("value");
  try {
    let job = await post(fields, run);
    while (job.status !== "done") {
      if (run !== state.run) return remove(job);
      state.job = job;
      if (job.status === "failed") throw new Error(job.refusal.error);
      const { before, done, of } = job.progress;
      if (before) say(`Waiting, ${before} before this one`);
      else if (of > 1) say(`Segmenting, ${done} of ${of} slices`);
      else say("Segmenting");
      if (of > 1) $("bar").value = done / of;
      await pause(POLL);
      job = await (await ask(job.links.self)).json();
    }
    if (run !== state.run) return remove(job);
    state.job = job;
    await present(job);
  } catch (error) {
    if (run !== state.run) return;
    forget();
    show("start");
    fail(error);
  }
}

async function post(fields, run) {
  for (;;) {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    for (const name of CHOSEN) if ($(name).value !== "" && !$(name).disabled) form.append(name, $(name).value);
    // The server does not need the names, which may be of patients.
    if (!("example" in fields)) for (const file of state.files) form.append("file", file, suffix(file.name));
    form.append("wait", "false");
    try {
      return await (await ask("segment", { method: "POST", body: form })).json();
    } catch (error) {
      if (error.status !== 503 || run !== state.run) throw error;
      say("The server is busy; trying again");
      await pause(1000 * (error.retry || 5));
    }
  }
}

function suffix(name) {
  const found = /(\.nii)?\.[a-z0-9]{1,6}$/i.exec(name);
  return `file${found ? found[0] : ""}`;
}

function remove(job) {
  if (job) ask(job.links.self, { method: "DELETE", keepalive: true }).catch(() => {});
}

function forget() {
  clearTimeout(reloading); // there is nothing left to load from
  remove(state.job);
  state.job = null;
}

// ---- what is shown

function show(id) {
  for (const other of ["login", "start", "progress", "result"]) $(other).hidden = other !== id;
  $("error").hidden = true;
}

function say(text) {
  $("progress-text").textContent = text;
  if ($("status").textContent !== text) $("status").textContent = text;
}

function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
  if (error.status === 401) {
    show("login");
    $("error").hidden = !state.token;
    $("token").focus();
  }
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

async function present(job) {
  const { networks } = job;
  $("name").textContent = state.name;
  document.title = `${state.name} - ddim_jax`;
  $("slice").max = networks[0].slices.length;
  $("slice").value = Math.ceil(networks[0].slices.length / 2);
  $("slice-field").hidden = networks[0].slices.length < 2;
  fillStructures(networks);
  $("window-help").classList.toggle("touch", networks[0].window !== null);
  const most = Math.max(...networks.map((one) => one.options.samples));
  fill($("hypothesis"), [["", "None"], ["all", `All ${most}`], ...numbers(most).map((n) => [`${n - 1}`, `Number ${n}`])]);
  $("window-segment").hidden = !networks[0].window;
  $("window-group").hidden = false;
  setWindow(networks[0].window ?? [127.5, 255]);
  state.start = { window: networks[0].window ?? [127.5, 255] };
  fillAbout(networks);
  $("viewers").replaceChildren();
  state.viewers = networks.map((network) => new Viewer(network, ask, job.links.picture, drag, step));
  for (const viewer of state.viewers) $("viewers").append(viewer.figure);
  resetThreshold();
  show("result");
  await load();
  $("status").textContent = `Done. ${state.viewers.map((viewer) => viewer.words()).join(" ")}`;
  state.viewers[0].canvas.focus({ preventScroll: true });
}

function numbers(count) {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", text, { value })));
}

function fillStructures(networks) {
  const names = [...new Set(networks.flatMap((one) => one.classes.map((other) => other.name)))];
  fill($("structure"), [...(names.length > 1 ? [["", "All"]] : []), ...names.map((name) => [name, titled(name)])]);
  $("structure-field").hidden = names.length < 2;
}

function fillAbout(networks) {
  const rows = [];
  for (const one of networks) {
    const { options } = one;
    rows.push(["Checkpoint", `${one.name}, step ${one.step}`], ["SHA-256", one.sha256]);
    rows.push(["Samples", `${options.samples}, ${options.steps} ${options.steps === 1 ? "step" : "steps"} each${options.sampler ? ` (${options.sampler})` : ""}, seed ${options.seed}`]);
    if (options.threshold !== null) rows.push(["Threshold", `${options.threshold}`]);
    rows.push(["Intervals", one.calibration ?? "none: the checkpoint is not calibrated"]);
    if (one.not_judged) rows.push(["Unlike pictures", `not judged: ${one.not_judged}`]);
    if (one.note) rows.push(["Trained on", one.note]);
    if (one.terms) rows.push(["Terms", one.terms]);
    for (const note of one.notes) rows.push(["Note", note]);
  }
  $("about").replaceChildren(...rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

// ---- controls

function view() {
  return {
    slice: Number($("slice").value),
    structure: $("structure").value,
    // null: the mask as the checkpoint decides.
    threshold: $("threshold").dataset.own ? Number($("threshold").value) : null,
    outline: $("outline").checked,
    layer: document.querySelector("input[name=layer]:checked").value,
    hypothesis: $("hypothesis").value,
    window: [Number($("centre").value), Math.max(Number($("width").value), 1e-6)],
  };
}

async function load() {
  const asked = view();
  $("slice-value").textContent = `${asked.slice} / ${$("slice").max}`;
  fillDownloads(asked.slice);
  try {
    await Promise.all(state.viewers.map((viewer) => viewer.load(asked)));
    draw();
  } catch (error) {
    fail(error);
  }
}

let drawing = 0;
function draw() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => {
    const asked = view();
    $("threshold").disabled = asked.structure === "" && $("structure").options.length > 1;
    $("threshold-value").textContent = Number($("threshold").value).toFixed(2);
    for (const viewer of state.viewers) viewer.draw(asked);
    fillFigures(asked);
  });
}

function resetThreshold() {
  delete $("threshold").dataset.own;
  $("threshold").value = state.job.networks[0].options.threshold ?? 0.5;
}

function setWindow([centre, width]) {
  $("centre").value = Number(centre.toPrecision(5));
  $("width").value = Number(width.toPrecision(5));
}

function drag(dx, dy) {
  const [centre, width] = view().window;
  const unit = state.start.window[1] / 400;
  setWindow([centre + dy * unit, Math.max(width + dx * unit, state.start.window[1] / 256)]);
  draw();
  reload();
}

let reloading = 0;
function reload() {
  clearTimeout(reloading);
  reloading = setTimeout(load, 150); // the values that the first window cut off come from the server
}

function step(by) {
  const before = $("slice").value;
  $("slice").value = Number(before) + by;
  if ($("slice").value !== before) load();
}

function fillFigures(asked) {
  const several = state.viewers.length > 1;
  const tables = state.viewers.map((viewer) => {
    const { network } = viewer;
    const one = network.slices[asked.slice - 1];
    const table = element("table");
    table.append(element("caption", several ? network.name : "Figures"));
    const row = (name, text, main) => {
      const line = element("tr");
      line.append(element("th", name, { scope: "row" }), element("td", text, main ? { class: "main" } : {}));
      table.append(line);
    };
    for (const found of one.classes) {
      if (asked.structure && found.name !== asked.structure) continue;
      const name = network.classes.length > 1 ? found.name : "Area";
      const own = viewer.areaAt(found.name, asked.threshold);
      row(own === null ? name : `${name} at ${asked.threshold.toFixed(2)}`, area(own ?? found.area, one.pixel_mm2), true);
      if ("area_low" in found) {
        row(`${Math.round(100 * network.coverage)}% interval`, range(found.area_low, found.area_high, one.pixel_mm2));
        row("Dice at least", found.dice_low.toFixed(2));
      }
      if (own !== null) row("Area of the mask", area(found.area, one.pixel_mm2));
    }
    row("Doubt", one.doubt.toFixed(3));
    if (one.unlikeness !== null) row("Unlikeness", `${one.unlikeness.toPrecision(3)} of at most 1`);
    row("Size", `${one.width} × ${one.height}`);
    return table;
  });
  const help = ["Doubt is the part of Dice that the mask is expected to miss: the larger, the more a person should look."];
  if (state.viewers.some(({ network }) => network.slices[asked.slice - 1].classes.some((found) => "area_low" in found))) {
    help.push("Interval and lowest Dice are made for pictures like those of the calibration, below; for others they can be wrong.");
  }
  const warnings = [...new Set(state.viewers.map(({ network }) => network.slices[asked.slice - 1].warning))].filter(Boolean);
  const said = warnings.map((text) => element("p", text, { class: "warning", role: "note" }));
  $("figures").replaceChildren(...said, ...tables, ...help.map((text) => element("p", text, { class: "quiet" })));
}

function area(pixels, mm2) {
  if (mm2 === null) return `${Math.round(pixels).toLocaleString("en")} px`;
  const value = pixels * mm2;
  return value >= 1000 ? `${(value / 100).toPrecision(4)} cm²` : `${value.toPrecision(3)} mm²`;
}

// Two areas, with their unit once where it is the same.
function range(low, high, mm2) {
  const [from, to] = [area(low, mm2), area(high, mm2)];
  const unit = to.slice(to.indexOf(" "));
  return `${from.endsWith(unit) ? from.slice(0, -unit.length) : from} to ${to}`;
}

function fillDownloads(slice) {
  const items = [];
  const several = state.viewers.length > 1;
  for (const { network } of state.viewers) {
    const found = { ...network.slices[slice - 1].files, ...network.files };
    for (const [kind, label] of Object.entries(FILES)) {
      if (!(kind in found)) continue;
      const item = element("li");
      const button = element("button", several ? `${label}, ${network.name}` : label, { type: "button" });
      button.addEventListener("click", () => download(found[kind], kind).catch(fail));
      item.append(button);
      items.push(item);
    }
    for (const [kind, why] of Object.entries(network.unavailable)) items.push(element("li", `No ${FILES[kind]}: ${why}`, { class: "quiet" }));
  }
  $("downloads").replaceChildren(...items);
}

async function download(link, kind) {
  const blob = await (await ask(link)).blob();
  const address = URL.createObjectURL(blob);
  const ending = { dicom: ".dcm", nifti: ".nii.gz" }[kind.split("-")[0]] ?? ".png";
  const stem = state.name.replace(/(\.nii)?\.[^.]*$/i, "") || "result";
  element("a", undefined, { href: address, download: `${stem}_${kind}${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// ---- events

function take(files) {
  if (!files.length) return;
  state.files = [...files];
  state.name = files.length > 1 ? `${files.length} files` : files[0].name;
  const bytes = state.files.reduce((sum, file) => sum + file.size, 0);
  if (bytes > state.about.upload_bytes) {
    show("start");
    fail(new Error(`The files have ${Math.ceil(bytes / 2 ** 20)} MiB; the server takes ${Math.floor(state.about.upload_bytes / 2 ** 20)} at most.`));
    return;
  }
  send({});
}

function example() {
  state.files = null;
  state.name = `Example ${state.example + 1}`;
  send({ example: `${state.example}` });
  state.example = (state.example + 1) % state.about.examples;
}

async function begin() {
  try {
    state.about = await (await ask("about")).json();
  } catch (error) {
    show("start");
    fail(error);
    return;
  }
  const { networks, kept_seconds: seconds } = state.about;
  $("networks").textContent = networks.map((one) => one.name).join(" and ");
  $("kept").textContent = `Pictures stay on this server, and are removed when this page is closed, or after ${Math.round(seconds / 60)} minutes.`;
  $("terms").textContent = [...new Set(networks.map((one) => one.terms).filter(Boolean))].join(" ");
  for (const name of CHOSEN) {
    const own = networks.map((one) => one.options[name]);
    $(name).max = Math.max(state.about[name], ...own);
    $(name).placeholder = [...new Set(own)].join(" and ");
  }
  // Networks that work in one pass have no steps to choose.
  $("steps").disabled = networks.some((one) => one.options.sampler === null);
  $("more-help").textContent = `Empty: as this server is set. At most ${$("steps").max} steps and ${$("samples").max} samples. ` +
    "The first picture with another choice takes longer. Intervals are shown for the choice that was calibrated only.";
  show("start");
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value;
  sessionStorage.setItem("token", state.token);
  begin();
});
$("files").addEventListener("change", () => {
  take($("files").files);
  $("files").value = "";
});
$("example").addEventListener("click", example);
$("cancel").addEventListener("click", () => {
  state.run += 1;
  forget();
  show("start");
});
$("new").addEventListener("click", () => {
  state.run += 1;
  forget();
  document.title = "ddim_jax";
  show("start");
  $("files").focus();
});
$("slice").addEventListener("input", load);
for (const id of ["outline", "hypothesis"]) $(id).addEventListener("input", draw);
for (const radio of document.querySelectorAll("input[name=layer]")) radio.addEventListener("input", draw);
$("structure").addEventListener("input", () => {
  resetThreshold();
  draw();
});
$("threshold").addEventListener("input", () => {
  $("threshold").dataset.own = "yes";
  draw();
});
for (const id of ["centre", "width"]) $(id).addEventListener("input", () => {
  draw();
  reload();
});
$("window-reset").addEventListener("click", () => {
  setWindow(state.start.window);
  load();
});
$("window-segment").addEventListener("click", () => send({ window: view().window.join(",") }));
for (const kind of ["dragover", "dragenter"]) addEventListener(kind, (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
for (const kind of ["dragleave", "drop"]) addEventListener(kind, () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  if (state.about) take(event.dataTransfer.files);
});
addEventListener("pagehide", (event) => {
  if (!event.persisted) forget();
});

begin();
