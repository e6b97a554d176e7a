// The server's routes. Waits for a server that is gone or busy; asks for an API key where one is needed.

const RETRY_MS = 2_000;
const PATIENCE_MS = 15_000;

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** An answer that is none: its message is the server's one sentence. */
export class Problem extends Error {}

export class Client {
  /** onReach(reached) is told of every try; askForKey(why) gives a key, or "" if the person has none. */
  constructor(onReach, askForKey) {
    this.onReach = onReach;
    this.askForKey = askForKey;
  }

  /** What is known about the model that answers. */
  model() {
    return this.#send("model", {});
  }

  /** The answer to a question of the paper, with where the model looked; keep: whether the server may keep both. */
  predict({ path, type, body }, keep, signal) {
    // People label what was misread and little else, so no accuracy can be told from this source.
    const headers = { "Content-Type": type, "Inkloop-Source": "page", ...(keep ? {} : { "Inkloop-Capture": "no" }) };
    return this.#send(`${path}?attention=1`, { method: "POST", headers, body }, signal);
  }

  /** Tell which digit it really was. */
  correct(predictionId, label) {
    const body = JSON.stringify({ prediction_id: predictionId, label });
    return this.#send("feedback", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  }

  /** The JSON of the answer. Throws a Problem if it is one, an AbortError if the signal says so. */
  async #send(path, request, signal = new AbortController().signal) {
    for (;;) {
      const { status, text } = await this.#reach(path, request, signal);
      if (status === 200) return JSON.parse(text);
      const sentence = sentenceOf(text) ?? `The server answered with status ${status}.`;
      const key = status === 401 && (await this.askForKey(sentence));
      if (!key) throw new Problem(sentence);
      sessionStorage.setItem("key", key);
    }
  }

  /** Status and text of an answer, however long it takes until the server has one. */
  async #reach(path, request, signal) {
    for (;;) {
      const answer = await answerOf(path, request, signal).catch(() => null);
      signal.throwIfAborted();
      const reached = answer !== null && !isForLater(answer);
      this.onReach(reached);
      if (reached) return answer;
      await pause(RETRY_MS);
      signal.throwIfAborted();
    }
  }
}

async function answerOf(path, request, signal) {
  const response = await fetch(path, {
    ...request,
    headers: { ...request.headers, ...authorization() },
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
  });
  return { status: response.status, text: await response.text() };
}

/** Whether the server is busy, or a proxy before it says that it is gone. */
function isForLater({ status, text }) {
  return status === 429 || (status >= 502 && status <= 504 && !sentenceOf(text));
}

/** The sentence of a problem detail; undefined if the text is none. */
function sentenceOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return undefined;
  }
}

function authorization() {
  const key = sessionStorage.getItem("key");
  return key ? { Authorization: `Bearer ${key}` } : {};
}
