// The files that a person gives: dropped ones, those of dropped folders among them.

// To be called while the event is handled: its items are gone afterwards.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // a hundred at a time
    if (!some.length) break;
    found.push(...some);
  }
  // Hidden files are the system's own, such as .DS_Store.
  return (await Promise.all(found.filter((one) => !one.name.startsWith(".")).map(filesOf))).flat();
}

// The first file that cannot be read any more; the browser keeps no copy of what was chosen.
export async function unreadable(files) {
  for (const file of files) {
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      return file;
    }
  }
  return null;
}
