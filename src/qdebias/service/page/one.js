// One image: its degraded copies, what the model made of each, and what that amounts to.

import { explain } from "./api.js";
import { keepDrawn, scale } from "./charts.js";
import { clear, digits, element, meter, onFiles, photo, voice } from "./dom.js";

/** Set up the panel; return how to explain a file, and how to ask anew when another model or method is chosen. */
export function setUpOne(panel, choice, ready) {
  const { say, complain } = voice(panel);
  const drop = panel.querySelector(".drop");
  const result = panel.querySelector(".result");
  const preview = panel.querySelector(".preview");
  let file = null;
  let asking = null;

  async function ask() {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    say("The model is loading; this image is next.", { busy: true });
    panel.setAttribute("aria-busy", "true");
    try {
      await ready;
      if (signal.aborted) return;
      say("Scoring the image next to its degraded copies …", { busy: true });
      const found = await explain(file, choice(), signal);
      show(panel, found);
      result.hidden = false;
      say(`Done: ${file.name}`);
    } catch (error) {
      if (signal.aborted) return;
      result.hidden = true;
      complain(`${file.name}: ${error.message}`);
    } finally {
      if (!signal.aborted) {
        panel.removeAttribute("aria-busy");
        preview.hidden = true;
        clear(preview);
      }
    }
  }

  function open(chosen) {
    file = chosen;
    panel.querySelector(".start").hidden = true;
    result.hidden = true;
    clear(preview);
    preview.append(photo(file, file.name));
    preview.hidden = false;
    drop.classList.add("used");
    ask();
  }

  async function openExample({ currentTarget: button }) {
    const address = button.querySelector("img").getAttribute("src");
    const picture = await (await fetch(address)).blob();
    open(new File([picture], address.replace("example-", ""), { type: picture.type }));
  }

  onFiles(drop, ([chosen]) => open(chosen));
  for (const button of panel.querySelectorAll(".examples button")) button.addEventListener("click", openExample);
  return { open, again: () => file && ask() };
}

function show(panel, found) {
  const { answer } = found;
  panel.querySelector("#score").textContent = digits(answer.score);
  const plain = found.conditions.length ? found.vanilla : null;
  keepDrawn(panel.querySelector("#scale"), (width) => scale(width, answer.score, plain, answer.method));
  panel.querySelector("#words").textContent = words(found);
  const options = Object.entries(answer.probabilities);
  const query = picture(found.picture, "The image", [
    meter("plain P(good)", found.vanilla),
    ...(options.length > 2 ? options.map(([option, share]) => meter(option, share)) : []),
  ]);
  const copies = found.conditions.map((one) =>
    picture(one.picture, one.kind, [
      meter("P(good)", one.good),
      meter("weight", one.weight, "weight"),
      ...(one.same === null ? [] : [meter("P(same)", one.same)]),
    ]));
  panel.querySelector("#pictures").replaceChildren(query, ...copies);
}

const picture = (address, title, meters) =>
  element("figure", { class: "card picture" },
    element("img", { src: address, alt: title }),
    element("figcaption", {}, element("h3", {}, title), ...meters));

/** Describe how the score was computed. */
function words({ answer, vanilla, conditions }) {
  const start = `To the plain question, ${answer.model} answers good with a probability of ${digits(vanilla)}. `;
  if (!conditions.length) {
    const said = Object.keys(answer.probabilities).length === 2 ? `answered good with a probability of ${digits(answer.score)}`
      : `its answer has the value ${digits(answer.score)}`;
    return `${answer.model} was asked one question about this image alone, by the method ${answer.method}, and ${said}. Image content can influence this number; choose ` +
      "a method with degraded copies to compare.";
  }
  const goods = conditions.map((one) => one.good);
  const low = digits(Math.min(...goods)), high = digits(Math.max(...goods));
  const range = low === high ? `with ${low}` : `with ${low} to ${high}`;
  const asked = answer.beside ? `Next to ${count(conditions.length)}, it answers good ${range}. `
    : `About ${count(conditions.length)}, alone, it answers good ${range}, which is subtracted. `;
  const shift = answer.score - vanilla;
  const moved = Math.abs(shift) < 0.0005 ? "the same as" : `${digits(Math.abs(shift))} ${shift > 0 ? "above" : "below"}`;
  return start + asked + weighting(conditions) + `The score is ${digits(answer.score)}, ${moved} the plain answer.`;
}

const count = (number) =>
  number === 1 ? "a degraded copy of the image" : `each of ${number} degraded copies of the image`;

function weighting(conditions) {
  if (conditions.length === 1) return "";
  const ordered = [...conditions].sort((a, b) => b.weight - a.weight);
  const most = ordered[0], least = ordered.at(-1);
  if (most.weight - least.weight < 0.005) return "All answers have the same weight. ";
  const why = most.same === null ? "" : " because the model is most certain that both show the same object";
  return `The answer next to “${most.kind}” has the most weight (${percent(most.weight)})${why}, the one next to “${least.kind}” the least ` +
    `(${percent(least.weight)}). `;
}

const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
