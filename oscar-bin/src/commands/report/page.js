// Shades words and regions by how much the position that is pointed at attends to each.
// An address may ask for one: #example.sequence.position, or with .layer, all counted from 0.
"use strict";
(() => {
  const layerChoice = document.getElementById("layer");
  const sights = new Map();
  let kept = null;

  function unpack(sight) {
    if (!sights.has(sight)) {
      const bytes = Uint8Array.from(atob(sight.dataset.attention), (c) => c.charCodeAt(0));
      sights.set(sight, { bytes, parts: [...sight.querySelectorAll("[data-at]")] });
    }
    return sights.get(sight);
  }

  function clear(sight) {
    for (const part of unpack(sight).parts) {
      part.style.removeProperty("--at");
      part.classList.remove("from", "strong");
    }
    sight.classList.remove("shaded");
  }

  function shade(part) {
    const sight = part.closest(".sight");
    const positions = Number(sight.dataset.positions);
    const layers = Number(sight.dataset.layers);
    if (!layers) return;
    const layer = Math.min(Number(layerChoice.value), layers - 1);
    const start = (layer * positions + Number(part.dataset.at)) * positions;
    const { bytes, parts } = unpack(sight);
    sight.classList.add("shaded");
    for (const other of parts) {
      const weight = bytes[start + Number(other.dataset.at)] / 255;
      other.style.setProperty("--at", weight.toFixed(3));
      other.classList.toggle("strong", weight > 0.5);
      other.classList.toggle("from", other === part);
    }
  }

  function keep(part) {
    if (kept) clear(kept.closest(".sight"));
    kept = kept === part ? null : part;
    if (kept) shade(kept);
  }

  function listen(part) {
    const sight = part.closest(".sight");
    part.addEventListener("mouseenter", () => shade(part));
    part.addEventListener("focus", () => shade(part));
    part.addEventListener("mouseleave", () => {
      clear(sight);
      if (kept && sight.contains(kept)) shade(kept);
    });
    part.addEventListener("click", () => keep(part));
  }

  document.querySelectorAll(".sight [data-at]").forEach(listen);
  layerChoice?.addEventListener("change", () => kept && shade(kept));

  const asked = location.hash.slice(1).split(".").map(Number);
  if (asked.length >= 3 && asked.every(Number.isInteger)) {
    const [example, sequence, position, layer] = asked;
    if (layer !== undefined && layerChoice) layerChoice.value = String(layer);
    const exhibit = document.querySelectorAll(".exhibit")[example];
    const sight = exhibit?.querySelectorAll(".sight")[sequence];
    const part = sight?.querySelector(`[data-at="${position}"]`);
    if (part) {
      keep(part);
      part.scrollIntoView({ block: "center" });
    }
  }
})();
