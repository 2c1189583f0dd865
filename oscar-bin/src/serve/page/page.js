// Asks this server about a picture and shows what it answers. Whatever comes from outside (captions,
// tags, keys, messages) is set as text, never as markup.
"use strict";
(() => {
  const PAGE = 24;
  /// Regions that overlap this much are the same.
  const SAME = 0.5;
  const { make, draw } = Sight;
  const el = (id) => document.getElementById(id);
  const state = { image: null, url: null, size: [0, 0], token: sessionStorage.getItem("token"), shown: 0, total: 0 };
  let running = null;

  function say(text, wrong = false) {
    el("status").textContent = text;
    el("status").classList.toggle("wrong", wrong);
  }

  // --- the server ---

  async function call(path, options = {}) {
    const headers = new Headers(options.headers);
    if (state.token) headers.set("authorization", `Bearer ${state.token}`);
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    if (response.status === 401) el("access").hidden = false;
    const problem = await response.json().catch(() => null);
    throw new Error(problem?.error?.message ?? `the server answered ${response.status}`);
  }

  async function json(path, options) {
    return (await call(path, options)).json();
  }

  /// Asks about the picture; a later question takes the place of one that is not answered yet.
  async function question(path, more) {
    if (!state.image) throw new Error("Open a picture first.");
    running?.abort();
    const own = (running = new AbortController());
    const form = new FormData();
    if (state.image.file) form.append("picture", state.image.file);
    else form.append("key", state.image.key);
    for (const [name, value] of Object.entries(more)) form.append(name, value);
    const start = performance.now();
    const answer = await json(path, { method: "POST", body: form, signal: own.signal });
    return { ...answer, seconds: (performance.now() - start) / 1000 };
  }

  // --- the picture ---

  function show(url, image) {
    clear();
    if (state.url?.startsWith("blob:")) URL.revokeObjectURL(state.url);
    Object.assign(state, { image, url, size: [0, 0] });
    el("stage").dataset.empty = "false";
    const picture = el("picture");
    picture.alt = image.name;
    picture.onload = () => {
      picture.classList.toggle("small", picture.naturalWidth < 240);
      place(picture.naturalWidth, picture.naturalHeight);
    };
    picture.src = url;
    for (const button of document.querySelectorAll(".gallery button")) {
      button.setAttribute("aria-pressed", String(button.dataset.key === image.key));
    }
    look();
  }

  function place(width, height) {
    state.size = [width || 1, height || 1];
  }

  function clear() {
    for (const id of ["marks", "tags", "results", "words"]) el(id).replaceChildren();
    el("explanation").hidden = true;
    el("marks").classList.remove("shaded", "many");
    say("");
  }

  /// What the detector sees; without one, the first answer shows it.
  async function look() {
    const of = state.image;
    try {
      say("Looking …");
      const found = await question("/v1/regions", {});
      if (state.image === of) {
        seen(found.images[0]);
        say(`${found.images[0].regions.length} regions, ${found.seconds.toFixed(2)} s`);
      }
    } catch (error) {
      if (error.name !== "AbortError") say(error.message, true);
    }
  }

  function pixels([x1, y1, x2, y2]) {
    const [width, height] = state.size;
    return [x1 * width, y1 * height, x2 * width, y2 * height];
  }

  function mark(regions) {
    el("marks").replaceChildren();
    Sight.regions(el("marks"), state.size, regions);
  }

  /// The class of the object whose box is this one.
  function classOf([x1, y1, x2, y2], objects) {
    const area = (box) => Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
    const shared = (box) => {
      const both = area([Math.max(x1, box[0]), Math.max(y1, box[1]), Math.min(x2, box[2]), Math.min(y2, box[3])]);
      return both / Math.max(1e-6, area([x1, y1, x2, y2]) + area(box) - both);
    };
    const near = objects.filter((object) => object.box).map((object) => [shared(object.box), object.class]);
    const best = near.sort((a, b) => b[0] - a[0])[0];
    return best && best[0] >= SAME ? best[1] : "";
  }

  function seen(image) {
    // A stored image may have been seen in another size than the picture that is shown.
    if (image.width && image.height) place(image.width, image.height);
    else if (!state.size[0]) place(800, 600);
    const withBoxes = image.objects.filter((object) => object.box);
    mark(withBoxes.length
      ? withBoxes.map((object) => ({ box: object.box, name: object.class }))
      : image.regions.map((box) => ({ box: pixels(box), name: "" })));
    const counts = new Map();
    for (const object of image.objects) counts.set(object.class, (counts.get(object.class) ?? 0) + 1);
    el("tags").replaceChildren();
    for (const [name, count] of counts) make(el("tags"), "span", {}, count > 1 ? `${name} × ${count}` : name);
  }

  // --- answers ---

  function answered(form, answer) {
    const image = answer.images[0];
    seen(image);
    explained(image);
    const results = el("results");
    results.replaceChildren();
    const list = image.captions ?? image.answers ?? [];
    if (image.match !== undefined) list.push({ text: form.text.value, probability: image.match });
    for (const { box, probability } of image.boxes ?? []) {
      list.push({ text: form.text.value, probability });
      if (!box) continue;
      const [x1, y1, x2, y2] = pixels(box);
      draw(el("marks"), "rect", { class: "found", x: x1, y: y1, width: x2 - x1, height: y2 - y1 });
    }
    for (const { text, probability } of list) {
      const item = make(results, "li");
      make(item, "span", { className: "text" }, text);
      make(item, "span", { className: "share" }, `  ${(100 * probability).toFixed(1)} %`);
      const bar = make(make(item, "div", { className: "bar" }), "i");
      bar.style.width = `${Math.min(100, Math.max(0, 100 * probability))}%`;
    }
    say(`${answer.model}, ${answer.seconds.toFixed(2)} s`);
  }

  /// The regions that the model reads, and the words; each shades what it attends to.
  function explained({ explanation, objects }) {
    const words = el("words");
    words.replaceChildren();
    el("explanation").hidden = !explanation?.attention.length;
    if (el("explanation").hidden) return;
    const { tokens, regions, attention } = explanation;
    const read = regions.flatMap((box, at) => {
      if (!box) return [];
      return [{ box: pixels(box), at: tokens.length + at, name: classOf(pixels(box), objects) }];
    });
    if (read.length) mark(read);
    Sight.words(words, tokens);
    Sight.attend([el("marks"), words], (at) => attention[at]);
  }

  /// Searches the images of the server; the pictures that are found can be taken.
  async function search(form) {
    running?.abort();
    const own = (running = new AbortController());
    const asked = { text: form.text.value, top: Number(form.top.value) };
    if (form.rerank.value) asked.rerank = Number(form.rerank.value);
    const body = JSON.stringify(asked);
    const headers = { "content-type": "application/json" };
    const start = performance.now();
    const { model, reranker, found } = await json("/v1/search", { method: "POST", headers, body, signal: own.signal });
    el("found").replaceChildren();
    for (const { key, similarity, match_score } of found) {
      const scores = [similarity, match_score].filter((score) => score !== undefined);
      tile(el("found"), key, `${key}  ${scores.map((score) => score.toFixed(3)).join("  ")}`);
    }
    say(`${[model, reranker].filter(Boolean).join(", ")}, ${((performance.now() - start) / 1000).toFixed(2)} s`);
  }

  async function submitted(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const more = { explain: "true" };
    if (form.text) more.text = form.text.value;
    if (form.top) more.top = form.top.value;
    try {
      say("Asking …");
      if (form.id === "search") return await search(form);
      answered(form, await question(form.dataset.endpoint, more));
    } catch (error) {
      if (error.name !== "AbortError") say(error.message, true);
    }
  }

  // --- pictures of the server ---

  async function take(key) {
    try {
      const picture = await call(`/v1/images/${encodeURIComponent(key)}/picture`);
      show(URL.createObjectURL(await picture.blob()), { key, name: key });
    } catch (error) {
      if (el("shelf").dataset.pictures === "true") return say(error.message, true);
      // Regions are drawn on an empty canvas.
      const blank = `<svg xmlns="http://www.w3.org/2000/svg" width="800" height="600"/>`;
      show(`data:image/svg+xml,${encodeURIComponent(blank)}`, { key, name: key });
    }
  }

  async function list() {
    const found = await json(`/v1/images?offset=${state.shown}&limit=${PAGE}`);
    state.shown += found.keys.length;
    el("shelf").hidden = found.total === 0;
    el("shelf").dataset.pictures = String(found.pictures);
    el("more").hidden = state.shown >= found.total || !found.keys.length;
    for (const key of found.keys) tile(el("gallery"), key);
  }

  /// A picture of the server that can be taken.
  function tile(parent, key, note = key) {
    const button = make(parent, "button", { type: "button", title: key });
    button.dataset.key = key;
    button.setAttribute("aria-pressed", String(state.image?.key === key));
    button.addEventListener("click", () => take(key));
    const picture = el("shelf").dataset.pictures === "true" ? make(button, "img", { alt: "" }) : null;
    make(button, "span", {}, note);
    if (picture) thumbnail(picture, key);
  }

  async function thumbnail(picture, key) {
    const got = await call(`/v1/images/${encodeURIComponent(key)}/picture?side=160`).catch(() => null);
    if (got) picture.src = URL.createObjectURL(await got.blob());
  }

  // --- the models ---

  function numbers(list) {
    const table = el("models");
    table.replaceChildren();
    const head = ["Model", "Task", "Parameters", "Layers", "Width", "Detector"];
    const row = make(table, "tr");
    for (const name of head) make(row, "th", {}, name);
    const count = (value) => (value ?? null) === null ? "–" : value.toLocaleString("en");
    for (const model of list.models) {
      const row = make(table, "tr");
      const sizes = [model.parameters, model.num_hidden_layers, model.hidden_size].map(count);
      for (const value of [model.name, model.task, ...sizes, model.detector ?? "–"]) make(row, "td", {}, value);
    }
    const { body, pixels, text, images } = list.limits;
    el("limits").textContent = `A request has at most ${images} pictures of ${pixels / 1e6} million pixels, ` +
      `${text} characters of text and ${body / 2 ** 20} MiB.`;
    const names = list.models.map((model) => `${model.name} (${model.task})`);
    el("summary").textContent = names.length ? names.join(", ") : "no model is loaded";
    for (const form of document.querySelectorAll(".question")) {
      form.hidden = !list.models.some((model) => model.endpoint === form.dataset.endpoint);
    }
    el("search").rerank.hidden = !list.models.some((model) => model.reranker);
  }

  async function start() {
    try {
      numbers(await json("/v1/models"));
      el("access").hidden = true;
      await list();
    } catch (error) {
      el("summary").textContent = error.message;
    }
  }

  for (const select of document.querySelectorAll("select[name=top]")) {
    const tops = (select.dataset.tops ?? "1 3 5").split(" ");
    for (const top of tops) make(select, "option", { value: top }, `best ${top}`);
  }
  for (const form of document.querySelectorAll(".question")) form.addEventListener("submit", submitted);
  const open = (file) => file && show(URL.createObjectURL(file), { file, name: file.name });
  el("file").addEventListener("change", (event) => open(event.target.files[0]));
  document.addEventListener("paste", (event) => open([...event.clipboardData.files][0]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    el("stage").classList.add("over");
  });
  document.addEventListener("dragleave", () => el("stage").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    el("stage").classList.remove("over");
    open(event.dataTransfer.files[0]);
  });
  el("show-boxes").addEventListener("change", (event) => el("marks").classList.toggle("no-boxes", !event.target.checked));
  el("show-tags").addEventListener("change", (event) => {
    el("marks").classList.toggle("no-tags", !event.target.checked);
    el("tags").classList.toggle("off", !event.target.checked);
  });
  el("more").addEventListener("click", () => list().catch((error) => say(error.message, true)));
  el("by-key").addEventListener("submit", (event) => {
    event.preventDefault();
    take(el("key").value);
  });
  el("access").addEventListener("submit", (event) => {
    event.preventDefault();
    state.token = el("token").value;
    sessionStorage.setItem("token", state.token);
    start();
  });
  start();
})();
