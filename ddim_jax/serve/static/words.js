// Figures and names as a person reads them.

// A single class that nobody named.
export const titled = (name) => (name === "foreground" ? "mask" : name);

const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });

export function area(pixels, mm2) {
  if (mm2 === null) return `${Math.round(pixels).toLocaleString("en")} px`;
  const value = pixels * mm2;
  return value >= 1000 ? `${number(value / 100)} cm²` : `${number(value)} mm²`;
}

export const volume = (ml) => `${number(ml)} mL`;

// A number and what it is of: "1 slice", "2 slices".
export const quantity = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

// Two areas, with their unit once where it is the same.
export function range(low, high, mm2) {
  const [from, to] = [area(low, mm2), area(high, mm2)];
  const unit = to.slice(to.indexOf(" "));
  return `${from.endsWith(unit) ? from.slice(0, -unit.length) : from} to ${to}`;
}

// The files of a text by their names; the server knows their numbers alone.
export function named(text, files) {
  if (files?.length === 1) return text.replace(/\bthe (file|archive)\b/i, () => files[0].name);
  return text.replace(/\bfile (\d+)\b/gi, (whole, place) => files?.[place - 1]?.name ?? whole);
}
