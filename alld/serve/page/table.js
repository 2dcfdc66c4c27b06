// The table of all images: one row each, sorted by what its header says, one of them shown.

import { at, make } from "./dom.js";
import { probability, sentence, sign, verdictWord } from "./words.js";

const COLLATOR = new Intl.Collator("en", { numeric: true });
const KEYS = {
  name: (picture) => picture.name,
  verdict: (picture) => (picture.row ? verdictWord(picture.row) : ""),
  probability: (picture) => picture.row?.probability ?? -1,
};

/** The rows; `onPick(picture)` is called when a person picks one. */
export class Table {
  constructor(onPick) {
    this.onPick = onPick;
    this.rows = new Map(); // picture → its <tr>
    this.order = [];
    this.column = null;
    this.up = true;
    for (const button of document.querySelectorAll(".sort")) {
      button.addEventListener("click", () => this.sortBy(button.dataset.column));
    }
    at("rows").addEventListener("keydown", (event) => this.onKey(event));
  }

  clear() {
    this.rows.clear();
    this.order = [];
    at("rows").replaceChildren();
  }

  add(pictures) {
    for (const picture of pictures) this.rows.set(picture, this.makeRow(picture));
    this.order.push(...pictures);
    at("rows").append(...pictures.map((picture) => this.rows.get(picture)));
  }

  makeRow(picture) {
    const pick = make("button", { type: "button", className: "pick", tabIndex: -1 }, picture.name);
    const row = make("tr", {}, make("td", { className: "thumb" }), make("th", { scope: "row" }, pick));
    row.append(make("td", { className: "soft" }, "waits"), make("td", { className: "n" }));
    row.addEventListener("click", () => this.onPick(picture));
    return row;
  }

  /** Show what is known of a picture by now. */
  update(picture) {
    const [thumb, file, verdict, number] = this.rows.get(picture).children;
    const source = picture.thumb ?? picture.preview;
    if (source && !thumb.firstChild) thumb.append(make("img", { src: source, alt: "" }));
    if (!picture.row) return;
    const word = make("span", { className: "word" }, `${sign(picture.row)}\u00a0${verdictWord(picture.row)}`);
    word.dataset.verdict = picture.row.verdict ?? "none";
    const why = picture.row.error === null ? "" : sentence(picture.row);
    verdict.replaceChildren(word);
    // The button stays where it is: an element that is moved loses the keyboard.
    file.querySelector(".why")?.remove();
    if (why) file.append(make("span", { className: "why" }, why));
    number.textContent = probability(picture.row.probability);
  }

  /** Mark the picture that is shown; the tab key comes back to it. */
  mark(picture, focus) {
    for (const [other, row] of this.rows) {
      const shown = other === picture;
      row.toggleAttribute("data-shown", shown);
      const pick = row.querySelector(".pick");
      pick.tabIndex = shown ? 0 : -1;
      pick.ariaCurrent = shown ? "true" : null;
    }
    const pick = this.rows.get(picture).querySelector(".pick");
    if (focus) pick.focus();
    pick.scrollIntoView({ block: "nearest" });
  }

  sortBy(column) {
    this.up = this.column === column ? !this.up : column !== "probability";
    this.column = column;
    for (const button of document.querySelectorAll(".sort")) {
      const mine = button.dataset.column === column;
      const direction = this.up ? "ascending" : "descending";
      button.closest("th").ariaSort = mine ? direction : null;
    }
    this.sort();
  }

  /** Bring the rows into the order that was asked for; those that are equal stay as they came. */
  sort() {
    if (this.column === null) return;
    const key = KEYS[this.column];
    const turn = this.up ? 1 : -1;
    const compare = (a, b) => turn * difference(key(a), key(b)) || a.number - b.number;
    this.order.sort(compare);
    const focused = document.activeElement;
    at("rows").append(...this.order.map((picture) => this.rows.get(picture)));
    if (at("rows").contains(focused)) focused.focus(); // moving its row took the keyboard from it
  }

  /** The picture so many rows away from another one, or the last one on the way. */
  neighbour(picture, steps) {
    const wanted = this.order.indexOf(picture) + steps;
    return this.order[Math.max(0, Math.min(this.order.length - 1, wanted))];
  }

  onKey(event) {
    const row = event.target.closest("tr");
    const steps = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity }[event.key];
    const picture = [...this.rows].find(([, other]) => other === row)?.[0];
    if (steps === undefined || picture === undefined) return;
    event.preventDefault();
    this.onPick(this.neighbour(picture, steps), true);
  }
}

function difference(a, b) {
  return typeof a === "string" ? COLLATOR.compare(a, b) : a - b;
}
