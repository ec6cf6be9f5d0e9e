// Canonical JSON after RFC 8785. ECMAScript's own serialisation of strings and numbers is what that RFC prescribes;
// what is added here is the order of names (UTF-16 code units), and refusing what has no such form.

import { utf8 } from "./bytes.js";

export function canonical(value) {
  return utf8(spell(value));
}

function spell(value) {
  if (value === null || typeof value === "boolean") return JSON.stringify(value);
  if (typeof value === "string") {
    if (/\p{Surrogate}/u.test(value)) throw new TypeError("a lone surrogate has no canonical form");
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new TypeError("only whole numbers up to 2^53 - 1 are signed");
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(spell).join(",")}]`;
  if (typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype) {
    const names = Object.keys(value).sort();
    return `{${names.map((name) => `${spell(name)}:${spell(value[name])}`).join(",")}}`;
  }
  throw new TypeError(`a value of type ${typeof value} has no canonical form`);
}

// A moment as the wire spells it: whole seconds, UTC.
export function moment(date) {
  return `${date.toISOString().slice(0, 19)}Z`;
}
