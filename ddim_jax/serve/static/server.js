// What is asked of the server: a picture is sent, and its job asked after until it is done.

const POLL = 300; // ms
const TRIES = 5;
const SILENT = "The server does not answer. Is it still running?";

const headers = () => {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
};

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// The answer to a request. An error has the `status` of the answer, or none where there was no answer.
export async function ask(path, options = {}) {
  const request = { ...options, headers: new Headers(headers()) }; // what is wrong with these is no silence
  let answer;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(SILENT);
  }
  return accepted(answer);
}

async function accepted(answer) {
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  const error = new Error(body?.error ?? `The server answers with status ${answer.status}.`);
  error.status = answer.status;
  error.retry = Number(answer.headers.get("Retry-After"));
  throw error;
}

const bodyOf = (answer) => answer.json().catch(() => { throw new Error(SILENT); });

export function remove(job) {
  if (job?.links.self) ask(job.links.self, { method: "DELETE", keepalive: true }).catch(() => {});
}

// Sends a form and waits until it is segmented: told(text, part) says how far it is, knows(job) is called as soon as there is a job.
export async function segment(form, signal, told, knows) {
  let job = await post(form, signal, told);
  for (;;) {
    knows(job);
    signal.throwIfAborted();
    if (job.status === "done") return;
    if (job.status === "failed") throw new Error(job.refusal.error);
    const { before, done, of } = job.progress;
    if (before) told(`Waiting, ${before} before this one`);
    else if (of > 1) told(`Segmenting, ${Math.floor(100 * done / of)}%`, done / of);
    else told("Segmenting");
    await pause(POLL);
    job = await poll(job.links.self, signal);
  }
}

async function post(form, signal, told) {
  for (;;) {
    signal.throwIfAborted();
    told("Sending");
    try {
      return await bodyOf(await accepted(await upload(form, signal, (part) => told("Sending", part))));
    } catch (error) {
      if (error.status !== 503) throw error;
      told("The server is busy; trying again");
      await pause(1000 * (error.retry || 5));
    }
  }
}

// A request by which an upload can be followed, and given up as long as it is on its way. Once it is there it has a job to remove.
function upload(form, signal, told) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("POST", "segment");
    request.responseType = "blob";
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => told(event.loaded / event.total);
    request.upload.onload = () => signal.removeEventListener("abort", stop);
    request.onload = () => done(new Response(request.response, {
      status: request.status,
      headers: { "Retry-After": request.getResponseHeader("Retry-After") ?? "" },
    }));
    request.onerror = () => failed(new Error(SILENT));
    request.onabort = () => failed(signal.reason);
    signal.addEventListener("abort", stop);
    request.send(form);
  });
}

// The job; an answer that is lost on its way, or in a proxy, is asked for again.
async function poll(address, signal) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await bodyOf(await ask(address, { signal }));
    } catch (error) {
      signal.throwIfAborted();
      if (tried === TRIES || ![undefined, 502, 503, 504].includes(error.status)) throw error;
      await pause(POLL * 2 ** tried);
    }
  }
}
