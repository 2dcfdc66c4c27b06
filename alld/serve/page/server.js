// The only file that talks to the server: `health`, `model`, `predict` and `login`, beside the page.

const HEADER = { "X-ALLD": "1" };
const BUSY_TRIES = 60;

/** A refusal of the server, or its silence, in words for a person. */
export class Trouble extends Error {
  constructor(reason, status = 0) {
    super(reason);
    this.status = status;
  }
}

/** Whether the model is there, and whether a token is wanted. */
export const health = () => ask("health");

/** The facts of the model; the answer comes when it is loaded. */
export const model = () => ask("model");

/** Give the token; the browser keeps a cookie for it that no script can read. */
export function login(token) {
  return ask("login", { method: "POST", headers: HEADER, body: JSON.stringify({ token }) });
}

/**
 * The row of one file.
 * @param {File} file
 * @param {string} name as it stands in the table
 * @param {{preview: number, explain?: boolean}} wanted side of the preview in px; a heat map
 */
export async function predict(file, name, wanted) {
  const asked = new URLSearchParams({ name, preview: wanted.preview });
  if (wanted.explain) asked.set("explain", "1");
  const request = { method: "POST", headers: HEADER, body: file };
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask(`predict?${asked}`, request);
    } catch (trouble) {
      if (trouble.status !== 429 || tries === BUSY_TRIES) throw trouble;
      await pause(250 + 500 * Math.random());
    }
  }
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function ask(path, request = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...request });
  } catch {
    throw new Trouble("the server does not answer, or the file cannot be read");
  }
  if (response.status === 204) return null;
  const said = await response.json().catch(() => ({}));
  if (response.ok || said.status === "loading") return said; // the latter comes with status 503
  throw new Trouble(said.error ?? `status ${response.status}`, response.status);
}
