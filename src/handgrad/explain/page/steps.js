// --- the steps: both passes in order, with the iterations of the loops that are open ---------------

// A step has a `path`: the loops and branches that it is in, as pairs [equation, run]. Every run of a
// body is a tape of its own, drawn in the one graph of that body.

const tapeAt = (root, path) => path.reduce((tape, [eq, run]) => tape.equations[eq].body.runs[run], root);
const viewOf = (path, eq) => [...path.map((pair) => pair[0]), ...(eq === undefined ? [] : [eq])].join(".");
const keyOf = (path) => path.map((pair) => pair.join(":")).join(".");
const canOpen = (equation) => Boolean(equation.body?.runs.length);

const stepsOf = (root, folded, open) => {
  const steps = [];
  const times = new Map(); // by path: when a value is known, and when its cotangent is complete
  const resolve = (tape, v) => {
    let at = v;
    while (folded && tape.values[at].lets_through !== null) at = tape.values[at].lets_through;
    return at;
  };
  const timesAt = (path) => {
    const key = keyOf(path);
    if (!times.has(key)) times.set(key, { known: new Map(), complete: new Map() });
    return times.get(key);
  };
  const add = (step) => { steps.push(step); return steps.length - 1; };
  const isShown = (equation) => !(folded && equation.folded);
  const runsOf = (tape, path, eq) => (open.has(viewOf(path, eq)) ? tape.equations[eq].body.runs.map((run, i) => [run, [...path, [eq, i]]]) : []);
  const begin = (tape, path, pass) => {
    const at = add({ pass, path });
    tape.inputs.forEach((v) => timesAt(path).known.set(v, at));
  };
  const forward = (tape, path) => tape.equations.forEach((equation, eq) => {
    if (!isShown(equation)) return;
    const at = add({ pass: "fore", path, eq });
    equation.outputs.forEach((v) => timesAt(path).known.set(resolve(tape, v), at));
    runsOf(tape, path, eq).forEach(([run, inner]) => { begin(run, inner, "begin"); forward(run, inner); });
  });
  const turnAround = (tape, path, pass) => {
    const at = add({ pass, path });
    tape.outputs.forEach((v) => timesAt(path).complete.set(resolve(tape, v), at));
  };
  const backward = (tape, path) => tape.backward.forEach((eq) => {
    const equation = tape.equations[eq];
    if (!isShown(equation)) return;
    const at = add({ pass: "rear", path, eq });
    equation.inputs.forEach((v, k) => { if (equation.sent[k]) timesAt(path).complete.set(resolve(tape, v), at); });
    runsOf(tape, path, eq).reverse().forEach(([run, inner]) => {
      if (run.backward.length) { turnAround(run, inner, "arrive"); backward(run, inner); }
    });
  });

  begin(root, [], "start");
  forward(root, []);
  const turn = steps.length;
  turnAround(root, [], "turn");
  backward(root, []);
  add({ pass: "end", path: [] });
  return { steps, turn, last: steps.length - 1, timesAt, resolve };
};

// The nearest step to an old one when the list has changed: the same, or the loop that it was in.
const nearest = (steps, old) => {
  const same = (a, b) => a.pass === b.pass && a.eq === b.eq && keyOf(a.path) === keyOf(b.path);
  const exact = steps.findIndex((step) => same(step, old));
  if (exact >= 0) return exact;
  if (old.path.length) {
    const [eq] = old.path[old.path.length - 1];
    const pass = ["rear", "arrive"].includes(old.pass) ? "rear" : "fore";
    return nearest(steps, { pass, eq, path: old.path.slice(0, -1) });
  }
  const before = steps.findLastIndex((step) => step.pass === old.pass && !step.path.length && (old.pass === "rear" ? step.eq > old.eq : step.eq < old.eq));
  return Math.max(0, before);
};
