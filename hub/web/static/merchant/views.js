// Parts of pages that only the merchant may see: asked for by a signed question, shown where the page has their place.

import { askPart } from "./hub.js";
import { checkAll } from "./proof-marks.js";
import { identity, markCounter, withoutKey } from "./session.js";

// Fill a region; → the merchant's identity, or null where this browser has no key.
export async function show(region, query = "") {
  const own = await identity();
  if (!own?.kid) {
    region.replaceChildren(withoutKey());
    region.removeAttribute("aria-busy");
    markCounter(region);
    return null;
  }
  region.setAttribute("aria-busy", "true");
  const part = await askPart(`/merchant/views/${region.dataset.view}${query}`, own);
  region.replaceChildren(...part.childNodes);
  region.removeAttribute("aria-busy");
  markCounter(region);
  void checkAll(region, own);
  return own;
}
