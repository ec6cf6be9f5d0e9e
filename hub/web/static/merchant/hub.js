// The hub as this page sees it: its own origin, typed refusals, fresh signatures.

import { random, toHex } from "./bytes.js";
import { requestToken } from "./artefacts.js";
import { Trouble } from "./trouble.js";

async function answered(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", cache: "no-store", redirect: "error", ...options });
  } catch {
    throw new Trouble("hub-unreachable");
  }
  if (response.ok) return response;
  const problem = response.headers.get("content-type")?.includes("problem+json") ? await response.json() : null;
  throw new Trouble(problem?.code ?? "hub-refused", problem);
}

function headers(type) {
  return { "Content-Type": type, "Idempotency-Key": toHex(random(16)), "Accept-Language": document.documentElement.lang };
}

export async function postJson(path, body) {
  const options = { method: "POST", headers: headers("application/json"), body: JSON.stringify(body) };
  return (await answered(path, options)).json();
}

export async function postToken(path, token) {
  return (await answered(path, { method: "POST", headers: headers("application/jose"), body: token })).json();
}

// A signed question of the merchant's own; the answer is JSON.
export async function ask(path, own) {
  return postToken(path, await requestToken(own));
}

// The same, answered as a part of a page. It is parsed as a document of its own, in which nothing runs.
export async function askPart(path, own) {
  const options = { method: "POST", headers: headers("application/jose"), body: await requestToken(own) };
  const page = new DOMParser().parseFromString(await (await answered(path, options)).text(), "text/html");
  return document.adoptNode(page.body);
}

export async function getJson(path) {
  return (await answered(path, { method: "GET" })).json();
}

export async function getText(path) {
  return (await answered(path, { method: "GET" })).text();
}
