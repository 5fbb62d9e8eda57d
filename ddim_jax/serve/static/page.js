// The parts of the page and what it says. Every text from outside reaches the page as textContent.

export const $ = (id) => document.getElementById(id);

export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function show(id) {
  for (const other of ["login", "start", "progress", "result"]) $(other).hidden = other !== id;
  $("error").hidden = true;
}

// For who does not see the page.
export function announce(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

export function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
  $("error").scrollIntoView({ block: "nearest" });
  if (error.status === 401) {
    show("login");
    $("error").hidden = !sessionStorage.getItem("token");
    $("token").focus();
  }
}
