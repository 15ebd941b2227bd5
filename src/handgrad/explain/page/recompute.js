// --- both passes again, at other numbers -----------------------------------------------------------

// A tape as it was recorded goes in, with other arrays for its inputs; a tape of the same form comes
// out. What depends on a changed number through an operation that is not known here is `stale`: it
// stands as recorded, and is marked.

const ENDLESS = { inf: Infinity, "-inf": -Infinity, nan: NaN }; // as JSON has them
const recordedArray = (value) => (value.numbers === null ? null : array(value.array.shape, value.array.dtype, value.numbers.map((x) => ENDLESS[x] ?? x)));
const likeOf = (value) => ({ shape: value.array.shape, dtype: value.array.dtype });
const isOpened = (equation) => equation.body && ["scan", "cond"].includes(equation.operation?.op);

const inputsChanged = (tape, edits) => {
  const arrays = Array(tape.values.length).fill(null);
  const touched = new Set();
  tape.inputs.forEach((v) => {
    arrays[v] = edits.get(v) ?? recordedArray(tape.values[v]);
    if (edits.has(v)) touched.add(v);
  });
  return { arrays, touched };
};

// Forward: the arrays of all values (null where unknown), and the runs of loops and branches.
const runForward = (tape, { arrays, touched }) => {
  const state = { arrays: [...arrays], touched: new Set(touched), runs: new Map() };
  tape.values.forEach((value, v) => { if (value.kind === "constant") state.arrays[v] = recordedArray(value); });
  tape.equations.forEach((equation, index) => {
    const isTouched = equation.inputs.some((v) => state.touched.has(v));
    if (isTouched) equation.outputs.forEach((v) => state.touched.add(v));
    const operands = equation.inputs.map((v) => state.arrays[v]);
    const known = operands.every(Boolean) && equation.operation && equation.inputs.length;
    let outputs = null;
    if (known && isOpened(equation)) outputs = openedForward(equation, operands, state.runs, index, tape);
    else if (known && OPERATIONS[equation.operation.op]) {
      const like = likeOf(tape.values[equation.outputs[0]]);
      outputs = [array(like.shape, like.dtype, OPERATIONS[equation.operation.op].forward(operands, equation.operation, like))];
    }
    equation.outputs.forEach((v, i) => {
      state.arrays[v] = outputs ? outputs[i] : isTouched ? null : recordedArray(tape.values[v]);
    });
  });
  return state;
};

const everything = (tape, operands) => {
  const arrays = Array(tape.values.length).fill(null);
  tape.inputs.forEach((v, i) => { arrays[v] = operands[i]; });
  return { arrays, touched: new Set(tape.inputs) };
};
const rowOf = (stacked, i) => {
  const shape = stacked.shape.slice(1), size = sizeOf(shape);
  return array(shape, stacked.dtype, stacked.data.slice(i * size, (i + 1) * size));
};

const openedForward = (equation, operands, runs, index, tape) => {
  const { op, constants, carried, length } = equation.operation;
  const body = equation.body;
  const outputsOf = (run, state) => run.outputs.map((v) => state.arrays[v]);
  if (op === "cond") {
    const recorded = recordedArray(tape.values[equation.inputs[0]]);
    if (!recorded || recorded.data[0] !== operands[0].data[0]) return null; // the other branch
    const state = runForward(body.runs[0], everything(body.runs[0], operands.slice(1)));
    runs.set(index, [state]);
    const found = outputsOf(body.runs[0], state);
    return found.every(Boolean) ? found : null;
  }
  if (body.runs.length !== length || !length) return null;
  let carry = operands.slice(constants, constants + carried);
  const rows = [];
  const states = [];
  for (let i = 0; i < length; i += 1) {
    const row = body.order[i];
    const given = [...operands.slice(0, constants), ...carry, ...operands.slice(constants + carried).map((a) => rowOf(a, row))];
    const state = runForward(body.runs[i], everything(body.runs[i], given));
    const found = outputsOf(body.runs[i], state);
    if (!found.every(Boolean)) return null;
    states.push(state);
    carry = found.slice(0, carried);
    rows[row] = found.slice(carried);
  }
  runs.set(index, states);
  const stacked = rows[0].map((first, k) => array([length, ...first.shape], first.dtype, rows.flatMap((r) => r[k].data)));
  return [...carry, ...stacked];
};

// Backward: cotangents (undefined where none arrives, null where it cannot be known), and what each
// equation sent and was multiplied by.
const runBackward = (tape, state, seeds) => {
  const cotangents = Array(tape.values.length).fill(undefined);
  const arrive = (v, data) => {
    if (data === undefined) return;
    const before = cotangents[v];
    if (before === undefined) cotangents[v] = data;
    else cotangents[v] = before && data ? before.map((x, i) => x + data[i]) : null;
  };
  tape.outputs.forEach((v, i) => arrive(v, seeds[i]));
  const sent = new Map(), entries = new Map(), runs = new Map();
  tape.backward.forEach((index) => {
    const equation = tape.equations[index];
    const { parts, ones, inner } = pulled(tape, state, equation, index, cotangents);
    if (inner) runs.set(index, inner);
    const together = (all, k) => {
      const same = equation.inputs.flatMap((v, j) => (v === equation.inputs[k] && all[j] ? [all[j]] : []));
      return same.length ? same.reduce((a, c) => a.map((x, i) => x + c[i])) : null;
    };
    sent.set(index, equation.inputs.map((v, k) => {
      if (!equation.sent[k]) return undefined;
      const data = parts ? together(parts, k) : null;
      arrive(v, data);
      return data;
    }));
    entries.set(index, equation.inputs.map((v, k) => (ones ? together(ones, k) : null)));
  });
  return { cotangents, sent, entries, runs };
};

const pulled = (tape, state, equation, index, cotangents) => {
  const operands = equation.inputs.map((v) => state.arrays[v]);
  const arrived = equation.outputs.map((v) => cotangents[v]);
  if (!operands.every(Boolean) || arrived.includes(null) || !equation.operation) return {};
  if (isOpened(equation)) return state.runs.has(index) ? openedBackward(equation, operands, state.runs.get(index), arrived) : {};
  const operation = OPERATIONS[equation.operation.op];
  const output = state.arrays[equation.outputs[0]];
  if (!operation?.pull || !output) return {};
  const back = (c) => operation.pull(operands, equation.operation, output, c);
  return { parts: back(arrived[0]), ones: back(output.data.map(() => 1)) };
};

const openedBackward = (equation, operands, states, arrived) => {
  const { op, constants, carried } = equation.operation;
  const runs = equation.body.runs;
  if (op === "cond") {
    const inner = runBackward(runs[0], states[0], arrived);
    return { parts: [null, ...runs[0].inputs.map((v) => inner.cotangents[v] ?? null)], inner: [inner] };
  }
  const parts = operands.map((a) => Array(a.data.length).fill(0));
  let back = arrived.slice(0, carried);
  const inner = [];
  for (let i = runs.length - 1; i >= 0; i -= 1) {
    const row = equation.body.order[i];
    const rows = arrived.slice(carried).map((c, k) => {
      const size = states[i].arrays[runs[i].outputs[carried + k]].data.length;
      return c?.slice(row * size, (row + 1) * size);
    });
    inner[i] = runBackward(runs[i], states[i], [...back, ...rows]);
    const found = runs[i].inputs.map((v) => inner[i].cotangents[v]);
    if (found.includes(null)) return {};
    found.forEach((c, k) => {
      const at = k < constants + carried ? 0 : row * (c?.length ?? 0);
      if (c && (k < constants || k >= constants + carried)) c.forEach((x, j) => { parts[k][at + j] += x; });
    });
    back = found.slice(constants, constants + carried);
  }
  back.forEach((c, k) => { parts[constants + k] = c ?? parts[constants + k]; });
  return { parts, inner };
};

// The tape of the new numbers, in the form of the recorded one.
const rewritten = (tape, state, back) => {
  const written = (recorded, data, like) => {
    if (data === undefined || recorded === null) return recorded;
    return data === null ? { ...recorded, stale: true } : describe(array(like.shape, like.dtype, data));
  };
  const values = tape.values.map((value, v) => {
    const found = state.arrays[v];
    const changed = state.touched.has(v);
    return {
      ...value,
      array: found ? describe(found) : { ...value.array, stale: changed },
      cotangent: written(value.cotangent, back.cotangents[v], likeOf(value)),
      data: found, slope: back.cotangents[v] ?? null,
    };
  });
  const equations = tape.equations.map((equation, index) => {
    const like = equation.inputs.map((v) => likeOf(tape.values[v]));
    const sent = back.sent.get(index), entries = back.entries.get(index);
    const states = state.runs.get(index), inner = back.runs.get(index);
    return {
      ...equation,
      sent: equation.sent.map((s, k) => (sent ? written(s, sent[k], like[k]) : s)),
      jacobians: equation.jacobians.map((j, k) => (j?.entries && entries ? { ...j, entries: written(j.entries, entries[k], like[k]) } : j)),
      body: equation.body && {
        ...equation.body,
        stale: !states && equation.inputs.some((v) => state.touched.has(v)),
        runs: states ? equation.body.runs.map((run, i) => rewritten(run, states[i], inner?.[i] ?? { cotangents: [], sent: new Map(), entries: new Map(), runs: new Map() })) : equation.body.runs,
      },
    };
  });
  return { ...tape, values, equations };
};

const recompute = (tape, edits) => {
  const state = runForward(tape, inputsChanged(tape, edits));
  const back = runBackward(tape, state, tape.outputs.map((v) => (state.arrays[v] ? [1] : null)));
  return rewritten(tape, state, back);
};
