// The files of a result, for taking away.
import { $, element, fail } from "./page.js";
import { ask } from "./server.js";
import { named } from "./words.js";

// Buttons for one slice, and for what holds all slices; each says which.
export function fillDownloads(run, viewers, slice) {
  const items = [];
  for (const { network, name } of viewers) {
    const checkpoint = viewers.length > 1 ? name : "";
    const found = { ...network.slices[slice - 1].files, ...network.files };
    const slices = network.slices.length;
    for (const [kind, label] of Object.entries(network.formats)) {
      if (!(kind in found)) continue;
      const item = element("li");
      const number = kind in network.files || slices === 1 ? 0 : slice;
      const part = slices === 1 ? "" : number ? `slice ${number}` : `all ${slices} slices`;
      const button = element("button", [label, part, checkpoint].filter(Boolean).join(", "), { type: "button" });
      const save = fileName(run.name, number, checkpoint, found[kind]);
      button.addEventListener("click", () => download(found[kind], save).catch(fail));
      item.append(button);
      items.push(item);
    }
    for (const [kind, why] of Object.entries(network.unavailable)) {
      items.push(element("li", `No ${network.formats[kind]}: ${named(why, run.files)}`, { class: "quiet" }));
    }
  }
  $("downloads").replaceChildren(...items);
}

// As the file that was given, with what tells it from the others of this result: x_s012_lung_xray_mask.png.
export function fileName(given, slice, checkpoint, link) {
  // A number behind the last dot is no suffix: DICOM files are called by UIDs.
  const parts = [given.replace(/(\.nii)?\.(?!\d+$)[^.]*$/i, "") || "result"];
  if (slice) parts.push(`s${String(slice).padStart(3, "0")}`);
  if (checkpoint) parts.push(checkpoint.replace(/[^\p{L}\p{N}.-]+/gu, "_"));
  return [...parts, link.split("/").at(-1)].join("_");
}

async function download(link, name) {
  const blob = await (await ask(link)).blob();
  const address = URL.createObjectURL(blob);
  element("a", undefined, { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
