// What the page says of the model, below all images.

import { at, fillPairs } from "./dom.js";
import { images, measured, probability } from "./words.js";

/** Fill the section about the model, and show the banner where it learnt from drawings. */
export function showModel(model) {
  at("synthetic").hidden = !model.synthetic;
  if (model.synthetic) document.title = `SYNTHETIC: ${document.title}`;
  fillPairs(at("model"), [
    ["Name", model.synthetic ? `${model.name} (SYNTHETIC)` : model.name],
    ["Identity", model.identity],
    ["Network", `${mean(model)}${model.arch} at ${model.image_size} px, initial weights: ${model.initial_weights}`],
    ["Data", data(model)],
    ["Validation", ...validation(model), model.validation_note],
    ["Threshold", `${probability(model.threshold)} (${choice(model.threshold_choice)})`],
    ["Temperature", temperature(model)],
    ["Uncertain", uncertain(model.uncertain)],
    ["Out of domain", domain(model.limits)],
    ["Test-time augmentation", model.tta ? "mean of eight orientations of each image" : "off"],
    ["ALLD", model.alld],
  ]);
}

function mean({ members }) {
  return members > 1 ? `mean of ${members} models of a cross-validation; ` : "";
}

function data({ data: set }) {
  return `${set.name}, ${images(set.images)}; split: ${set.split}; fingerprint ${set.fingerprint.slice(0, 12)}`;
}

function validation(model) {
  const names = ["accuracy", "sensitivity", "specificity"];
  const known = names.filter((name) => model.validation[name]);
  return known.map((name) => `${name} ${measured(model.validation[name])}`);
}

function choice({ how, warning }) {
  return warning ? `${how}; ${warning}` : how;
}

function uncertain(band) {
  return band ? `P(blast) between ${probability(band.low)} and ${probability(band.high)}: ${band.how}` : "off";
}

function domain({ limit, deviations, images: count, reason }) {
  if (limit === null) return `off: ${reason}`;
  const from = `${count} validation images`;
  const how = `images scoring over ${deviations} robust standard deviations above the median of ${from}`;
  return reason ? `${how}; ${reason}` : how;
}

function temperature({ temperature: value, temperature_fit: fit }) {
  const number = value.toFixed(2);
  if (fit.ci_low === null) return `${number}: ${fit.reason}`;
  const interval = `${fit.ci_low.toFixed(2)} to ${fit.ci_high.toFixed(2)}`;
  return `${number} (${interval} on ${fit.n} validation images)`;
}
