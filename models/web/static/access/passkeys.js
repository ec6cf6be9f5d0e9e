// Makes and uses passkeys (WebAuthn): asks the site for options, the device for an answer, and gives it to the site.

const bytes = (text) => {
  const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(plain, (each) => each.charCodeAt(0));
};

const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const known = (list) => (list ?? []).map((each) => ({ ...each, id: bytes(each.id) }));

const CEREMONIES = {
  create: async (options) => {
    const made = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: known(options.excludeCredentials),
      },
    });
    return {
      clientDataJSON: text(made.response.clientDataJSON),
      attestationObject: text(made.response.attestationObject),
      transports: made.response.getTransports?.() ?? [],
      id: made.id,
    };
  },
  get: async (options) => {
    const used = await navigator.credentials.get({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        allowCredentials: known(options.allowCredentials),
      },
    });
    return {
      clientDataJSON: text(used.response.clientDataJSON),
      authenticatorData: text(used.response.authenticatorData),
      signature: text(used.response.signature),
      userHandle: used.response.userHandle ? text(used.response.userHandle) : null,
      id: used.id,
    };
  },
};

class Refused extends Error {
  constructor(status, problem) {
    super(problem.title ?? "");
    this.status = status;
    this.code = problem.code;
  }
}

async function post(address, token, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/json",
      "Accept-Language": document.documentElement.lang,
      "X-CSRF-Token": token,
    },
    body: JSON.stringify(body),
  });
  const found = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, found);
  return found;
}

async function run(section) {
  const { passkey, begin, finish, csrf, next, again } = section.dataset;
  try {
    const { ceremony_id, options } = await post(begin, csrf, {});
    const { id, ...response } = await CEREMONIES[passkey](options);
    const body = { ceremony_id, credential: JSON.stringify({ id, rawId: id, type: "public-key", response }) };
    if (passkey === "get") body.next = next ?? "";
    else body.label = section.querySelector("input[name=label]")?.value ?? "";
    location.assign((await post(finish, csrf, body)).next);
  } catch (error) {
    if (error instanceof Refused && error.code === "sign-in-needed" && again) return location.assign(again);
    const what = error instanceof Refused ? "refused" : error instanceof DOMException ? "cancelled" : "unreachable";
    const shown = section.querySelector(`[data-said=${what}]`);
    if (error instanceof Refused && error.message) shown.textContent = error.message;
    shown.hidden = false;
  }
}

for (const section of document.querySelectorAll("[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  section.hidden = false;
  const button = section.querySelector("button");
  button.addEventListener("click", async () => {
    for (const each of section.querySelectorAll("[data-said]")) each.hidden = true;
    button.disabled = true;
    await run(section);
    button.disabled = false;
  });
}
