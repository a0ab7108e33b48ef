// To take along: the link, the code, the page in a file, and a sweep's folder.
import { keyOf } from "play/choice.js";
import { element } from "play/format.js";

export class Take {
  constructor(app) {
    this.app = app;
    this.body = document.getElementById("take-body");
    this.said = element("p", { id: "take-said" });
    this.said.setAttribute("role", "status");
    this.code = element("div", { id: "code" });
    const buttons = [["Copy the link", () => this.copy(location.href, "The link is copied: it shows what is seen here.")]];
    if (app.link !== null) {
      buttons.push(["As code", () => this.asCode()], ["As page", () => this.asPage()]);
      if (app.subject.named) buttons.push(["As sweep", () => this.asSweep()]);
    }
    this.body.append(element("p", { className: "buttons" }, ...buttons.map(([textContent, act]) => {
      const made = element("button", { type: "button", textContent });
      made.addEventListener("click", () => act().catch((error) => this.say(error.message)));
      return made;
    })), this.said, this.code);
    app.on(() => {
      if (this.of !== undefined && this.of !== keyOf(app.choice)) this.code.replaceChildren();
    });
  }

  say(text) {
    this.said.textContent = text;
  }

  async copy(text, done) {
    await navigator.clipboard.writeText(text);
    this.say(done);
  }

  async asCode() {
    const { app } = this;
    const found = await app.link.post("/api/code", { choice: app.choice });
    this.of = keyOf(app.choice);
    this.say("");
    this.code.replaceChildren(...Object.entries(found).flatMap(([name, text]) => {
      const copy = element("button", { type: "button", textContent: "Copy" });
      copy.setAttribute("aria-label", `Copy the code for ${name}`);
      copy.addEventListener("click", () => this.copy(text, `The code for ${name} is copied.`).catch((error) => this.say(error.message)));
      return [element("h3", {}, `${name} `, copy), element("pre", { tabIndex: 0 }, element("code", { textContent: text }))];
    }));
  }

  async asPage() {
    const { app } = this;
    const text = await app.link.text("/api/page", { choice: app.choice });
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/html" })), download: "play.html" });
    link.click();
    URL.revokeObjectURL(link.href);
    this.say(`play.html holds ${app.runs.byKey.size} runs, and needs no server.`);
  }

  async asSweep() {
    const { app } = this;
    const { folder } = await app.link.post("/api/sweep", { choice: app.choice });
    this.say(`The runs with adam are kept in ${folder}; adamkit report ${folder} makes its report.`);
  }
}
