// --- the graph: which drawing is shown, how near, and what its nodes say -----------------------------

const drawings = new Map([...document.querySelectorAll(".drawing")].map((svg) => [svg.dataset.view, svg]));
const pane = document.getElementById("viewport");
const AFAR = 0.62; // below this scale a node shows its name only, large
const NEAREST = 2.5;
const boxOf = (svg) => {
  const [x, y, w, h] = svg.dataset.whole.split(" ").map(Number);
  return { x, y, w, h };
};
drawings.forEach((svg) => { svg.dataset.whole = svg.getAttribute("viewBox"); });

const camera = {
  svg: null, box: null, whole: true,
  get scale() { return Math.min(pane.clientWidth / this.box.w, pane.clientHeight / this.box.h); },
  apply() {
    const { x, y, w, h } = this.box;
    this.svg.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
    this.svg.classList.toggle("afar", this.scale < AFAR);
    pane.classList.toggle("zoomed", !this.whole);
  },
  fit() {
    const box = boxOf(this.svg);
    // a small graph is not blown up
    const w = Math.max(box.w, pane.clientWidth / 1.15), h = Math.max(box.h, pane.clientHeight / 1.15);
    this.box = { x: box.x + (box.w - w) / 2, y: box.y + (box.h - h) / 2, w, h };
    this.whole = true;
    this.apply();
  },
  // Nearer by a factor, with the point (px, py) of the pane held where it is.
  zoom(factor, px = pane.clientWidth / 2, py = pane.clientHeight / 2) {
    const from = this.scale;
    const to = Math.min(NEAREST, from * factor);
    const old = this.box;
    const fx = old.x + old.w / 2 + (px - pane.clientWidth / 2) / from;
    const fy = old.y + old.h / 2 + (py - pane.clientHeight / 2) / from;
    const w = pane.clientWidth / to, h = pane.clientHeight / to;
    const whole = boxOf(this.svg);
    if (factor < 1 && w >= whole.w && h >= whole.h) { this.fit(); return; }
    this.box = { w, h, x: fx - px / to, y: fy - py / to };
    this.whole = false;
    this.apply();
  },
  pan(dx, dy) {
    this.box.x -= dx / this.scale;
    this.box.y -= dy / this.scale;
    this.apply();
  },
  show(svg) {
    if (this.svg === svg) return;
    this.svg?.classList.add("folded");
    svg.classList.remove("folded");
    this.svg = svg;
    this.fit();
  },
  // Pan until a node is in view, if it is not.
  follow(node) {
    if (!node || this.whole) return;
    const inner = node.getBoundingClientRect(), outer = pane.getBoundingClientRect();
    const margin = 8;
    if (inner.left >= outer.left + margin && inner.right <= outer.right - margin && inner.top >= outer.top + margin && inner.bottom <= outer.bottom - margin) return;
    this.pan(outer.left + outer.width / 2 - inner.left - inner.width / 2, outer.top + outer.height / 2 - inner.top - inner.height / 2);
  },
};

const nodesOf = (svg) => [...svg.querySelectorAll(".node")];
const nodeFor = (svg, v) => svg.querySelector(`.node[data-value="${v}"]`);

// The numbers of a tape on the nodes of its drawing.
const writeNodes = (svg, tape) => nodesOf(svg).forEach((node) => {
  const value = tape.values[node.dataset.value];
  node.querySelector(".value").textContent = value.array.short;
  node.classList.toggle("stale", Boolean(value.array.stale || value.cotangent?.stale));
  const sent = node.querySelector(".sent");
  if (sent) sent.textContent = value.cotangent ? value.cotangent.short : "";
  const back = value.cotangent ? `; cotangent ${value.cotangent.short}` : "";
  node.setAttribute("aria-label", `${node.dataset.formula}; value ${value.array.short}${back}`);
});

// How many of its bits a number has lost in float32, as a tone of the node and in words.
const LEVELS = [0.5, 3, 8, 16];
const writeLost = (svg, lost) => nodesOf(svg).forEach((node) => {
  const bits = lost ? lost[node.dataset.value] : null;
  const known = bits !== null && bits !== undefined;
  node.dataset.lost = known ? String(LEVELS.filter((level) => bits > level).length) : "";
  node.querySelector(".lost").textContent = known ? (bits > LEVELS[0] ? `−${Math.round(bits)} bit${Math.round(bits) === 1 ? "" : "s"}` : "exact") : "";
});

// --- by pointer, wheel and keys ----------------------------------------------------------------------

const pointers = new Map();
let dragged = false;
const spread = () => {
  const [a, b] = [...pointers.values()];
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, d: Math.hypot(a.x - b.x, a.y - b.y) };
};
pane.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  dragged = false;
});
pane.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const dx = event.clientX - before.x, dy = event.clientY - before.y;
  if (pointers.size === 2) {
    const was = spread();
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const is = spread(), frame = pane.getBoundingClientRect();
    camera.zoom(is.d / was.d, is.x - frame.left, is.y - frame.top);
    dragged = true;
    return;
  }
  if (!dragged && Math.hypot(dx, dy) < 4) return;
  if (camera.whole && event.pointerType === "touch") return; // the page scrolls
  if (!dragged) pane.setPointerCapture(event.pointerId);
  dragged = true;
  camera.whole = false;
  camera.pan(dx, dy);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
});
["pointerup", "pointercancel", "pointerleave"].forEach((kind) => pane.addEventListener(kind, (event) => pointers.delete(event.pointerId)));
pane.addEventListener("wheel", (event) => {
  const frame = pane.getBoundingClientRect();
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    camera.zoom(Math.exp(-event.deltaY / 200), event.clientX - frame.left, event.clientY - frame.top);
  } else if (!camera.whole) {
    event.preventDefault();
    camera.pan(-event.deltaX, -event.deltaY);
  }
}, { passive: false });
pane.addEventListener("keydown", (event) => {
  const act = { "+": () => camera.zoom(1.3), "=": () => camera.zoom(1.3), "-": () => camera.zoom(1 / 1.3), 0: () => camera.fit() }[event.key];
  if (act) { event.preventDefault(); act(); }
});
new ResizeObserver(() => {
  if (!camera.svg) return;
  if (camera.whole) camera.fit(); else camera.apply();
}).observe(pane);
