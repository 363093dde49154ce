// Methods in groups, with readable labels.

import { element } from "./dom.js";

const GROUPS = {
  "Next to degraded copies": {
    paper: "Q-Debias",
    "paper-eq7": "Q-Debias, denser fog",
    "paper-literal": "Q-Debias, images last",
    released: "Q-Debias, authors' script",
    "released-as-written": "Q-Debias, script as written",
    "query-first": "Q-Debias, image first",
    contrast: "Each copy alone, subtracted",
    pristine: "Image called excellent",
  },
  "The image alone": {
    vanilla: "Plain question",
    qbench: "Q-Bench",
    "qbench-t100": "Q-Bench, temperature 100",
    standard7: "Described scale, 1 to 7",
    "sep-iqa": "SeP-IQA, 100 words",
    "sep-levels5": "SeP-IQA, five levels",
  },
  "Fewer degraded copies": {
    "only-zoom-blur": "Zoom blur",
    "only-spatter": "Spatter",
    "only-fog": "Fog",
    "only-saturate": "Saturation",
    "spatter-saturate": "Spatter, saturation",
    "spatter-fog-saturate": "Spatter, fog, saturation",
  },
  "Other weights or words": {
    average: "Equal weights",
    lpips: "Weights by similarity",
    winner: "One copy only",
    t1: "Prompt replaced",
    t2: "First image not called poor",
    t3: "Without “how about”",
  },
};

/** Return option groups for the menu; methods without a label come last, by name. */
export function grouped(methods) {
  const known = new Set(Object.values(GROUPS).flatMap(Object.keys));
  const rest = Object.fromEntries(methods.filter(({ name }) => !known.has(name)).map(({ name }) => [name, name]));
  return Object.entries({ ...GROUPS, "Trained scorers and others": rest })
    .map(([label, plain]) => [label, plain, methods.filter(({ name }) => name in plain)])
    .filter(([, , found]) => found.length)
    .map(([label, plain, found]) => element("optgroup", { label }, ...found.map(({ name, default: chosen }) =>
      element("option", { value: name, selected: chosen && "" }, plain[name] === name ? name : `${plain[name]} (${name})`))));
}
