// Elements by their id, and elements made of words. Words are never read as markup.

export const at = (id) => document.getElementById(id);

/** An element with properties and children; texts become text. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Show a sentence in an element, or hide it where there is none. */
export function tell(element, sentence) {
  element.textContent = sentence;
  element.hidden = sentence === "";
}

/** Fill a `<dl>` with [term, ...lines]; a term without lines is left out. */
export function fillPairs(list, pairs) {
  const known = pairs.filter(([, ...lines]) => lines.some(Boolean));
  const rows = known.map(([term, ...lines]) => {
    const described = lines.filter(Boolean).map((line) => make("dd", {}, line));
    return make("div", {}, make("dt", {}, term), ...described);
  });
  list.replaceChildren(...rows);
}
