// Small helpers for building the page.

/** Return an element. Attributes that are functions are listeners; null and false leave one out. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Return an SVG element. */
export function shape(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== null && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Call back with the files that are chosen or dropped; from then on the place for them is small. */
export function onFiles(drop, chosen) {
  const input = drop.querySelector("input");
  const call = (files) => {
    drop.classList.add("used");
    chosen(files);
  };
  input.addEventListener("change", () => {
    if (input.files.length) call([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (files.length) call(input.multiple ? files : files.slice(0, 1));
  });
}

/** What a panel says: progress as status, with a bar while it waits, problems as alert. */
export function voice(panel) {
  const status = panel.querySelector(".status");
  const error = panel.querySelector(".error");
  const waiting = panel.querySelector(".waiting");
  const wait = (on) => waiting && (waiting.hidden = !on);
  return {
    say(text, { busy = false } = {}) {
      wait(busy);
      status.textContent = text;
      error.hidden = true;
    },
    complain(text) {
      wait(false);
      status.textContent = "";
      error.textContent = text;
      error.hidden = false;
    },
  };
}

export const digits = (number, count = 3) => number.toFixed(count);

/** Return a bar for a number in [0, 1], which stands beside it in digits. */
export function bar(value, kind = "") {
  const fill = element("div", { class: `fill ${kind}` });
  fill.style.width = `${100 * value}%`;
  return element("div", { class: "track", "aria-hidden": "true" }, fill);
}

/** Return a number in [0, 1] with its name and its bar. */
export function meter(label, value, kind = "") {
  return element(
    "div",
    { class: "meter" },
    element("span", {}, label),
    bar(value, kind),
    element("output", {}, digits(value)),
  );
}

/** Return a picture of a file in this browser, or words where the browser cannot show its format. */
export function photo(file, name) {
  if (!file) return element("div", { class: "nothing" }, "picture not given");
  const address = URL.createObjectURL(file);
  const image = element("img", { src: address, alt: name, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("div", { class: "nothing" }, "no preview")));
  image.addEventListener("forget", () => URL.revokeObjectURL(address));
  return image;
}

/** Empty a node and give back the memory of the pictures in it. */
export function clear(node) {
  for (const image of node.querySelectorAll("img")) image.dispatchEvent(new Event("forget"));
  node.replaceChildren();
}

/** Offer a text as a file. */
export function download(name, kind, text) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
