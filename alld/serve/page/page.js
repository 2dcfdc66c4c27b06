// Takes images, sends them, shows one of them and the table of all: the wiring of the page.

import { Batch } from "./batch.js";
import { table as csv } from "./csv.js";
import { showDetail, showHeat } from "./detail.js";
import { at, make, tell } from "./dom.js";
import { showModel } from "./model.js";
import { health, login, model as modelFacts, pause } from "./server.js";
import { Table } from "./table.js";
import { images, probability, tally, verdictWord } from "./words.js";

// `limit` of a file in bytes is known when the model is there; until then nothing is sent.
const state = { shown: null, model: null, limit: null, heat: false, announced: 0 };
const LOADING_PAUSE = 300; // ms
const batch = new Batch(onChange);
const table = new Table((picture, focus = true) => show(picture, focus));

async function start() {
  listen();
  try {
    const { most_bytes: limit } = await enter();
    state.model = await modelFacts();
    showModel(state.model);
    state.limit = limit;
    if (state.shown) show(state.shown);
    batch.run(limit);
  } catch (trouble) {
    tell(at("trouble"), `${trouble.message}. Is alld serve still running? Then reload this page.`);
  }
  at("loading").hidden = true;
}

/** Ask for the token where the server wants one, and wait until the model is loaded. */
async function enter() {
  for (;;) {
    const said = await health();
    if (said.token_needed) await askForToken();
    else if (said.status === "ready") return said;
    else at("loading").hidden = false;
    await pause(LOADING_PAUSE);
  }
}

function askForToken() {
  const dialog = at("login");
  dialog.showModal();
  return new Promise((entered) => {
    at("login-form").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await login(at("token").value);
        dialog.close();
        entered();
      } catch (trouble) {
        tell(at("login-trouble"), trouble.message);
      }
    };
    dialog.oncancel = (event) => event.preventDefault(); // there is nothing behind it
  });
}

function listen() {
  at("choose").onclick = () => at("files").click();
  at("files").onchange = () => {
    take([...at("files").files]);
    at("files").value = ""; // the same file may be chosen again
  };
  at("previous").onclick = () => step(-1);
  at("next").onclick = () => step(1);
  at("csv").onclick = download;
  at("clear").onclick = clear;
  at("heat-switch").onclick = () => switchHeat(!state.heat);
  at("opacity").oninput = () => showHeat(state.shown, state.heat, at("opacity").value);
  document.addEventListener("keydown", onKey);
  document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.dataset.drag = "over";
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) delete document.body.dataset.drag;
  });
  document.addEventListener("drop", onDrop);
}

function onDrop(event) {
  event.preventDefault();
  delete document.body.dataset.drag;
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
  const names = folders.map((item) => item.webkitGetAsEntry().name);
  take([...event.dataTransfer.files].filter((file) => !names.includes(file.name)));
  table.add(names.map((name) => batch.refuse(name, "is a folder; drop the images in it")));
  refresh();
}

function take(files) {
  if (files.length === 0) return;
  const added = batch.add(files);
  table.add(added);
  say(`${images(added.length)} taken`);
  if (state.shown === null) show(added[0]);
  refresh();
  if (state.limit !== null) batch.run(state.limit);
}

/** Show one picture large; `spoken` says its verdict too. */
async function show(picture, focus = false) {
  state.shown = picture;
  at("pictures").hidden = false;
  table.mark(picture, focus);
  render(picture);
  if (picture.row) say(spoken(picture));
  if (state.limit !== null) await batch.look(picture, state.heat, state.limit);
}

function render(picture) {
  const place = `${table.order.indexOf(picture) + 1} of ${table.order.length}`;
  showDetail(picture, place, state.model);
  showHeat(picture, state.heat, at("opacity").value);
}

/** Something new is known of a picture. */
function onChange(picture) {
  table.update(picture);
  if (picture === state.shown) render(picture);
  refresh();
}

/** The counts over the table; when all is done, the order and a word for screen readers. */
function refresh() {
  const done = batch.done;
  const all = batch.pictures.length;
  if (state.shown === null && all > 0) show(batch.pictures[0]);
  at("count").textContent = images(all);
  at("tally").textContent = tally(done.map((picture) => picture.row));
  at("progress").hidden = done.length === all;
  at("progress").max = all;
  at("progress").value = done.length;
  at("csv").disabled = done.length === 0;
  at("previous").disabled = at("next").disabled = all < 2;
  if (done.length === all && state.announced !== all) finish(done);
}

function finish(done) {
  state.announced = done.length;
  table.sort();
  if (state.shown) render(state.shown);
  say(done.length === 1 ? spoken(done[0]) : `${images(done.length)}: ${at("tally").textContent}`);
}

function step(steps, focus = false) {
  if (state.shown) show(table.neighbour(state.shown, steps), focus);
}

function onKey(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const modified = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
  if (steps === undefined || modified || event.target.closest("input, dialog")) return;
  event.preventDefault();
  step(steps, event.target.closest("#rows") !== null);
}

async function switchHeat(wanted) {
  state.heat = wanted;
  at("heat-switch").ariaPressed = String(wanted);
  at("opacity").disabled = !wanted;
  await show(state.shown);
}

function clear() {
  batch.clear();
  table.clear();
  state.shown = null;
  state.announced = 0;
  at("pictures").hidden = true;
  say("all images removed");
  at("choose").focus();
}

/** The table as a file, in the order that is shown. */
function download() {
  const rows = table.order.filter((picture) => picture.done).map((picture) => picture.row);
  const address = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
  const mark = state.model?.synthetic ? "SYNTHETIC-" : "";
  make("a", { href: address, download: `alld-${mark}predictions.csv` }).click();
  pause(10_000).then(() => URL.revokeObjectURL(address));
}

function spoken({ name, row }) {
  if (row.error !== null) return row.error;
  return `${name}: ${verdictWord(row)}, P(blast) ${probability(row.probability)}`;
}

/** For who hears the page. */
function say(words) {
  at("live").textContent = words;
}

start();
