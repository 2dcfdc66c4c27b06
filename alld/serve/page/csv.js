// The table as a file that no spreadsheet takes for formulas: the columns of `alld predict`.

const COLUMNS = [
  "path",
  "sha256",
  "pixels_sha256",
  "verdict",
  "probability",
  "threshold",
  "model",
  "reason",
  "error",
];
// As in alld/files.py: how formulas begin, also as East Asian keyboards write it, and what hides.
const FORMULA = /^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/;
// Where semicolons separate cells, one may begin behind any of them.
const INNER = /;(?=[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])/g;
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** The rows as CSV, a header line first. */
export function table(rows) {
  const lines = rows.map((row) => COLUMNS.map((column) => field(row[column])).join(","));
  return [COLUMNS.join(","), ...lines, ""].join("\n");
}

function field(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? cell(value) : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A text that begins no formula and holds no letter that hides, breaks or turns a line. */
export function cell(text) {
  const begun = FORMULA.test(text) ? `'${text}` : text;
  return begun.replace(INNER, ";'").toWellFormed().replace(HIDDEN, spelt);
}

function spelt(letter) {
  const code = letter.codePointAt(0);
  const short = { "\t": "\\t", "\n": "\\n", "\r": "\\r" }[letter];
  if (short) return short;
  return code < 256 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
}

function hex(code, digits) {
  return code.toString(16).padStart(digits, "0");
}
