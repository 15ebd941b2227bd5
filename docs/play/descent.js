const by = (id) => document.getElementById(id);
const { sets } = JSON.parse(by("data").textContent);

// --- losses of a logit z and a label y in {0, 1}: value and derivative by z -----------------------

const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
const residual = (z, y) => (y ? -sigmoid(-z) : sigmoid(z)); // σ(z) − y, nothing cancels
const LOSSES = {
  "cross-entropy": [(z, y) => softplus(y ? -z : z), residual],
  squared: [(z, y) => 0.5 * residual(z, y) ** 2, (z, y) => residual(z, y) * sigmoid(z) * sigmoid(-z)],
  perceptron: [(z, y) => Math.max(0, y ? -z : z), (z, y) => ((y ? z : -z) <= 0 ? (y ? -1 : 1) : 0)],
};
const VIEWS = [[-5.2, 3.6, -3.4, 2.6], [-3, 7, -3, 7]]; // of the weights, for each set of points
const PACE = 90, MOST_STEPS = 4000, GRID = [100, 80];

const state = { set: 0, start: [], descent: null, perceptron: null, timer: null, surface: null };
const points = () => sets[state.set];
const lossName = () => by("loss").value;
const rate = () => 10 ** Number(by("rate").value);
const logit = (w, x) => w[0] * x[0] + w[1] * x[1];

// The mean over some points: [loss, its gradient].
const meanOver = (w, indices, name) => {
  const [value, slope] = LOSSES[name];
  const { x, y } = points();
  let loss = 0, g1 = 0, g2 = 0;
  indices.forEach((i) => {
    const z = logit(w, x[i]), r = slope(z, y[i]);
    loss += value(z, y[i]);
    g1 += r * x[i][0];
    g2 += r * x[i][1];
  });
  return [loss / indices.length, [g1 / indices.length, g2 / indices.length]];
};
const everyone = () => points().x.map((_, i) => i);
const batchAt = (step) => {
  const count = points().x.length;
  const size = by("batch").value === "all" ? count : Number(by("batch").value);
  return Array.from({ length: size }, (_, i) => (step * size + i) % count);
};
const wrongSide = (w) => points().x.filter((x, i) => (logit(w, x) >= 0) !== (points().y[i] === 1)).length;

// --- both ways of learning -------------------------------------------------------------------------

const begin = () => ({ w: [...state.start], steps: 0, path: [[...state.start]], quiet: 0 });
const stepDescent = (run) => {
  const [, g] = meanOver(run.w, batchAt(run.steps), lossName());
  run.w = run.w.map((w, i) => w - rate() * g[i]);
  advance(run);
};
// A point that is on the wrong side, or on the line, moves the line by itself.
const stepPerceptron = (run) => {
  const i = run.steps % points().x.length;
  const x = points().x[i], t = points().y[i] ? 1 : -1;
  const isWrong = t * logit(run.w, x) <= 0;
  if (isWrong) run.w = run.w.map((w, k) => w + t * x[k]);
  run.quiet = isWrong ? 0 : run.quiet + 1;
  run.seen = i;
  advance(run);
};
const advance = (run) => {
  run.steps += 1;
  if (run.path.length < MOST_STEPS) run.path.push([...run.w]);
};

// --- drawing ---------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 500, HEIGHT = 400;
const draw = (tag, attributes, text) => {
  const element = document.createElementNS(SVG, tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  if (text !== undefined) element.textContent = text;
  return element;
};
const view = () => VIEWS[state.set];
const place = ([a, b], [x0, x1, y0, y1] = view()) => [((a - x0) / (x1 - x0)) * WIDTH, ((y1 - b) / (y1 - y0)) * HEIGHT];
const placeBack = (px, py) => {
  const [x0, x1, y0, y1] = view();
  return [x0 + (px / WIDTH) * (x1 - x0), y1 - (py / HEIGHT) * (y1 - y0)];
};
const surfaceSvg = by("surface").querySelector("svg"), pointsSvg = by("points").querySelector("svg");
[surfaceSvg, pointsSvg].forEach((svg) => svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`));
pointsSvg.setAttribute("preserveAspectRatio", "none");

// The loss as a colour, with lines of equal loss over it; the least of the grid is marked.
const drawSurface = () => {
  const [columns, rows] = GRID;
  const canvas = by("surface").querySelector("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const every = everyone(), heights = [];
  let least = Infinity, where = null;
  for (let j = 0; j < rows; j += 1) {
    for (let i = 0; i < columns; i += 1) {
      const w = placeBack(((i + 0.5) / columns) * WIDTH, ((j + 0.5) / rows) * HEIGHT);
      const [loss] = meanOver(w, every, lossName());
      heights.push(loss);
      if (loss < least) { least = loss; where = w; }
    }
  }
  const most = Math.max(...heights);
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  const [from, to] = dark ? [[23, 42, 54], [120, 88, 60]] : [[224, 237, 245], [240, 196, 160]];
  const levelOf = (h) => Math.log1p((40 * (h - least)) / (most - least)) / Math.log(41); // 0 to 1
  const levels = heights.map(levelOf);
  levels.forEach((level, i) => image.data.set([...from.map((f, k) => f + level * (to[k] - f)), 255], 4 * i));
  context.putImageData(image, 0, 0);
  state.surface = { least, where, lines: contours(levels) };
};

// Where a height on the grid crosses 1/12, 2/12, ...: each cell is cut by straight pieces.
const contours = (levels) => {
  const [columns, rows] = GRID;
  const at = (i, j) => levels[j * columns + i];
  const middle = (i, j) => [((i + 0.5) / columns) * WIDTH, ((j + 0.5) / rows) * HEIGHT];
  const pieces = [];
  for (let n = 1; n < 12; n += 1) {
    const height = n / 12;
    for (let j = 0; j + 1 < rows; j += 1) {
      for (let i = 0; i + 1 < columns; i += 1) {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        const crossed = corners.flatMap(([a, b], k) => {
          const [c, d] = corners[(k + 1) % 4];
          const low = at(a, b), high = at(c, d);
          if ((low < height) === (high < height)) return [];
          const share = (height - low) / (high - low), [x, y] = middle(a, b), [u, v] = middle(c, d);
          return [`${(x + share * (u - x)).toFixed(1)} ${(y + share * (v - y)).toFixed(1)}`];
        });
        for (let k = 0; k + 1 < crossed.length; k += 2) pieces.push(`M${crossed[k]}L${crossed[k + 1]}`);
      }
    }
  }
  return pieces.join("");
};

const pathOf = (run, className) => draw("polyline", { class: `path ${className}`, points: run.path.map((w) => place(w).map((c) => c.toFixed(1)).join(",")).join(" ") });
const drawPaths = () => {
  const handle = surfaceSvg.querySelector(".handle") ?? draw("circle", { class: "handle", r: 10, tabindex: 0, role: "slider", "aria-valuemin": "-99", "aria-valuemax": "99" });
  const [cx, cy] = place(state.start);
  handle.setAttribute("cx", cx);
  handle.setAttribute("cy", cy);
  handle.setAttribute("aria-label", "Start: arrow keys move it");
  handle.setAttribute("aria-valuenow", state.start[0].toFixed(2));
  handle.setAttribute("aria-valuetext", `w₁ ${state.start[0].toFixed(2)}, w₂ ${state.start[1].toFixed(2)}`);
  const [x, y] = place(state.surface.where);
  const marks = [
    draw("path", { class: "level", d: state.surface.lines }),
    draw("path", { class: "least-mark", d: `M${x - 6} ${y - 6}L${x + 6} ${y + 6}M${x + 6} ${y - 6}L${x - 6} ${y + 6}` }),
    pathOf(state.perceptron, "perceptron"), pathOf(state.descent, "descent"),
  ];
  ["perceptron", "descent"].forEach((who) => {
    const [px, py] = place(state[who].w);
    marks.push(draw("circle", { class: `dot ${who}`, cx: px, cy: py, r: 5 }));
  });
  const [x0, x1, y0, y1] = view();
  marks.push(draw("text", { x: WIDTH - 8, y: HEIGHT - 8, "text-anchor": "end" }, `w₁ from ${x0} to ${x1}`), draw("text", { x: 8, y: 18 }, `w₂ from ${y0} to ${y1}`));
  surfaceSvg.querySelectorAll(":scope > :not(.handle)").forEach((old) => old.remove());
  surfaceSvg.prepend(...marks);
  if (!handle.parentNode) surfaceSvg.append(handle);
};

const drawPoints = () => {
  const { x, y, features } = points();
  const limits = [0, 1].flatMap((k) => {
    const column = x.map((row) => row[k]);
    return [Math.min(...column) - 0.3, Math.max(...column) + 0.3];
  });
  const dots = x.map((row, i) => {
    const [cx, cy] = place(row, limits);
    const seen = i === state.perceptron.seen ? " seen" : "";
    return draw("circle", { class: `point ${y[i] ? "one" : "zero"}${seen}`, cx, cy, r: seen ? 7 : 4 });
  });
  const far = Math.max(...limits.map(Math.abs)) * 4;
  const lines = ["perceptron", "descent"].flatMap((who) => {
    const [a, b] = state[who].w;
    const length = Math.hypot(a, b);
    if (!length) return [];
    const ends = [1, -1].map((s) => place([(-b / length) * far * s, (a / length) * far * s], limits));
    return [draw("line", { class: `line ${who}`, x1: ends[0][0], y1: ends[0][1], x2: ends[1][0], y2: ends[1][1] })];
  });
  pointsSvg.replaceChildren(...dots, ...lines,
    draw("text", { x: WIDTH - 8, y: HEIGHT - 8, "text-anchor": "end" }, `x₁: ${features[0]}`), draw("text", { x: 8, y: 18 }, `x₂: ${features[1]}`));
};

// --- in numbers and words -----------------------------------------------------------------------------

const write = () => {
  const every = everyone();
  const digits = (x) => (Number.isFinite(x) ? Number(x.toPrecision(7)).toString().replace("-", "−") : "∞");
  ["descent", "perceptron"].forEach((who) => {
    const run = state[who], name = who === "descent" ? lossName() : "perceptron";
    const [loss, g] = meanOver(run.w, every, name);
    const cells = document.querySelectorAll(`tr[data-who=${who}] td`);
    [String(run.steps), digits(run.w[0]), digits(run.w[1]), digits(loss), digits(Math.hypot(...g)), `${wrongSide(run.w)} of ${every.length}`].forEach((text, i) => { cells[i].textContent = text; });
  });
  const { descent, perceptron, surface } = state;
  const [loss] = meanOver(descent.w, every, lossName());
  const far = descent.w.some((w) => !Number.isFinite(w) || Math.abs(w) > 1e3);
  const said = [];
  if (far) said.push("Gradient descent has run away: the rate is too large.");
  else if (descent.steps && loss <= surface.least + 1e-3) said.push("Gradient descent is within 0.001 of the least loss in view.");
  else if (!descent.w[0] && !descent.w[1] && lossName() !== "perceptron") said.push("At the origin every prediction is a half.");
  if (perceptron.quiet >= every.length) said.push("The perceptron has looked at every point and moved for none: it has stopped.");
  else if (perceptron.steps >= 20 * every.length) said.push("The perceptron still moves: no line through the origin parts these points, or it has not found one.");
  by("says").textContent = said.join(" ");
};
const drawAll = () => { drawPaths(); drawPoints(); write(); };

// --- what a person does ----------------------------------------------------------------------------------

const restart = (start = state.start) => {
  state.start = start;
  state.descent = begin();
  state.perceptron = begin();
  by("start1").value = Number(start[0].toFixed(3));
  by("start2").value = Number(start[1].toFixed(3));
  drawAll();
};
const step = () => { stepDescent(state.descent); stepPerceptron(state.perceptron); };
const pause = () => {
  clearInterval(state.timer);
  state.timer = null;
  by("play").textContent = "▶ Run";
  by("play").setAttribute("aria-label", "Run");
};
const change = () => { by("rate-text").textContent = Number(rate().toPrecision(2)); };
by("play").addEventListener("click", () => {
  if (state.timer) { pause(); return; }
  by("play").textContent = "❚❚ Pause";
  by("play").setAttribute("aria-label", "Pause");
  state.timer = setInterval(() => {
    step();
    drawAll();
    if (state.descent.steps >= MOST_STEPS) pause();
  }, PACE);
});
by("step").addEventListener("click", () => { pause(); step(); drawAll(); });
by("reset").addEventListener("click", () => { pause(); restart(); });
by("rate").addEventListener("input", change);
by("loss").addEventListener("change", () => { drawSurface(); restart(); });
by("batch").addEventListener("change", () => restart());
by("set").addEventListener("change", () => { state.set = Number(by("set").value); opened(); });
["start1", "start2"].forEach((id, k) => by(id).addEventListener("change", () => {
  const number = Number(by(id).value.trim().replace("−", "-"));
  const valid = by(id).value.trim() !== "" && Number.isFinite(number);
  by(id).setAttribute("aria-invalid", String(!valid));
  if (valid) { pause(); restart(state.start.map((w, i) => (i === k ? number : w))); }
}));
by("choices").addEventListener("submit", (event) => event.preventDefault());

const toPlane = (event) => {
  const frame = surfaceSvg.getBoundingClientRect();
  return placeBack(((event.clientX - frame.left) / frame.width) * WIDTH, ((event.clientY - frame.top) / frame.height) * HEIGHT);
};
let dragging = false;
surfaceSvg.addEventListener("pointerdown", (event) => {
  dragging = true;
  surfaceSvg.setPointerCapture(event.pointerId);
  pause();
  restart(toPlane(event));
});
surfaceSvg.addEventListener("pointermove", (event) => { if (dragging) restart(toPlane(event)); });
["pointerup", "pointercancel"].forEach((kind) => surfaceSvg.addEventListener(kind, () => { dragging = false; }));
surfaceSvg.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
  if (!move) return;
  event.preventDefault();
  pause();
  restart(state.start.map((w, i) => w + move[i]));
});

const opened = () => {
  const names = points().classes;
  by("classes").replaceChildren(...["zero", "one"].map((name, i) => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = names[i];
    return span;
  }));
  drawSurface();
  restart(state.set ? [-2, 1.5] : [3, 1.5]);
};
sets.forEach((set, i) => by("set").append(new Option(`${set.title} (${set.x.length})`, i)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawSurface());
change();
opened();
