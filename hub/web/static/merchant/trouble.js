// What went wrong, in words that the page carries in the reader's language (see merchant/texts.html.j2).

export class Trouble extends Error {
  // `problem`: the body of a refusal (RFC 9457), where the hub gave one.
  constructor(code, problem = null) {
    super(problem?.detail ?? code);
    this.code = code;
    this.problem = problem;
  }
}

// The text of the page under this name; the name itself where a page lacks it, so that nothing is silent.
export function text(name, places = {}) {
  const holder = document.querySelector(`template[data-text="${CSS.escape(name)}"]`);
  const words = holder?.content.textContent.trim() ?? name;
  return words.replace(/\{(\w+)\}/g, (whole, place) => (place in places ? String(places[place]) : whole));
}

// An element by its name, attributes and children; strings become text, never markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function describe(error) {
  if (error instanceof Trouble) {
    const { problem } = error;
    if (problem) return { title: problem.title, detail: problem.detail, remedy: problem.remedy ?? "", code: problem.code };
    return { title: text(error.code), detail: "", remedy: text(`${error.code}.remedy`), code: error.code };
  }
  return { title: text("unforeseen"), detail: String(error?.message ?? error), remedy: text("unforeseen.remedy"), code: "unforeseen" };
}

// Say a problem in the page's own place for it, and let screen readers say it.
export function say(error, place = document.querySelector("[data-problem]")) {
  const { title, detail, remedy, code } = describe(error);
  const box = element("div", { class: "problem", role: "alert" }, element("h2", {}, title));
  if (detail) box.append(element("p", {}, detail));
  if (remedy) box.append(element("p", {}, element("strong", {}, text("what-to-do")), " ", remedy));
  box.append(element("p", { class: "code" }, element("code", {}, code)));
  place.replaceChildren(box);
  place.hidden = false;
  box.scrollIntoView({ block: "nearest" });
}

export function clear(place = document.querySelector("[data-problem]")) {
  place.replaceChildren();
  place.hidden = true;
}
