// The page of `ddim-jax serve`: pictures are given to it, and each is a run, from its sending until its result is removed.
import { dropped, unreadable } from "./files.js";
import { $, announce, fail, show } from "./page.js";
import { chosenWindow, close, present } from "./result.js";
import { ask, remove, segment } from "./server.js";
import { named, quantity } from "./words.js";

const CHOSEN = ["steps", "samples"];

// A run is { name, files, fields, stop, job }. One is shown while the next is made: what fails or is given up costs nothing.
const state = { about: null, example: 0, made: null, shown: null };

// ---- runs

async function send(given) {
  drop(state.made);
  const run = { ...given, stop: new AbortController(), job: null };
  state.made = run;
  show("progress");
  $("progress").focus({ preventScroll: true }); // not its button, which a held Enter would press
  try {
    const told = (text, part) => run === state.made && say(text, part);
    await segment(formOf(run), run.stop.signal, told, (job) => { run.job = job; });
    if (run !== state.made) return drop(run);
  } catch (error) {
    drop(run);
    if (run !== state.made) return;
    const lost = error.status ? null : await unreadable(run.files);
    if (run !== state.made) return;
    back();
    const why = lost ? `${lost.name} cannot be read: it is a folder, or has changed since it was chosen.` : named(error.message, run.files);
    error.message = state.shown ? `${why} What is shown is still ${state.shown.name}.` : why;
    return fail(error);
  }
  close();
  drop(state.shown);
  [state.shown, state.made] = [run, null];
  document.title = "Result - ddim_jax"; // no name of a file, which would stay in the history of the browser
  await present(run);
}

function formOf(run) {
  const form = new FormData();
  for (const [name, value] of Object.entries(run.fields)) form.append(name, value);
  for (const name of CHOSEN) if ($(name).value !== "" && !$(name).disabled) form.append(name, $(name).value);
  // The server does not need the names, which may be of patients; nor what stands behind a dot and is no known suffix.
  for (const file of run.files) {
    form.append("file", file, `file${state.about.suffixes.find((one) => file.name.toLowerCase().endsWith(one)) ?? ""}`);
  }
  form.append("wait", "false");
  return form;
}

// Ends a run, and removes what the server has of it.
function drop(run) {
  if (!run) return;
  run.stop.abort();
  remove(run.job);
  run.job = null;
}

function leave() {
  state.made = null;
  show(state.shown ? "result" : "start");
}

// Goes back from a run that is not made.
function back() {
  leave();
  (state.shown ? document.querySelector("canvas") : $("files")).focus({ preventScroll: true });
}

function say(text, part) {
  $("progress-text").textContent = text;
  if (part === undefined) $("bar").removeAttribute("value");
  else $("bar").value = part;
  announce(text.split(",")[0]); // each step would be too much to hear
}

// ---- what is given

async function take(files) {
  if (!files.length || !(await known())) return;
  const name = files.length > 1 ? `${files.length} files` : files[0].name;
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  const { upload_bytes: room, upload_files: most } = state.about;
  if (bytes > room) {
    fail(new Error(`${name}: ${Math.ceil(bytes / 2 ** 20)} MiB, and the server takes ${Math.floor(room / 2 ** 20)} at most. It was not sent.`));
  } else if (files.length > most) {
    fail(new Error(`${name}, and the server takes ${most} at most. Nothing was sent.`));
  } else {
    send({ name, files, fields: {} });
  }
}

async function example() {
  if (!(await known())) return;
  const name = `Example ${state.example + 1}`;
  send({ name, files: [], fields: { example: `${state.example}` } });
  state.example = (state.example + 1) % state.about.examples;
}

// Asks for the checkpoints and limits again where the server did not answer before.
async function known() {
  if (!state.about) await begin();
  return state.about !== null;
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
  $("kept").textContent = `Images stay on this server, and are removed when this page is closed, or after ${quantity(Math.round(seconds / 60), "minute")}.`;
  $("terms").textContent = [...new Set(networks.map((one) => one.terms).filter(Boolean))].join(" ");
  for (const name of CHOSEN) {
    const own = networks.map((one) => one.options[name]);
    $(name).max = state.about[name];
    $(name).placeholder = [...new Set(own)].join(" and ");
  }
  // Networks that work in one pass have no steps to choose.
  $("steps").disabled = networks.some((one) => one.options.sampler === null);
  const [steps, samples] = CHOSEN.map((name) => Number($(name).max));
  $("more-help").textContent = `Empty: as this server is set. At most ${quantity(steps, "step")} and ${quantity(samples, "sample")}. ` +
    "The first image with another choice takes longer. Intervals are shown for the choice that was calibrated only.";
  leave();
}

// ---- events

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) { // no header can have it
    fail(new Error("A token has letters of ASCII, digits and signs, without spaces."));
    return;
  }
  sessionStorage.setItem("token", token);
  begin();
});
$("files").addEventListener("change", () => {
  take([...$("files").files]);
  $("files").value = "";
});
$("example").addEventListener("click", example);
$("cancel").addEventListener("click", () => {
  drop(state.made);
  back();
});
$("new").addEventListener("click", () => {
  close();
  drop(state.shown);
  state.shown = null;
  document.title = "ddim_jax";
  show("start");
  $("files").focus();
});
$("window-segment").addEventListener("click", () => {
  const { name, files, fields } = state.shown;
  send({ name, files, fields: { ...fields, window: chosenWindow().join(",") } });
});
for (const kind of ["dragover", "dragenter"]) addEventListener(kind, (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
for (const kind of ["dragleave", "drop"]) addEventListener(kind, () => document.body.classList.remove("over"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  try {
    const files = await dropped(event.dataTransfer);
    if (!files.length) throw new Error("Nothing that was dropped is a file.");
    await take(files);
  } catch (error) {
    fail(error);
  }
});
// A result is gone with its page; one keystroke should not take it.
addEventListener("beforeunload", (event) => {
  if (state.shown) event.preventDefault();
});
addEventListener("pagehide", (event) => {
  if (event.persisted) return;
  drop(state.made);
  drop(state.shown);
});

begin();
