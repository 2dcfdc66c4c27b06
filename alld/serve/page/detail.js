// The one image that is shown large: its picture, its verdict, and what stands behind it.

import { at, fillPairs, make, tell } from "./dom.js";
import { probability, sentence, sign, trust, verdictWord } from "./words.js";

const HEAT = "Orange speaks for blast, blue for healthy. Coarse, and no outline of anything.";
const WITHOUT = "The picture as the model gets it.";
const PLAIN = "Nothing: plain 8-bit RGB.";

/** Show a picture with what is known of it by now. */
export function showDetail(picture, place, model) {
  at("name").textContent = picture.name;
  at("place").textContent = place;
  showPicture(picture);
  showVerdict(picture.row, model?.uncertain);
  const known = model !== null && picture.row !== null && picture.row.error === null;
  at("trust").textContent = known ? trust(model) : "No verdict, nothing to trust.";
  const notes = picture.notes.length > 0 ? picture.notes : [PLAIN];
  const shown = picture.row === null ? ["…"] : picture.row.error === null ? notes : ["It was not decoded."];
  at("notes").replaceChildren(...shown.map((note) => make("li", {}, note)));
  showProvenance(picture);
}

function showPicture(picture) {
  const source = picture.preview ?? picture.thumb;
  at("preview").hidden = source === null;
  if (source !== null) at("preview").src = source;
  at("preview").alt = source === null ? "" : `${picture.name}, as the model gets it`;
  const reason = picture.row?.error ? "no picture" : "…";
  tell(at("no-preview"), source === null ? reason : "");
}

/** Lay the heat map over the picture, or take it away. */
export function showHeat(picture, wanted, opacity) {
  const heat = at("heat");
  const shown = wanted && picture.heat !== null;
  heat.hidden = !shown;
  at("stage").toggleAttribute("data-heat", shown); // in grey its colours are not taken for stain
  if (shown) heat.src = picture.heat;
  heat.alt = shown ? "Heat map: orange where the picture speaks for blast, blue for healthy" : "";
  heat.style.opacity = opacity / 100;
  at("heat-words").textContent = wanted ? heatWords(picture) : WITHOUT;
}

function heatWords(picture) {
  if (picture.heat !== null) return HEAT;
  return picture.noHeat ?? (picture.row?.error ? WITHOUT : "The heat map is on its way …");
}

function showVerdict(row, band) {
  const waits = row === null;
  at("verdict").dataset.verdict = waits ? "waits" : (row.verdict ?? "none");
  at("verdict").firstElementChild.textContent = waits ? "…" : sign(row);
  at("verdict-word").textContent = waits ? "Waits for its verdict" : verdictWord(row);
  at("sentence").textContent = waits ? "" : sentence(row);
  showScale(row, band);
}

function showScale(row, band) {
  const known = row !== null && row.probability !== null;
  at("scale").hidden = !known;
  if (!known) return;
  const limit = probability(row.threshold);
  at("scale").ariaLabel =
    `P(blast) ${probability(row.probability)} on a scale from 0, healthy, to 1, blast; threshold ${limit}`;
  at("scale").dataset.probability = row.probability;
  at("dot").style.left = `${100 * row.probability}%`;
  at("below").style.width = at("threshold").style.left = `${100 * row.threshold}%`;
  at("unsure").hidden = !band;
  at("unsure").style.left = `${100 * (band?.low ?? 0)}%`;
  at("unsure").style.width = `${100 * ((band?.high ?? 0) - (band?.low ?? 0))}%`;
  at("threshold-label").textContent = `threshold ${limit}`;
  at("threshold-label").style.left = `${Math.max(28, Math.min(72, 100 * row.threshold))}%`;
}

function showProvenance({ file, row }) {
  fillPairs(at("provenance"), [
    ["Size", file === null ? "" : `${file.size.toLocaleString("en")} bytes`],
    ["SHA-256", row?.sha256],
    ["P(blast)", row?.probability?.toString()],
    ["Model", row?.model],
  ]);
}
