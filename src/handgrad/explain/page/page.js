"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const { values, equations, backward, inputs, wanted, loss } = data;
  const lines = data.derivation.lines;
  const steps = [
    { pass: "start" },
    ...equations.map((_, eq) => ({ pass: "fore", eq })),
    { pass: "turn" },
    ...backward.map((eq) => ({ pass: "rear", eq })),
    { pass: "end" },
  ];
  const turn = equations.length + 1;
  const last = steps.length - 1;

  // When each value is known, and when its cotangent is complete: once all that took it have sent.
  const known = new Map(inputs.map((v) => [v, 0]));
  equations.forEach((e, i) => e.outputs.forEach((v) => known.set(v, i + 1)));
  const complete = new Map([[loss, turn]]);
  backward.forEach((eq, i) => equations[eq].inputs.forEach((v, k) => {
    if (equations[eq].sent[k]) complete.set(v, turn + 1 + i);
  }));
  const made = new Map();
  equations.forEach((e, i) => e.outputs.forEach((v) => made.set(v, i)));

  const nodes = [...document.querySelectorAll(".node")];
  const edges = [...document.querySelectorAll(".edge")];
  const items = [...document.querySelectorAll(".lines li")];
  const nodeOf = new Map(nodes.map((n) => [Number(n.dataset.value), n]));

  // --- small pieces of the page, made of text only ------------------------------------------------

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };
  const fact = (tone, label, array, more) => {
    const kind = [array.kind, array.range].filter((t) => t && t !== array.block).join(", ");
    const head = make("div", "label", ...label);
    if (kind) head.append(" ", make("span", "quiet", kind));
    const wide = Math.max(...array.block.split("\n").map((line) => line.length)) > 26;
    const box = make("div", `fact ${tone}${wide ? " wide" : ""}`, head, make("pre", "", array.block));
    if (more) box.append(make("p", "quiet", more));
    return box;
  };
  const name = (v) => make("b", "", values[v].name);
  const row = (facts) => make("div", "facts", ...facts);
  const note = (text) => make("p", "quiet", text);
  const listing = (e) => {
    const inside = make("details", "", make("summary", "", `Inside: ${e.body_title}`));
    inside.append(make("pre", "", e.body.join("\n")));
    return inside;
  };

  // --- what a step says ---------------------------------------------------------------------------

  const start = () => ({
    kicker: "Before the first step", title: "The arguments", place: [],
    body: [row(inputs.map((v) => fact("", [name(v), values[v].wanted ? ", differentiated" : ""], values[v].array)))],
    lit: [], node: inputs[0],
  });

  const fore = (index) => {
    const e = equations[index];
    const taken = [...new Set(e.inputs)].filter((v) => !values[v].fixed);
    const body = [];
    if (taken.length) body.push(row(taken.map((v) => fact("", [name(v)], values[v].array))));
    e.outputs.forEach((v) => body.push(fact("fore", [name(v), " is"], values[v].array)));
    e.jacobians.forEach((s, k) => {
      if (s && s.entries) body.push(fact("", ["local derivative ∂", name(e.outputs[0]), "/∂", name(e.inputs[k])], s.entries));
      else if (s) body.push(make("div", "fact", make("div", "label", "local derivative ∂", name(e.outputs[0]), "/∂", name(e.inputs[k])), note(s.text)));
    });
    if (!e.active) body.push(note("This depends on no differentiated argument: nothing will be sent back through it."));
    if (e.body.length) body.push(listing(e));
    return {
      kicker: `Forward, equation ${index + 1} of ${equations.length}`, title: e.formula, place: place(e), body,
      lit: e.outputs.map((v) => ({ value: v, of: "value" })), node: e.node,
      edges: e.inputs.map((v) => [v, e.node]),
    };
  };

  const atTurn = () => ({
    kicker: "The turn", title: `${values[loss].name} = ${values[loss].array.text}`, place: [],
    body: [note("The way back begins with the derivative of the loss by itself."),
      fact("rear", ["∂ loss/∂", name(loss)], values[loss].cotangent)],
    lit: [], node: loss,
  });

  const rear = (index, order) => {
    const e = equations[index];
    const body = [];
    e.outputs.forEach((v) => {
      if (values[v].cotangent) body.push(fact("", ["∂ loss/∂", name(v), ", what arrives"], values[v].cotangent));
    });
    e.inputs.forEach((v, k) => {
      if (!e.sent[k]) return;
      const s = e.jacobians[k];
      const label = ["times ∂", name(e.outputs[0]), "/∂", name(v)];
      const jacobian = s.entries ? fact("", label, s.entries) : make("div", "fact", make("div", "label", ...label), note(s.text));
      const earlier = backward.slice(0, order).filter((q) => equations[q].inputs.some((u, j) => u === v && equations[q].sent[j]));
      const done = complete.get(v) === turn + 1 + order;
      const facts = [jacobian, fact("rear", ["sent to ", name(v)], e.sent[k])];
      body.push(row(facts));
      if (earlier.length) {
        const from = earlier.map((q) => equations[q].formula).join("; ");
        body.push(fact("rear", [done ? "altogether ∂ loss/∂" : "so far not all of ∂ loss/∂", name(v)],
          done ? values[v].cotangent : e.sent[k], `added to what was sent by ${from}`));
      }
    });
    return {
      kicker: `Backward, ${order + 1} of ${backward.length}`, title: e.formula, place: place(e), body,
      lit: e.inputs.flatMap((v, k) => (e.sent[k] && complete.get(v) === turn + 1 + order ? [{ value: v, of: "cotangent" }] : [])),
      node: e.node, edges: e.inputs.flatMap((v, k) => (e.sent[k] ? [[v, e.node]] : [])),
    };
  };

  const atEnd = () => ({
    kicker: "The end", title: "The gradient",
    place: [data.identical ? "jax.grad gives the same bits" : "jax.grad gives the same, but for rounding"],
    body: wanted.filter((v) => values[v].cotangent).map((v) => fact("rear", ["∂ loss/∂", name(v)], values[v].cotangent)),
    lit: wanted.map((v) => ({ value: v, of: "cotangent" })), node: wanted[0], all: wanted,
  });

  const place = (e) => {
    const called = e.calls.length ? `, under jit in ${e.calls.join(" › ")}` : "";
    const where = e.place ? `${e.place}, in ${e.function}${called}` : "";
    return e.code ? [make("code", "", e.code), where] : [where];
  };
  const inLines = (numbers) => {
    const last = numbers.length > 1 ? ` and ${numbers[numbers.length - 1]}` : "";
    const some = numbers.length > 1 ? numbers.slice(0, -1) : numbers;
    return `Computed in line${numbers.length > 1 ? "s" : ""} ${some.join(", ")}${last} of the derivation.`;
  };

  const describe = (n) => {
    const step = steps[n];
    if (step.pass === "fore") return fore(step.eq);
    if (step.pass === "rear") return rear(step.eq, n - turn - 1);
    return { start, turn: atTurn, end: atEnd }[step.pass]();
  };

  // --- showing a step -----------------------------------------------------------------------------

  let now = 0;
  const matches = (line, lit) => line.matches.some((m) => lit.some((l) => l.value === m.value && l.of === m.of));

  const centre = (node) => {
    const view = by("viewport");
    const box = node.getBoundingClientRect();
    const frame = view.getBoundingClientRect();
    view.scrollTop += box.top + box.height / 2 - frame.top - frame.height / 2;
    view.scrollLeft += box.left + box.width / 2 - frame.left - frame.width / 2;
  };

  const show = (n, quiet) => {
    now = Math.max(0, Math.min(last, n));
    const shown = describe(now);
    const isBack = now >= turn;
    const tone = now === 0 ? "" : isBack ? "rear" : "fore";
    by("step").className = `step ${tone}`;
    by("step-kicker").textContent = shown.kicker;
    by("step-title").textContent = shown.title;
    by("step-place").replaceChildren(...shown.place);
    const numbers = lines.flatMap((line, i) => (matches(line, shown.lit) ? [i + 1] : []));
    by("step-body").replaceChildren(...shown.body, ...(numbers.length ? [note(inLines(numbers))] : []));
    by("step-body").querySelectorAll("pre").forEach((pre) => {
      if (pre.scrollWidth > pre.clientWidth) pre.tabIndex = 0; // to be scrolled by keys
    });
    by("graph").setAttribute("class", isBack ? "rear-pass" : "fore-pass");
    const lit = new Set(shown.all || [shown.node]);
    nodes.forEach((node) => {
      const v = Number(node.dataset.value);
      node.classList.toggle("valued", (known.get(v) ?? 0) <= now);
      node.classList.toggle("returned", complete.has(v) && complete.get(v) <= now);
      node.classList.toggle("now", lit.has(v));
      node.classList.remove("pointed");
      node.setAttribute("tabindex", v === shown.node ? "0" : "-1");
      if (v === shown.node) { node.setAttribute("aria-current", "step"); centre(node); } else node.removeAttribute("aria-current");
    });
    const used = new Set((shown.edges || []).map((p) => p.join()));
    edges.forEach((edge) => edge.classList.toggle("now", used.has(`${edge.dataset.from},${edge.dataset.to}`)));
    items.forEach((item, i) => {
      const on = matches(lines[i], shown.lit);
      item.className = `${lines[i].matches.length ? "met" : ""}${on ? ` lit ${tone}` : ""}`;
      if (on) item.setAttribute("aria-current", "true"); else item.removeAttribute("aria-current");
    });
    const first = items.find((item) => item.classList.contains("lit"));
    const frame = by("derivation");
    if (frame && first && (first.offsetTop < frame.scrollTop + 44 || first.offsetTop + first.offsetHeight > frame.scrollTop + frame.clientHeight)) {
      frame.scrollTop = first.offsetTop - 44;
    }
    const slider = by("slider");
    slider.value = String(now);
    slider.setAttribute("aria-valuetext", `${shown.kicker}: ${shown.title}`);
    by("count").textContent = `${now} / ${last}`;
    by("first").disabled = by("back").disabled = now === 0;
    by("last").disabled = by("forth").disabled = now === last;
    if (!quiet) by("live").textContent = `${shown.kicker}. ${shown.title}. ${spoken(now)}`;
  };

  const spoken = (n) => {
    const step = steps[n];
    if (step.pass === "fore") return equations[step.eq].outputs.map((v) => `${values[v].name} is ${values[v].array.text}`).join(", ");
    if (step.pass === "rear") return equations[step.eq].inputs.flatMap((v, k) => (equations[step.eq].sent[k] ? [`sends ${equations[step.eq].sent[k].text} to ${values[v].name}`] : [])).join(", ");
    return "";
  };

  // --- what a person does -------------------------------------------------------------------------

  by("first").addEventListener("click", () => show(0));
  by("back").addEventListener("click", () => show(now - 1));
  by("forth").addEventListener("click", () => show(now + 1));
  by("last").addEventListener("click", () => show(last));
  by("slider").addEventListener("input", (event) => show(Number(event.target.value)));
  document.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.id === "slider") return;
    event.preventDefault();
    show(to);
  });
  const visit = (v) => show(now > turn - 1 && complete.has(v) ? complete.get(v) : known.get(v) ?? 0);
  nodes.forEach((node) => {
    const v = Number(node.dataset.value);
    node.addEventListener("click", () => visit(v));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      visit(v);
    });
  });
  items.forEach((item, i) => item.querySelector("button").addEventListener("click", () => {
    const match = lines[i].matches[lines[i].matches.length - 1];
    if (!match) return;
    const when = match.of === "cotangent" ? complete.get(match.value) : known.get(match.value);
    show(when ?? now);
    lines[i].matches.forEach((m) => nodeOf.get(m.value)?.classList.add("pointed"));
  }));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const theme = by("theme");
  theme.setAttribute("aria-pressed", String(isDark()));
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    theme.setAttribute("aria-pressed", String(isDark()));
  });
  by("fore").style.width = `${(100 * turn) / last}%`;
  by("rear").style.width = `${100 - (100 * turn) / last}%`;
  document.documentElement.classList.add("scripted");
  show(0, true);
})();
