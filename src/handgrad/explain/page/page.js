// --- the page: which step is shown, and what a person does ------------------------------------------------

const by = (id) => document.getElementById(id);
const recorded = JSON.parse(by("data").textContent);
const lines = recorded.derivation.lines;
const items = [...document.querySelectorAll(".lines li")];
const edits = new Map();
const page = { recorded, root: recorded, folded: drawings.has("whole"), open: new Set(), walk: null };
const tell = textOfSteps(page);
let now = 0;

const rewalk = () => {
  const old = page.walk?.steps[now];
  page.walk = stepsOf(page.root, page.folded, page.open);
  now = old ? nearest(page.walk.steps, old) : 0;
  const { turn, last } = page.walk;
  by("slider").max = String(last);
  by("fore").style.width = `${(100 * turn) / last}%`;
  by("rear").style.width = `${100 - (100 * turn) / last}%`;
};

// --- showing a step -----------------------------------------------------------------------------------

const isMet = (line, lit) => line.matches.some((m) => lit.some((l) => l.value === page.walk.resolve(page.root, m.value) && l.of === m.of));
const inLines = (numbers) => {
  const last = numbers.length > 1 ? ` and ${numbers[numbers.length - 1]}` : "";
  const some = numbers.length > 1 ? numbers.slice(0, -1) : numbers;
  return `Computed in line${numbers.length > 1 ? "s" : ""} ${some.join(", ")}${last} of the derivation.`;
};
const drawingOf = (path) => drawings.get(path.length ? (drawings.has(keyOf(path)) ? keyOf(path) : viewOf(path)) : page.folded ? "folded" : drawings.has("whole") ? "whole" : "folded");

const caption = (node) => {
  by("caption").textContent = node ? node.getAttribute("aria-label") : "";
};

const showGraph = (shown, path, isBack) => {
  const tape = tapeAt(page.root, path);
  const svg = drawingOf(path);
  camera.show(svg);
  writeNodes(svg, tape);
  const lost = path.length ? null : recorded.lost?.[isBack ? "cotangents" : "values"];
  writeLost(svg, lost);
  svg.classList.toggle("rear-pass", isBack);
  svg.classList.toggle("fore-pass", !isBack);
  const { known, complete } = page.walk.timesAt(path);
  const lit = new Set(shown.all || [shown.node]);
  nodesOf(svg).forEach((node) => {
    const v = Number(node.dataset.value);
    node.classList.toggle("valued", (known.get(v) ?? 0) <= now);
    node.classList.toggle("returned", complete.has(v) && complete.get(v) <= now);
    node.classList.toggle("now", lit.has(v));
    node.classList.remove("pointed");
    node.setAttribute("tabindex", v === shown.node ? "0" : "-1");
    if (v === shown.node) node.setAttribute("aria-current", "step"); else node.removeAttribute("aria-current");
  });
  const used = new Set((shown.edges || []).map((pair) => pair.join()));
  svg.querySelectorAll(".edge").forEach((edge) => edge.classList.toggle("now", used.has(`${edge.dataset.from},${edge.dataset.to}`)));
  const node = nodeFor(svg, shown.node);
  camera.follow(node);
  caption(node);
  by("graph-title").textContent = path.length ? tell.capital(tell.whereIn(path)) : "The computation";
  by("runs").hidden = !path.length;
  if (path.length) {
    by("earlier").disabled = besides(-1) === null;
    by("later").disabled = besides(1) === null;
  }
};

const showLines = (shown, tone) => {
  items.forEach((item, i) => {
    const on = isMet(lines[i], shown.lit);
    item.className = `${lines[i].matches.length ? "met" : ""}${on ? ` lit ${tone}` : ""}`;
    if (on) item.setAttribute("aria-current", "true"); else item.removeAttribute("aria-current");
  });
  const first = items.find((item) => item.classList.contains("lit"));
  const frame = by("derivation");
  if (frame && first && (first.offsetTop < frame.scrollTop + 44 || first.offsetTop + first.offsetHeight > frame.scrollTop + frame.clientHeight)) {
    frame.scrollTop = first.offsetTop - 44;
  }
};

const show = (n, quiet) => {
  const { turn, last, steps } = page.walk;
  now = Math.max(0, Math.min(last, n));
  const { pass, path } = steps[now];
  const shown = tell.at(now);
  const isBack = now >= turn;
  const tone = now === 0 ? "" : isBack ? "rear" : "fore";
  by("step").className = `step ${tone}`;
  by("step").scrollTop = 0;
  by("step-kicker").textContent = shown.kicker;
  by("step-title").textContent = shown.title;
  by("step-place").replaceChildren(...shown.place);
  const numbers = lines.flatMap((line, i) => (isMet(line, shown.lit) ? [i + 1] : []));
  by("step-body").replaceChildren(...shown.body, ...(numbers.length ? [note(inLines(numbers))] : []));
  by("step-body").querySelectorAll("pre").forEach((pre) => {
    if (pre.scrollWidth > pre.clientWidth) pre.tabIndex = 0; // to be scrolled by keys
  });
  showGraph(shown, path, isBack);
  showLines(shown, tone);
  const slider = by("slider");
  slider.value = String(now);
  slider.setAttribute("aria-valuetext", `${shown.kicker}: ${shown.title}`);
  by("count").textContent = `${now} / ${last}`;
  by("first").disabled = by("back").disabled = now === 0;
  by("last").disabled = by("forth").disabled = now === last;
  if (!quiet) {
    by("live").textContent = `${shown.kicker}. ${shown.title}. ${shown.spoken}`;
    keepInView();
  }
  return pass;
};

// On a narrow screen, wherever the page is scrolled to, the step comes back into view.
const narrow = matchMedia("(max-width: 860px)");
const keepInView = () => {
  if (!narrow.matches) return;
  const box = by("step").getBoundingClientRect(), graph = by("graph-pane").getBoundingClientRect();
  const bottom = by("controls").getBoundingClientRect().top;
  if (graph.top < -4 || box.top > bottom - 120) by("graph-pane").scrollIntoView({ block: "start" });
};

// --- loops, folding, other numbers ----------------------------------------------------------------------

page.toggle = (path, eq) => {
  const key = viewOf(path, eq);
  if (!page.open.delete(key)) page.open.add(key);
  rewalk();
  show(now);
  by("step-body").querySelector(".opener")?.focus();
};

// The same step in the iteration before or after; null where there is none.
const besides = (offset) => {
  const { steps } = page.walk;
  const step = steps[now];
  if (!step.path.length) return null;
  const [eq, run] = step.path[step.path.length - 1];
  const path = [...step.path.slice(0, -1), [eq, run + offset]];
  const found = steps.findIndex((s) => s.pass === step.pass && s.eq === step.eq && keyOf(s.path) === keyOf(path));
  return found < 0 ? null : found;
};

const MOST_EDITED = 120;
const editor = (v, box) => {
  const value = recorded.values[v];
  const count = sizeOf(value.array.shape);
  if (value.numbers === null || value.array.dtype === "bool" || !count || count > MOST_EDITED) return box;
  const width = value.array.shape.length > 1 ? value.array.shape[value.array.shape.length - 1] : Math.min(count, 4);
  const current = (edits.get(v) ?? recordedArray(value)).data;
  const fields = [...current].map((x, i) => {
    const field = make("input", "number");
    field.type = "text";
    field.inputMode = "decimal";
    field.value = String(x);
    field.setAttribute("aria-label", `${value.name}, number ${i + 1} of ${count}`);
    field.addEventListener("input", () => change(v, fields, box));
    return field;
  });
  const grid = make("div", "numbers", ...fields);
  grid.style.setProperty("--across", width);
  box.append(make("details", "edit", make("summary", "", "Change these numbers"), grid));
  return box;
};
page.edit = editor;

const change = (v, fields, box) => {
  const { shape, dtype } = recorded.values[v].array;
  const numbers = fields.map((field) => {
    const text = field.value.trim().replace("−", "-");
    const number = text === "" ? NaN : Number(text);
    const valid = Number.isFinite(number) && (isFloat(dtype) || Number.isInteger(number));
    field.setAttribute("aria-invalid", String(!valid));
    return valid ? number : null;
  });
  if (numbers.includes(null)) return;
  const original = recordedArray(recorded.values[v]).data;
  const changed = array(shape, dtype, numbers);
  if (changed.data.every((x, i) => x === original[i])) edits.delete(v); else edits.set(v, changed);
  compute();
  box.querySelector("pre").textContent = page.root.values[v].array.block;
};

// A guard that is folded away must still let through what it did.
const guardsHold = (tape) => tape.values.every((value, v) => {
  const from = value.lets_through;
  if (from === null || !value.data || !tape.values[from].data) return true;
  return value.data.data.every((x, i) => Object.is(x, tape.values[from].data.data[i]));
});

const compute = () => {
  page.root = edits.size ? recompute(recorded, edits) : recorded;
  const bites = page.folded && edits.size > 0 && !guardsHold(page.root);
  if (bites) unfold(false);
  const step = page.walk.steps[now];
  showGraph(tell.at(now), step.path, now >= page.walk.turn);
  writeTable();
  const changed = [...edits].reduce((sum, [v, a]) => sum + a.data.filter((x, i) => x !== recordedArray(recorded.values[v]).data[i]).length, 0);
  by("edited").hidden = !edits.size;
  document.documentElement.classList.toggle("changed", edits.size > 0);
  if (!edits.size) return;
  const at = recorded.outputs[0];
  const was = recorded.values[at].array.text, is = page.root.values[at].array;
  const stale = page.root.equations.filter((e) => e.outputs.some((v) => page.root.values[v].array.stale));
  const unknown = [...new Set(stale.filter((e) => !e.operation).map((e) => e.primitive))];
  const loss = is.stale ? `the loss stands as recorded, ${was}` : `loss ${was} → ${is.text}`;
  by("edited-text").textContent = [
    `${changed} number${changed === 1 ? "" : "s"} changed: ${loss}`,
    stale.length ? `; ${stale.length} equation${stale.length === 1 ? "" : "s"} as recorded${unknown.length ? `, for this page cannot compute ${unknown.join(", ")}` : ""}` : "",
    bites ? "; a guard acts at these numbers, so all equations are shown" : "",
    ".",
  ].join("");
};

const writeTable = () => document.querySelectorAll("tr[data-equation]").forEach((tr) => {
  const outputs = page.root.equations[tr.dataset.equation].outputs.map((v) => page.root.values[v]);
  const marked = (text) => text.map((t) => (t.stale ? `${t.text} (as recorded)` : t.text)).join("; ");
  tr.querySelector(".value").textContent = marked(outputs.map((v) => v.array));
  tr.querySelector(".cotangent").textContent = marked(outputs.flatMap((v) => (v.cotangent ? [v.cotangent] : [])));
});

by("reset").addEventListener("click", () => {
  edits.clear();
  compute();
  show(now);
  by("step").focus();
});

const unfold = (folded) => {
  page.folded = folded;
  by("unfold").setAttribute("aria-pressed", String(!folded));
  rewalk();
};
const foldedCount = recorded.equations.filter((e) => e.folded).length;
by("unfold").hidden = !drawings.has("whole");
by("unfold").textContent = `All ${recorded.equations.length} equations`;
by("unfold").title = `${foldedCount} are folded away: constants, and guards that change nothing at these numbers`;
by("unfold").addEventListener("click", () => { unfold(!page.folded); show(now); });

const lost = by("lost");
lost.disabled = !recorded.lost?.values;
if (recorded.lost?.note) { by("lost-note").textContent = recorded.lost.note; }
lost.addEventListener("click", () => {
  const on = lost.getAttribute("aria-pressed") !== "true";
  lost.setAttribute("aria-pressed", String(on));
  by("graph-pane").classList.toggle("bits", on);
  by("lost-legend").hidden = !on;
});

// --- moving through the steps -------------------------------------------------------------------------------

let timer = null;
const PACE = 1400; // milliseconds for a step at speed 1
const pause = () => {
  clearInterval(timer);
  timer = null;
  by("play").setAttribute("aria-label", "Play");
  by("play").textContent = "▶";
};
const play = () => {
  if (now === page.walk.last) show(0, true);
  by("play").setAttribute("aria-label", "Pause");
  by("play").textContent = "❚❚";
  timer = setInterval(() => {
    show(now + 1, true);
    if (now === page.walk.last) pause();
  }, PACE / Number(by("speed").value));
};
by("play").addEventListener("click", () => (timer ? pause() : play()));
by("speed").addEventListener("change", () => { if (timer) { pause(); play(); } });

const go = (n) => { if (timer) pause(); show(n); };
by("first").addEventListener("click", () => go(0));
by("back").addEventListener("click", () => go(now - 1));
by("forth").addEventListener("click", () => go(now + 1));
by("last").addEventListener("click", () => go(page.walk.last));
by("slider").addEventListener("input", (event) => go(Number(event.target.value)));
document.addEventListener("keydown", (event) => {
  const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: page.walk.last }[event.key];
  if (to === undefined || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.matches("#slider, input, select")) return;
  event.preventDefault();
  go(to);
});
const goBeside = (offset) => { const to = besides(offset); if (to !== null) go(to); };
by("earlier").addEventListener("click", () => goBeside(-1));
by("later").addEventListener("click", () => goBeside(1));
by("leave").addEventListener("click", () => {
  const { path } = page.walk.steps[now];
  const [eq] = path[path.length - 1];
  page.toggle(path.slice(0, -1), eq);
});

const visit = (v) => {
  const { path } = page.walk.steps[now];
  const { known, complete } = page.walk.timesAt(path);
  const back = now >= page.walk.turn && complete.has(v);
  go(back ? complete.get(v) : known.get(v) ?? now);
};
drawings.forEach((svg) => nodesOf(svg).forEach((node) => {
  const v = Number(node.dataset.value);
  node.addEventListener("click", () => { if (!dragged) visit(v); });
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    visit(v);
  });
  ["pointerenter", "focus"].forEach((kind) => node.addEventListener(kind, () => caption(node)));
  ["pointerleave", "blur"].forEach((kind) => node.addEventListener(kind, () => caption(camera.svg.querySelector("[aria-current]"))));
}));
items.forEach((item, i) => item.querySelector("button").addEventListener("click", () => {
  const match = lines[i].matches[lines[i].matches.length - 1];
  if (!match) return;
  const { known, complete } = page.walk.timesAt([]);
  const when = (match.of === "cotangent" ? complete : known).get(page.walk.resolve(page.root, match.value));
  go(when ?? now);
  lines[i].matches.forEach((m) => nodeFor(camera.svg, page.walk.resolve(page.root, m.value))?.classList.add("pointed"));
}));
by("closer").addEventListener("click", () => camera.zoom(1.4));
by("farther").addEventListener("click", () => camera.zoom(1 / 1.4));
by("fit").addEventListener("click", () => camera.fit());

const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const theme = by("theme");
theme.setAttribute("aria-pressed", String(isDark()));
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  theme.setAttribute("aria-pressed", String(isDark()));
});
document.documentElement.classList.add("scripted");
rewalk();
show(0, true);
