// The way to the server: requests that answer, and a stream that tells what is new. A page in a file has none.

const name = () => crypto.getRandomValues(new Uint32Array(3)).reduce((text, number) => text + number.toString(36), "t");

export class Link {
  constructor() {
    this.tab = name();
    this.handlers = {};
    this.waiting = null;
  }

  on(event, handler) {
    this.handlers[event] = handler;
  }

  // The stream: it connects again by itself, and is watched here so that the page can say so.
  open() {
    const stream = new EventSource(`/api/events?tab=${this.tab}`);
    for (const event of ["hello", "runs", "status"]) {
      stream.addEventListener(event, ({ data }) => this.handlers[event]?.(JSON.parse(data)));
    }
    stream.addEventListener("open", () => this.handlers.up?.());
    stream.addEventListener("error", () => {
      this.handlers.down?.();
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => this.open(), 1000);
    });
  }

  async get(path) {
    return (await fetch(path)).json();
  }

  send(path, body, signal) {
    return fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ tab: this.tab, ...body }),
      signal,
    });
  }

  // The server's answer; an Error with its words where it refuses.
  async post(path, body, signal) {
    const answer = await this.send(path, body, signal);
    const data = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
    if (!answer.ok) throw Object.assign(new Error(data.error), { status: answer.status });
    return data;
  }

  async text(path, body) {
    const answer = await this.send(path, body);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.text();
  }

  // The exact run of a choice, instead of what was asked for before; undefined where that took its place.
  async train(choice) {
    this.waiting?.abort();
    const mine = (this.waiting = new AbortController());
    try {
      return await this.post("/api/train", { choice }, mine.signal);
    } catch (error) {
      if (mine.signal.aborted || error.status === 409) return undefined;
      throw error;
    }
  }
}
