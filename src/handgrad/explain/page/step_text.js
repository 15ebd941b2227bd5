// --- what a step says, made of text only ---------------------------------------------------------------

const make = (tag, className, ...children) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
};
const note = (text) => make("p", "quiet", text);
const factsRow = (facts) => make("div", "facts", ...facts);
const fact = (tone, label, of, more) => {
  const kind = [of.kind, of.range].filter((t) => t && t !== of.block).join(", ");
  const head = make("div", "label", ...label);
  if (kind) head.append(" ", make("span", "quiet", kind));
  const wide = Math.max(...of.block.split("\n").map((line) => line.length)) > 26;
  const box = make("div", `fact ${tone}${wide ? " wide" : ""}${of.stale ? " stale" : ""}`, head, make("pre", "", of.block));
  if (more) box.append(note(more));
  if (of.stale) box.append(note("as recorded, before the change"));
  return box;
};

// `page` has: root (the tape that is shown), recorded, folded, open, walk (stepsOf), and what the
// buttons in a step do: edit(v, fact), toggle(path, eq).
const textOfSteps = (page) => {
  const nameOf = (tape, v) => (page.folded && tape.values[v].folded_name) || tape.values[v].name;
  const name = (tape, v) => make("b", "", nameOf(tape, v));
  const formulaOf = (equation) => (page.folded ? equation.folded_formula : equation.formula);
  const nodeOf = (tape, equation, path) => (page.folded || path.length ? equation.node : equation.whole_node ?? equation.node);
  const unique = (list) => [...new Set(list)];

  const place = (e) => {
    const called = e.calls.length ? `, under jit in ${e.calls.join(" › ")}` : "";
    const where = e.place ? `${e.place}, in ${e.function}${called}` : "";
    return e.code ? [make("code", "", e.code), where] : [where];
  };
  const whereIn = (path) => {
    if (!path.length) return "";
    return path.map(([eq, run], depth) => {
      const { body, operation, primitive } = tapeAt(page.root, path.slice(0, depth)).equations[eq];
      const isLoop = ["scan", "while"].includes(operation?.op ?? primitive);
      return isLoop ? `iteration ${run + 1} of ${body.runs.length}` : body.title;
    }).join(", ");
  };
  const capital = (text) => text[0].toUpperCase() + text.slice(1);
  const opener = (equation, path, eq) => {
    if (!canOpen(equation)) return [];
    const isOpen = page.open.has(viewOf(path, eq));
    const button = make("button", "opener", isOpen ? `Close: ${equation.body.title}` : `Open: ${equation.body.title}`);
    button.type = "button";
    button.setAttribute("aria-expanded", String(isOpen));
    button.addEventListener("click", () => page.toggle(path, eq));
    return [button];
  };
  const jacobianFact = (label, jacobian) => {
    const generic = jacobian.text === "one number for each entry";
    if (jacobian.entries) return fact("", label, jacobian.entries, generic ? "" : jacobian.text);
    return make("div", "fact", make("div", "label", ...label), note(jacobian.text));
  };

  const start = (tape) => ({
    kicker: "Before the first step", title: "The arguments", place: [],
    body: tape.inputs.map((v) => page.edit(v, fact("", [name(tape, v), tape.values[v].wanted ? ", differentiated" : ""], tape.values[v].array))),
    lit: [], node: tape.inputs[0],
  });
  const begin = (tape, { path }) => ({
    kicker: `Forward, ${whereIn(path)}`, title: "What it is given", place: [],
    body: [factsRow(tape.inputs.map((v) => fact("", [name(tape, v)], tape.values[v].array)))],
    lit: [], node: tape.inputs[0], all: tape.inputs,
  });

  const fore = (tape, { path, eq }) => {
    const e = tape.equations[eq];
    const resolve = (v) => page.walk.resolve(tape, v);
    const taken = unique(e.inputs.map(resolve)).filter((v) => !tape.values[v].fixed);
    const body = [];
    if (taken.length) body.push(factsRow(taken.map((v) => fact("", [name(tape, v)], tape.values[v].array))));
    e.outputs.forEach((v) => body.push(fact("fore", [name(tape, v), " is"], tape.values[v].array)));
    e.jacobians.forEach((j, k) => {
      if (j) body.push(jacobianFact(["local derivative ∂", name(tape, e.outputs[0]), "/∂", name(tape, e.inputs[k])], j));
    });
    if (!e.active && !path.length) body.push(note("This depends on no differentiated argument: nothing will be sent back through it."));
    const node = nodeOf(tape, e, path);
    const shown = page.walk.steps.filter((s) => s.pass === "fore" && keyOf(s.path) === keyOf(path));
    const number = shown.findIndex((s) => s.eq === eq) + 1;
    return {
      kicker: path.length ? `Forward, ${whereIn(path)}` : `Forward, equation ${number} of ${shown.length}`,
      title: formulaOf(e), place: place(e), body: [...opener(e, path, eq), ...body],
      lit: path.length ? [] : e.outputs.map((v) => ({ value: resolve(v), of: "value" })), node,
      edges: e.inputs.map((v) => [resolve(v), node]),
    };
  };

  const atTurn = (tape) => {
    const loss = page.walk.resolve(tape, tape.outputs[0]);
    return {
      kicker: "The turn", title: `${nameOf(tape, loss)} is ${tape.values[loss].array.text}`, place: [],
      body: [note("The way back begins with the derivative of the loss by itself."),
        fact("rear", ["∂ loss/∂", name(tape, loss)], tape.values[tape.outputs[0]].cotangent)],
      lit: [], node: loss,
    };
  };
  const arrive = (tape, { path }) => ({
    kicker: `Backward, ${whereIn(path)}`, title: "What arrives", place: [],
    body: [factsRow(unique(tape.outputs).filter((v) => tape.values[v].cotangent).map((v) => fact("rear", ["∂ loss/∂", name(tape, v)], tape.values[v].cotangent)))],
    lit: [], node: tape.outputs[0], all: tape.outputs,
  });

  const rear = (tape, { path, eq }, at) => {
    const e = tape.equations[eq];
    const resolve = (v) => page.walk.resolve(tape, v);
    const { complete } = page.walk.timesAt(path);
    const body = [];
    e.outputs.forEach((v) => {
      const { cotangent } = tape.values[v];
      if (cotangent) body.push(fact("", ["∂ loss/∂", name(tape, v), ", what arrives"], cotangent));
    });
    const steps = page.walk.steps.slice(0, at).filter((s) => s.pass === "rear" && keyOf(s.path) === keyOf(path));
    e.inputs.forEach((v, k) => {
      if (!e.sent[k]) return;
      const target = resolve(v);
      body.push(factsRow([
        jacobianFact(["times ∂", name(tape, e.outputs[0]), "/∂", name(tape, v)], e.jacobians[k]),
        fact("rear", ["sent to ", name(tape, v)], e.sent[k]),
      ]));
      const earlier = steps.filter((s) => tape.equations[s.eq].inputs.some((u, j) => resolve(u) === target && tape.equations[s.eq].sent[j]));
      if (!earlier.length) return;
      const done = complete.get(target) === at;
      const from = earlier.map((s) => formulaOf(tape.equations[s.eq])).join("; ");
      body.push(done
        ? fact("rear", ["altogether ∂ loss/∂", name(tape, target)], tape.values[target].cotangent, `added to what was sent by ${from}`)
        : note(`This is added to what was sent to ${nameOf(tape, target)} by ${from}; more is to come.`));
    });
    const targets = unique(e.inputs.filter((v, k) => e.sent[k]).map(resolve));
    const node = nodeOf(tape, e, path);
    const shown = page.walk.steps.filter((s) => s.pass === "rear" && !s.path.length);
    return {
      kicker: path.length ? `Backward, ${whereIn(path)}` : `Backward, ${shown.findIndex((s) => s.eq === eq) + 1} of ${shown.length}`,
      title: formulaOf(e), place: place(e), body: [...opener(e, path, eq), ...body],
      lit: path.length ? [] : targets.filter((v) => complete.get(v) === at).map((v) => ({ value: v, of: "cotangent" })),
      node, edges: targets.map((v) => [v, node]),
    };
  };

  const atEnd = (tape) => ({
    kicker: "The end", title: "The gradient",
    place: page.root === page.recorded ? [page.recorded.identical ? "jax.grad gives the same bits" : "jax.grad gives the same, but for rounding"] : ["at the numbers that you changed, computed in this page"],
    body: tape.wanted.filter((v) => tape.values[v].cotangent).map((v) => fact("rear", ["∂ loss/∂", name(tape, v)], tape.values[v].cotangent)),
    lit: tape.wanted.map((v) => ({ value: v, of: "cotangent" })), node: tape.wanted[0], all: tape.wanted,
  });

  const spoken = (tape, { pass, eq }) => {
    const e = tape.equations[eq];
    if (pass === "fore") return e.outputs.map((v) => `${nameOf(tape, v)} is ${tape.values[v].array.text}`).join(", ");
    if (pass === "rear") return e.inputs.flatMap((v, k) => (e.sent[k] ? [`sends ${e.sent[k].text} to ${nameOf(tape, v)}`] : [])).join(", ");
    return "";
  };
  const passes = { start, begin, fore, turn: atTurn, arrive, rear, end: atEnd };
  return {
    whereIn, capital,
    at: (n) => {
      const step = page.walk.steps[n];
      const tape = tapeAt(page.root, step.path);
      return { ...passes[step.pass](tape, step, n), spoken: spoken(tape, step) };
    },
  };
};
