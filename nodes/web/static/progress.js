// Asks how far a job of this node is, and opens the page anew once its state has changed.

const EVERY_MS = 1500;
const place = document.querySelector("[data-progress]");

async function ask() {
  const answer = await fetch(place.dataset.progress, { headers: { accept: "application/json" } });
  if (!answer.ok) {
    throw new Error(String(answer.status));
  }
  return answer.json();
}

function show(now) {
  const bar = place.querySelector("progress");
  bar.max = now.total || 1;
  bar.value = now.done;
  const write = (number) => number.toLocaleString("en-US");
  place.querySelector(".n").textContent = `${write(now.done)} / ${write(now.total)}`;
}

async function follow() {
  try {
    const now = await ask();
    if (now.state !== place.dataset.state) {
      location.reload();
      return;
    }
    show(now);
  } catch {
    // The node is away for a moment, or the session has ended: the page itself still says what it knows.
  }
  setTimeout(follow, EVERY_MS);
}

if (place !== null) {
  setTimeout(follow, EVERY_MS);
}
