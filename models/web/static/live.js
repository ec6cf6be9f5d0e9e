// Renews a part of a page while something runs: the same page is read again, and its element of the same id replaces
// this one. Without scripts the page still shows what was true when it was loaded.
//
// <div id="…" data-live="PATH" data-every="MILLISECONDS">…</div>; where the new element has no data-live, it has ended.
// An element with data-live-stopped is shown when the page can no longer be read (signed out, hub away), or when nobody
// touched it for so long that renewing it would keep a session open that ought to end.

const PATIENCE = 5;
const IDLE_MS = 25 * 60 * 1000;
let touched = Date.now();
for (const act of ["pointerdown", "keydown", "wheel", "touchstart"]) {
  document.addEventListener(act, () => { touched = Date.now(); }, { passive: true });
}

function follow(part) {
  const path = part.dataset.live;
  const every = Math.max(1000, Number(part.dataset.every) || 2000);
  let failures = 0;

  async function renew() {
    if (document.visibilityState === "hidden") {
      return true;
    }
    const answer = await fetch(path, { headers: { Accept: "text/html" }, credentials: "same-origin", redirect: "error" });
    if (!answer.ok) {
      throw new Error(`answered ${answer.status}`);
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
    if (fresh === null) {
      throw new Error("the part is gone");
    }
    if (fresh.innerHTML !== part.innerHTML) {
      const kept = new Map([...part.querySelectorAll(".scroll")].map((box, n) => [n, box.scrollLeft]));
      part.replaceChildren(...fresh.childNodes);
      [...part.querySelectorAll(".scroll")].forEach((box, n) => { box.scrollLeft = kept.get(n) ?? 0; });
    }
    if (!fresh.hasAttribute("data-live")) {
      delete part.dataset.live;
      part.dispatchEvent(new CustomEvent("live-ended", { bubbles: true }));
      return false;
    }
    return true;
  }

  async function turn() {
    let again = Date.now() - touched < IDLE_MS;
    let stopped = !again;
    if (again) {
      try {
        again = await renew();
        failures = 0;
      } catch {
        failures += 1;
        again = failures < PATIENCE;
        stopped = !again;
      }
    }
    if (again) {
      setTimeout(turn, every * (failures + 1));
    } else if (stopped) {
      document.querySelectorAll("[data-live-stopped]").forEach((note) => { note.hidden = false; });
    }
  }

  setTimeout(turn, every);
}

document.querySelectorAll("[data-live]").forEach(follow);
// What goes with it only while it runs, e.g. a form that aborts it, goes away with a fresh page.
document.addEventListener("live-ended", () => location.reload(), { once: true });
