// --- what primitives compute, and how they pull a cotangent back (primitives.py names them) ------

const LN2 = Math.log(2);
const share = (a, b, c) => (a === b ? c / 2 : a > b ? c : 0);

// value of the operands; cotangent of each, from the operands, the value y and the cotangent c.
// Where a function is flat there is no second entry: nothing is sent.
const ENTRIES = {
  abs: [Math.abs, (a, y, c) => [c * Math.sign(a)]],
  add: [(a, b) => a + b, (a, b, y, c) => [c, c]],
  add_any: [(a, b) => a + b, (a, b, y, c) => [c, c]],
  and: [(a, b) => a & b],
  convert_element_type: [(a) => a, (a, y, c) => [c]],
  cos: [Math.cos, (a, y, c) => [-c * Math.sin(a)]],
  cosh: [Math.cosh, (a, y, c) => [c * Math.sinh(a)]],
  div: [(a, b) => a / b, (a, b, y, c) => [c / b, ((-c * a) / b) / b]],
  eq: [(a, b) => Number(a === b)],
  exp: [Math.exp, (a, y, c) => [c * y]],
  exp2: [(a) => 2 ** a, (a, y, c) => [c * LN2 * y]],
  expm1: [Math.expm1, (a, y, c) => [c * (y + 1)]],
  floor: [Math.floor],
  ge: [(a, b) => Number(a >= b)],
  gt: [(a, b) => Number(a > b)],
  is_finite: [(a) => Number(Number.isFinite(a))],
  le: [(a, b) => Number(a <= b)],
  log: [Math.log, (a, y, c) => [c / a]],
  log1p: [Math.log1p, (a, y, c) => [c / (a + 1)]],
  logaddexp: [
    (a, b) => (a === b ? a + LN2 : Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)))),
    (a, b, y, c) => [c * Math.exp(a - y), c * Math.exp(b - y)],
  ],
  logistic: [(a) => 1 / (1 + Math.exp(-a)), (a, y, c) => [c * (y * (1 - y))]],
  lt: [(a, b) => Number(a < b)],
  max: [Math.max, (a, b, y, c) => [share(a, b, c), share(b, a, c)]],
  min: [Math.min, (a, b, y, c) => [share(-a, -b, c), share(-b, -a, c)]],
  mul: [(a, b) => a * b, (a, b, y, c) => [c * b, c * a]],
  ne: [(a, b) => Number(a !== b)],
  neg: [(a) => -a, (a, y, c) => [-c]],
  not: [(a) => Number(!a)],
  or: [(a, b) => a | b],
  pow: [(a, b) => a ** b, (a, b, y, c) => [b === 0 ? 0 : c * b * a ** (b - 1), a === 0 ? 0 : c * Math.log(a) * y]],
  relu: [(a) => Math.max(a, 0), (a, y, c) => [a > 0 ? c : 0]],
  rsqrt: [(a) => 1 / Math.sqrt(a), (a, y, c) => [(-c * y) / (2 * a)]],
  select_n: [(which, ...cases) => cases[Number(which)], (which, ...rest) => {
    const c = rest.pop();
    rest.pop();
    return [0, ...rest.map((_, i) => (i === Number(which) ? c : 0))];
  }],
  sign: [Math.sign],
  sin: [Math.sin, (a, y, c) => [c * Math.cos(a)]],
  sinh: [Math.sinh, (a, y, c) => [c * Math.cosh(a)]],
  sqrt: [Math.sqrt, (a, y, c) => [c / (2 * y)]],
  square: [(a) => a * a, (a, y, c) => [2 * a * c]],
  stop_gradient: [(a) => a],
  sub: [(a, b) => a - b, (a, b, y, c) => [c, -c]],
  tanh: [Math.tanh, (a, y, c) => [(c + c * y) * (1 - y)]],
};
const rounded = { bool: (x) => Number(x !== 0), int: Math.trunc };

const elementwise = ([value, back]) => ({
  forward: (operands, op, like) => {
    const all = operands.map((o) => copiesOf(o.shape, like.shape, alignedAxes(o.shape, like.shape)).map((i) => o.data[i]));
    const data = Array.from({ length: sizeOf(like.shape) }, (_, i) => value(...all.map((d) => d[i])));
    const to = like.dtype === "bool" ? rounded.bool : isFloat(like.dtype) ? null : rounded.int;
    return to ? data.map(to) : data;
  },
  pull: back && ((operands, op, output, sent) => {
    const places = operands.map((o) => copiesOf(o.shape, output.shape, alignedAxes(o.shape, output.shape)));
    const parts = sent.map((c, i) => back(...operands.map((o, k) => o.data[places[k][i]]), output.data[i], c));
    return operands.map((o, k) => addedUp(parts.map((p) => p[k]), places[k], sizeOf(o.shape)));
  }),
});

// Along axes: every entry of the output has a group of entries of the operand.
const groups = (of, axes) => {
  const kept = of.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const inner = walk(of.shape, axes);
  return walk(of.shape, kept).map((at) => inner.map((i) => at + i));
};
const alongAxes = (value, back) => ({
  forward: ([a], op) => groups(a, op.axes).map((group) => value(group.map((i) => a.data[i]))),
  pull: back && (([a], op, output, sent) => {
    const found = Array(a.data.length).fill(0);
    groups(a, op.axes).forEach((group, g) => {
      back(group.map((i) => a.data[i]), output.data[g], sent[g]).forEach((c, j) => { found[group[j]] = c; });
    });
    return [found];
  }),
});
const atExtreme = (entries, y, c) => {
  const ties = entries.filter((x) => x === y).length;
  return entries.map((x) => (x === y ? c / ties : 0));
};
const firstAt = (extreme) => (entries) => {
  const nan = entries.findIndex(Number.isNaN);
  return nan >= 0 ? nan : entries.indexOf(extreme(...entries));
};

// A product as matrices: batch × free × contracted on both sides.
const asMatrices = (of, batch, contracted) => {
  const free = of.shape.map((_, i) => i).filter((i) => !batch.includes(i) && !contracted.includes(i));
  const sum = walk(of.shape, contracted), rows = walk(of.shape, free);
  return walk(of.shape, batch).map((b) => rows.map((r) => sum.map((s) => b + r + s)));
};
const product = (operands, op) => operands.map((o, side) => asMatrices(o, op.batch[side], op.contracted[side]));
const dot = {
  forward: ([a, b], op) => {
    const [left, right] = product([a, b], op);
    return left.flatMap((matrix, n) => matrix.flatMap((row) => right[n].map((column) => row.reduce((sum, i, k) => sum + a.data[i] * b.data[column[k]], 0))));
  },
  pull: ([a, b], op, output, sent) => {
    const [left, right] = product([a, b], op);
    const found = [a, b].map((o) => Array(o.data.length).fill(0));
    let at = 0;
    left.forEach((matrix, n) => matrix.forEach((row) => right[n].forEach((column) => {
      const c = sent[at];
      at += 1;
      row.forEach((i, k) => {
        found[0][i] += c * b.data[column[k]];
        found[1][column[k]] += c * a.data[i];
      });
    })));
    return found;
  },
};
const moved = (placesOf) => ({
  forward: ([a], op, like) => placesOf(a, op, like).map((i) => a.data[i]),
  pull: ([a], op, output, sent) => [addedUp(sent, placesOf(a, op, output), a.data.length)],
});

const OPERATIONS = {
  ...Object.fromEntries(Object.entries(ENTRIES).map(([name, pair]) => [name, elementwise(pair)])),
  integer_pow: {
    forward: ([a], op) => a.data.map((x) => x ** op.power),
    pull: ([a], op, output, sent) => [sent.map((c, i) => (op.power === 0 ? 0 : c * op.power * a.data[i] ** (op.power - 1)))],
  },
  argmax: alongAxes(firstAt(Math.max)),
  argmin: alongAxes(firstAt(Math.min)),
  reduce_and: alongAxes((entries) => Number(entries.every(Boolean))),
  reduce_or: alongAxes((entries) => Number(entries.some(Boolean))),
  reduce_max: alongAxes((entries) => Math.max(...entries), atExtreme),
  reduce_min: alongAxes((entries) => Math.min(...entries), atExtreme),
  reduce_prod: alongAxes(
    (entries) => entries.reduce((a, b) => a * b, 1),
    (entries, y, c) => entries.map((_, i) => entries.reduce((a, b, j) => (i === j ? a : a * b), c)),
  ),
  reduce_sum: alongAxes((entries) => entries.reduce((a, b) => a + b, 0), (entries, y, c) => entries.map(() => c)),
  dot_general: dot,
  reshape: moved((a) => a.data.map((_, i) => i)),
  slice: moved((a, op, like) => {
    const strides = stridesOf(a.shape);
    return like.shape.reduce((offsets, length, axis) => offsets.flatMap((at) => Array.from({ length }, (_, i) => at + (op.starts[axis] + i * op.steps[axis]) * strides[axis])), [0]);
  }),
  transpose: moved((a, op) => walk(a.shape, op.axes)),
  broadcast_in_dim: moved((a, op, like) => copiesOf(a.shape, like.shape, op.axes)),
};
