// The service's public API, as openapi.json describes it.

export class Refused extends Error {
  constructor(message, status, wait) {
    super(message);
    this.status = status;
    this.wait = wait; // seconds until it is worth coming again
  }
}

export async function choices() {
  const [models, methods] = await Promise.all([ask("v1/models"), ask("v1/methods")]);
  return { models: models.models, methods: methods.methods };
}

export const explain = (file, choice, signal) => ask("v1/explain?format=json", { body: form(file, choice), signal });

export const score = (file, choice, signal) => ask("v1/score", { body: form(file, choice), signal });

export const agreement = (scores, quality) =>
  ask("v1/agreement", {
    body: JSON.stringify({ scores, quality }),
    headers: { "content-type": "application/json" },
  });

/** Do it again, after the time that a busy server asks for. */
export async function patiently(call, signal) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof Refused) || !error.wait || signal.aborted) throw error;
      await new Promise((done) => {
        setTimeout(done, 1000 * error.wait);
        signal.addEventListener("abort", done, { once: true });
      });
    }
  }
}

function form(file, { model, method }) {
  const data = new FormData();
  data.append("image", file, "image"); // the name of the file is nobody's business
  data.append("model", model);
  data.append("method", method);
  return data;
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { method: options.body ? "POST" : "GET", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached. Is it still running?", 0, 0);
  }
  if (answer.ok) return answer.json();
  const { error } = await answer.json().catch(() => ({}));
  const wait = answer.status === 429 || answer.status === 503 ? Number(answer.headers.get("retry-after")) : 0;
  throw new Refused(sentence(error?.message ?? `the server answered ${answer.status}`), answer.status, wait);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + ".";
