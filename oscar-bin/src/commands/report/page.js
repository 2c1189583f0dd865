// Draws the examples. An address may ask for one: #example.sequence.position, or with .layer, all
// counted from 0.
(() => {
  const layerChoice = document.getElementById("layer");
  const shown = new Map();

  function picture(parent, { key, size, data, regions }) {
    const [width, height] = size;
    const figure = Sight.make(parent, "figure");
    const svg = Sight.draw(figure, "svg", { class: "picture" });
    if (data) Sight.draw(svg, "image", { width, height, preserveAspectRatio: "none", href: data });
    else Sight.draw(svg, "rect", { class: "blank", width, height });
    Sight.regions(svg, size, regions);
    Sight.make(figure, "figcaption", {}, data ? key : `${key} (no picture found)`);
  }

  function show(sight) {
    const { pictures, tokens, attention, layers, positions } = JSON.parse(sight.querySelector("script").textContent);
    for (const one of pictures) picture(sight, one);
    Sight.words(Sight.make(sight, "div", { className: "words" }), tokens);
    const bytes = Uint8Array.from(atob(attention), (c) => c.charCodeAt(0));
    shown.set(sight, Sight.attend([sight], (at) => {
      if (!layers) return null;
      const layer = Math.min(Number(layerChoice.value), layers - 1);
      const start = (layer * positions + at) * positions;
      return bytes.subarray(start, start + positions);
    }));
  }

  document.querySelectorAll(".sight").forEach(show);
  layerChoice?.addEventListener("change", () => shown.forEach((attended) => attended.again()));

  const asked = location.hash.slice(1).split(".").map(Number);
  if (asked.length >= 3 && asked.every(Number.isInteger)) {
    const [example, sequence, position, layer] = asked;
    if (layer !== undefined && layerChoice) layerChoice.value = String(layer);
    const exhibit = document.querySelectorAll(".exhibit")[example];
    const sight = exhibit?.querySelectorAll(".sight")[sequence];
    const part = sight?.querySelector(`[data-at="${position}"]`);
    if (part) {
      shown.get(sight).keep(part);
      part.scrollIntoView({ block: "center" });
    }
  }
})();
