const by = (id) => document.getElementById(id);
const { exercises } = JSON.parse(by("data").textContent);
const AGREE = 1e-9;

// --- what one types: + − * / ^, parentheses, functions, products by juxtaposition ------------------------

const FUNCTIONS = {
  exp: Math.exp, log: Math.log, ln: Math.log, tanh: Math.tanh, sqrt: Math.sqrt, abs: Math.abs,
  sigma: (z) => 1 / (1 + Math.exp(-z)),
};
const ALIASES = { "σ": "sigma", "sigmoid": "sigma", "ŷ": "p", "yhat": "p" };
class Unreadable extends Error {}

const wordsOf = (text) => {
  const found = [];
  const pattern = /\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|[A-Za-zσ]+|ŷ|[-+*/^()])/uy;
  const plain = text.normalize("NFC").replaceAll("−", "-").replaceAll("·", "*").replaceAll("×", "*").replaceAll("²", "^2").trim();
  while (pattern.lastIndex < plain.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(plain);
    if (!match) throw new Unreadable(`“${plain.slice(at).trim()[0]}” cannot be read`);
    found.push(ALIASES[match[1]] ?? match[1]);
  }
  return found;
};

// A function of a point {z: ..., y: ..., p: ...}. A sum of products of powers, read from left to right.
const parse = (text, symbols) => {
  const words = wordsOf(text);
  let at = 0;
  const peek = () => words[at];
  const take = (word) => {
    if (words[at] !== word) throw new Unreadable(word === ")" ? "a closing parenthesis is missing" : `“${word}” is missing`);
    at += 1;
  };
  const sum = () => {
    let left = term();
    while (peek() === "+" || peek() === "-") {
      const sign = words[at], a = left;
      at += 1;
      const b = term();
      left = sign === "+" ? (v) => a(v) + b(v) : (v) => a(v) - b(v);
    }
    return left;
  };
  const startsFactor = (word) => word !== undefined && (word === "(" || /^[\d.\p{L}]/u.test(word));
  const term = () => {
    let left = signed();
    for (;;) {
      const a = left;
      if (peek() === "*" || peek() === "/") {
        const operator = words[at];
        at += 1;
        const b = signed();
        left = operator === "*" ? (v) => a(v) * b(v) : (v) => a(v) / b(v);
      } else if (startsFactor(peek())) {
        const b = power();
        left = (v) => a(v) * b(v);
      } else return left;
    }
  };
  const signed = () => {
    if (peek() === "-") { at += 1; const a = signed(); return (v) => -a(v); }
    if (peek() === "+") { at += 1; return signed(); }
    return power();
  };
  const power = () => {
    const base = primary();
    if (peek() !== "^") return base;
    at += 1;
    const exponent = signed();
    return (v) => base(v) ** exponent(v);
  };
  const primary = () => {
    const word = peek();
    if (word === undefined) throw new Unreadable("something is missing at the end");
    at += 1;
    if (word === "(") { const inner = sum(); take(")"); return inner; }
    if (/^[\d.]/.test(word)) return () => Number(word);
    if (FUNCTIONS[word]) {
      if (peek() !== "(") throw new Unreadable(`write ${word}( … ) with parentheses`);
      at += 1;
      const inner = sum();
      take(")");
      return (v) => FUNCTIONS[word](inner(v));
    }
    if (word === "e") return () => Math.E;
    if (symbols.includes(word)) return (v) => v[word];
    throw new Unreadable(/^\p{L}/u.test(word) ? `“${word}” is not known here: there are ${symbols.join(", ")} and ${Object.keys(FUNCTIONS).join(", ")}` : `“${word}” stands where a number or a name should`);
  };
  if (!words.length) throw new Unreadable("nothing is written yet");
  const found = sum();
  if (at < words.length) throw new Unreadable(`“${words[at]}” is one too many`);
  return found;
};

const pointsOf = (exercise) => exercise.points.z.map((_, i) => Object.fromEntries(exercise.symbols.map((s) => [s, exercise.points[s][i]])));
const short = (x) => Number(x.toPrecision(4)).toString().replace("-", "−");

// {right, text}: equal at all points, or where it is not.
const judge = (text, exercise, gap) => {
  let value;
  try {
    value = parse(text, exercise.symbols);
  } catch (error) {
    if (error instanceof Unreadable) return { right: false, text: `Not yet readable: ${error.message}.` };
    throw error;
  }
  const points = pointsOf(exercise);
  const off = (v, i) => { const mine = value(v); return !(Math.abs(mine - gap.values[i]) <= AGREE * Math.abs(gap.values[i])); };
  const wrong = points.findIndex(off);
  if (wrong < 0) return { right: true, text: `Right: equal at ${points.length} points.` };
  const where = exercise.symbols.filter((s) => s !== "p").map((s) => `${s} = ${short(points[wrong][s])}`).join(", ");
  const all = points.filter(off).length === points.length;
  const turned = points.every((v, i) => Math.abs(value(v) + gap.values[i]) <= AGREE * Math.abs(gap.values[i]));
  const hint = turned ? " Look at the sign." : all ? "" : " At some points it is equal, at others not.";
  return { right: false, text: `Not equal: at ${where} yours is ${short(value(points[wrong]))}, and ${short(gap.values[wrong])} belongs there.${hint}` };
};

// --- the page ------------------------------------------------------------------------------------------------

// MathML of our own making, from the data: parsed as a document of its own, so that no script runs.
const mathOf = (text) => document.importNode(new DOMParser().parseFromString(text, "text/html").querySelector("math"), true);
const make = (tag, className, ...children) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
};
let exercise = null;
let filled = 0, shown = 0;

const gapsOf = () => exercise.lines.filter((line) => line.gap).length;
const writeScore = () => {
  const total = gapsOf();
  const done = filled + shown === total;
  by("score").textContent = `${filled} of ${total} filled${shown ? `, ${shown} shown` : ""}${done ? (shown ? ". That is the whole derivation." : ". You have derived it.") : ""}`;
};

// Lines up to the next gap.
const goOn = (from, focus) => {
  for (let i = from; i < exercise.lines.length; i += 1) {
    const line = exercise.lines[i];
    const item = make("li", "");
    const formula = make("div", "formula", mathOf(line.gap ? line.open : line.math));
    formula.tabIndex = 0;
    formula.setAttribute("role", "group");
    formula.setAttribute("aria-label", `Line ${i + 1}`);
    item.append(make("p", "why", line.reason), formula);
    by("lines").append(item);
    if (line.gap) { ask(item, formula, line, i, focus); return; }
  }
};

const ask = (item, formula, line, i, focus) => {
  item.classList.add("asked");
  const input = make("input", "");
  input.setAttribute("aria-label", `What belongs in the gap of line ${i + 1}: ${line.spoken}`);
  input.autocomplete = "off";
  input.spellcheck = false;
  const check = make("button", "check", "Judge");
  const give = make("button", "give", "Show it");
  check.type = "submit";
  give.type = "button";
  const verdict = make("p", "verdict");
  verdict.setAttribute("role", "status");
  const form = make("form", "entry", input, check, give);
  item.append(form, verdict);
  const close = (className, text) => {
    item.className = className;
    formula.replaceChildren(mathOf(line.math));
    form.remove();
    verdict.className = "verdict";
    verdict.textContent = text;
    writeScore();
    goOn(i + 1, true);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const found = judge(input.value, exercise, line.gap);
    if (found.right) { filled += 1; close("right", `${found.text} You wrote ${input.value.trim()}`); return; }
    verdict.className = "verdict wrong";
    verdict.textContent = found.text;
  });
  give.addEventListener("click", () => { shown += 1; close("shown", `Shown: ${line.gap.answer}`); });
  if (focus) input.focus();
};

const open = (number) => {
  exercise = exercises[number];
  filled = shown = 0;
  by("of").replaceChildren(mathOf(exercise.of));
  by("given").textContent = exercise.given + (exercise.symbols.includes("p") ? " Type p for ŷ." : "");
  by("lines").replaceChildren();
  goOn(0, false);
  writeScore();
};
exercises.forEach((entry, i) => by("which").append(new Option(entry.title, i)));
by("which").addEventListener("change", () => open(Number(by("which").value)));
by("again").addEventListener("click", () => open(Number(by("which").value)));
open(0);
