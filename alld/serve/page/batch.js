// All images of this visit and their way to the server, a few at a time.

import { predict } from "./server.js";

const LANES = 3; // requests at the same time
const THUMB = 64; // px
const PREVIEW = 512;

/** An image file and what is known of it so far. */
class Picture {
  constructor(file, name, number) {
    this.file = file;
    this.name = name;
    this.number = number; // in the order of arrival
    this.row = null; // as of `alld predict`, or null while it waits
    this.notes = [];
    this.thumb = null;
    this.preview = null;
    this.heat = null;
    this.noHeat = null; // why there is none
  }

  get done() {
    return this.row !== null;
  }
}

/** The images; `onChange(picture)` is called when something of one is known. */
export class Batch {
  constructor(onChange) {
    this.onChange = onChange;
    this.clear();
  }

  clear() {
    this.pictures = [];
    this.names = new Set();
    this.waiting = [];
    this.lanes = 0;
    this.visit = {}; // answers to an earlier one are dropped
  }

  get done() {
    return this.pictures.filter((picture) => picture.done);
  }

  /** Take files, each under a name that is not yet in the table. */
  add(files) {
    const added = files.map((file) => {
      const picture = new Picture(file, this.freeName(file.name || "pasted"), this.pictures.length);
      this.pictures.push(picture);
      return picture;
    });
    this.waiting.push(...added);
    return added;
  }

  /** Take something that is no file, with the reason. */
  refuse(name, reason) {
    const picture = new Picture(null, this.freeName(name), this.pictures.length);
    this.pictures.push(picture);
    picture.row = failed(picture.name, reason);
    return picture;
  }

  /** Send what waits, as many at a time as there are lanes. */
  run(limit) {
    while (this.lanes < LANES && this.waiting.length > 0) {
      this.lanes += 1;
      this.drive(this.visit, limit);
    }
  }

  async drive(visit, limit) {
    while (visit === this.visit && this.waiting.length > 0) {
      await this.classify(this.waiting.shift(), { preview: THUMB }, limit);
    }
    if (visit === this.visit) this.lanes -= 1;
  }

  /** Ask for a large preview, and for a heat map where it is wanted; each is fetched once. */
  async look(picture, explain, limit) {
    const known = picture.preview && (picture.heat || picture.noHeat || !explain);
    if (known || picture.file === null || picture.row?.error) return;
    this.waiting = this.waiting.filter((other) => other !== picture);
    await this.classify(picture, { preview: PREVIEW, explain }, limit);
  }

  async classify(picture, wanted, limit) {
    const visit = this.visit;
    let said;
    try {
      said = picture.file.size > limit ? tooLarge(limit) : await predict(picture.file, picture.name, wanted);
    } catch (trouble) {
      said = { error: trouble.message };
    }
    if (visit !== this.visit) return;
    if (said.path === undefined) said = picture.row ?? failed(picture.name, said.error);
    this.keep(picture, said, wanted);
    this.onChange(picture);
  }

  keep(picture, said, wanted) {
    const { preview, heat_map: heat, no_heat_map: noHeat, notes, ...row } = said;
    picture.row = row;
    picture.notes = notes ?? picture.notes;
    if (preview && wanted.preview === PREVIEW) picture.preview = preview;
    if (preview && wanted.preview === THUMB) picture.thumb = preview;
    picture.heat = heat ?? picture.heat;
    picture.noHeat = noHeat ?? picture.noHeat;
  }

  freeName(name) {
    let free = name;
    for (let number = 2; this.names.has(free); number += 1) free = `${name} (${number})`;
    this.names.add(free);
    return free;
  }
}

function tooLarge(limit) {
  return { error: `larger than ${limit / 2 ** 20} MiB; crop it to one cell` };
}

/** The row of a file that never reached the model. */
function failed(name, reason) {
  const unknown = { sha256: null, verdict: null, probability: null, threshold: null, model: null };
  return { path: name, ...unknown, reason: null, error: `${name}: ${reason}` };
}
