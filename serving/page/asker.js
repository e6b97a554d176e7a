// Asks about what is being drawn: one request at a time, so that no answer overtakes another.

const GATHER_MS = 80; // what is drawn in this time is asked about together

export class Asker {
  /** ask(keep, signal) gives an answer; tell(answer, keep) hears each, refuse(problem) each failure. */
  constructor(ask, tell, refuse) {
    Object.assign(this, { ask, tell, refuse });
    this.due = null; // what to ask next: {keep}
    this.running = false;
    this.sheet = new AbortController(); // ends with the sheet of paper that is asked about
  }

  /** Ask about the paper as it is soon; keep: whether the server may keep it. */
  soon(keep) {
    this.due = { keep };
    if (!this.running) this.#run();
  }

  /** Forget the sheet: what was asked about it is of no interest any more. */
  drop() {
    this.due = null;
    this.sheet.abort();
    this.sheet = new AbortController();
  }

  async #run() {
    this.running = true;
    while (this.due) {
      await new Promise((done) => setTimeout(done, GATHER_MS));
      if (this.due) await this.#once();
    }
    this.running = false;
  }

  async #once() {
    const { keep } = this.due;
    const { signal } = this.sheet;
    this.due = null;
    try {
      const answer = await this.ask(keep, signal);
      if (!signal.aborted) this.tell(answer, keep);
    } catch (problem) {
      if (!signal.aborted) this.refuse(problem);
    }
  }
}
