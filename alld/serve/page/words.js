// What the numbers are called on the page. Nothing here touches the document.

const SIGNS = { blast: "●", healthy: "○", uncertain: "?", "out of domain": "⊘" };
const SIDES = { blast: "at or above", healthy: "below" };

/** "Out of domain" of "out of domain"; a file without a verdict says so. */
export function verdictWord(row) {
  if (row.verdict === null) return "No verdict";
  return row.verdict[0].toUpperCase() + row.verdict.slice(1);
}

/** A sign beside the word: colour is never alone. */
export function sign(row) {
  return row.verdict === null ? "✕" : (SIGNS[row.verdict] ?? "◆");
}

/** "0.997" of a probability or threshold, as `alld predict` writes it; "> 0.999" instead of "1". */
export function probability(value) {
  if (value === null) return "";
  if (value > 0.999 && value < 1) return "> 0.999";
  if (value < 0.001 && value > 0) return "< 0.001";
  return String(Number(value.toFixed(3)));
}

/** The reason for the verdict, in one sentence. */
export function sentence(row) {
  if (row.error !== null) return row.error.replace(`${row.path}: `, "");
  const side = SIDES[row.verdict];
  if (!side) return `No verdict: ${row.reason}.`;
  return `P(blast) ${probability(row.probability)}: ${side} the threshold of ${probability(row.threshold)}.`;
}

/** "98.1 %" of 0.981; 100 % only where nothing is lacking. */
export function percent(share) {
  const text = (100 * share).toFixed(1);
  if (share < 1 && text === "100.0") return "> 99.9 %";
  return `${text.replace(".0", "")} %`;
}

/** "42 of 42: 100 % (91.6 % to 100 %, Wilson 95 %)" of a metric with counts. */
export function measured(metric) {
  if (!metric || metric.value === null) return metric?.reason ?? "not measured";
  const interval = `${percent(metric.ci_low)} to ${percent(metric.ci_high)}, ${metric.method}`;
  const counts = metric.k === null ? "" : `${metric.k} of ${metric.n}: `;
  return `${counts}${percent(metric.value)} (${interval})`;
}

/** How often the model was right on its validation images, and what to hold against that. */
export function trust(model) {
  const accuracy = model.validation.accuracy;
  const note = model.validation_note;
  if (!accuracy) return `No validation accuracy is known: ${note}.`;
  return `Validation accuracy ${measured(accuracy)}; ${note}.`;
}

/** "1 image", "2 images". */
export function images(count) {
  return `${count} ${count === 1 ? "image" : "images"}`;
}

/** "12 blast, 5 healthy, 3 without a verdict" of rows that are done. */
export function tally(rows) {
  const counts = new Map();
  for (const row of rows) {
    const name = row.verdict ?? "without a verdict";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const names = [...counts.keys()].sort((a, b) => (a < b ? -1 : 1));
  return names.map((name) => `${counts.get(name)} ${name}`).join(", ");
}
