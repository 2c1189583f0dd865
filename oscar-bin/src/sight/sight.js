// Pictures with regions and tags, the words of a text, and what each of them attends to: for the report
// and the page of the server. What comes from outside is set as text, never as markup.
"use strict";
const Sight = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  /// With more regions than this, only those that are pointed at or attended to have a name.
  const NAMED = 14;

  function make(parent, name, properties = {}, text = null) {
    const made = document.createElement(name);
    Object.assign(made, properties);
    if (text !== null) made.textContent = text;
    parent.append(made);
    return made;
  }

  function draw(parent, name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  /// Regions over a picture of this size, whose unit is its pixel: `{ box: [x1, y1, x2, y2], name, at }`.
  /// `at` is the position that attends and is attended to, if there is one.
  function regions(svg, [width, height], list) {
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.classList.toggle("many", list.length > NAMED);
    const size = Math.max(width, height) / 28;
    const names = [...new Set(list.map((region) => region.name).filter(Boolean))].sort();
    const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
    // Small ones over large ones, so that each can be pointed at.
    for (const { box, name, at } of [...list].sort((a, b) => area(b) - area(a))) {
      const [x1, y1, x2, y2] = box;
      const group = draw(svg, "g", { class: name ? "region" : "region unnamed" });
      if (at !== undefined) group.dataset.at = at;
      group.style.setProperty("--hue", String((names.indexOf(name) * 137) % 360));
      draw(group, "title", {}).textContent = name || "region";
      draw(group, "rect", { class: "box", x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) });
      const y = y1 > size ? y1 - size * 0.25 : y1 + size;
      draw(group, "text", { class: "label", x: x1, y, "font-size": size }).textContent = name ?? "";
    }
  }

  function guesses(part, { truth, guesses }) {
    const best = guesses[0]?.text ?? "";
    make(part, "span", { className: best === truth ? "guess hit" : "guess miss" }, best);
    const list = make(part, "span", { className: "guesses" });
    list.append("masked: ");
    make(list, "b", {}, truth);
    for (const { text, probability } of guesses) list.append(`\n${probability.toFixed(3)}  ${text}`);
  }

  /// The tokens of the text, and of the tags: `{ text, segment, masked }`; their positions are those in the list.
  function words(parent, tokens) {
    const isTag = (token) => token.segment === "tags";
    for (const [name, wanted] of [["text", (token) => !isTag(token)], ["tags", isTag]]) {
      const found = [...tokens.entries()].filter(([, token]) => wanted(token));
      if (!found.length) continue;
      const line = make(parent, "p", { className: name });
      for (const [at, token] of found) {
        if (!token.text.startsWith("##")) line.append(" ");
        const kind = token.masked ? "masked" : token.segment === "special" ? "special" : "plain";
        const part = make(line, "span", { className: `token ${kind}`, tabIndex: -1 });
        part.dataset.at = at;
        part.setAttribute("role", "button");
        if (token.masked) guesses(part, token.masked);
        else part.textContent = token.text;
      }
    }
    const first = parent.querySelector(".token.plain, .token.masked");
    if (first) first.tabIndex = 0;
  }

  /// Shades the positions within `roots` by how much the one that is pointed at attends to them, relative to the
  /// strongest word and the strongest region. `weights` gives what position `at` gives to each, or nothing.
  function attend(roots, weights) {
    const parts = roots.flatMap((root) => [...root.querySelectorAll("[data-at]")]);
    const isToken = (part) => part.classList.contains("token");
    const tokens = parts.filter(isToken);
    const kinds = [tokens, parts.filter((part) => !isToken(part))];
    let kept = null;

    function shade(from) {
      const given = weights(Number(from.dataset.at));
      if (!given) return;
      for (const kind of kinds) {
        const strongest = Math.max(1e-6, ...kind.map((part) => given[part.dataset.at]));
        for (const part of kind) {
          const share = given[part.dataset.at] / strongest;
          part.style.setProperty("--at", share.toFixed(3));
          part.classList.toggle("strong", share > 0.5);
          part.classList.toggle("from", part === from);
        }
      }
      roots.forEach((root) => root.classList.add("shaded"));
    }

    function rest() {
      if (kept) return shade(kept);
      for (const part of parts) {
        part.style.removeProperty("--at");
        part.classList.remove("strong", "from");
      }
      roots.forEach((root) => root.classList.remove("shaded"));
    }

    function keep(part) {
      kept = kept === part ? null : part;
      if (kept) shade(kept);
      else rest();
    }

    function move(event) {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const shown = tokens.filter((token) => token.offsetParent);
      const next = step && shown[shown.indexOf(event.currentTarget) + step];
      if (!next) return;
      event.preventDefault();
      event.currentTarget.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }

    for (const part of parts) {
      part.addEventListener("mouseenter", () => shade(part));
      part.addEventListener("mouseleave", rest);
      part.addEventListener("focus", () => shade(part));
      part.addEventListener("blur", rest);
      part.addEventListener("click", () => keep(part));
      if (isToken(part)) part.addEventListener("keydown", move);
    }
    return { keep, again: () => kept && shade(kept) };
  }

  return { make, draw, regions, words, attend };
})();
