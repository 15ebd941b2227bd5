// --- arrays, and how they are written: in the words and digits of summary.py --------------------

const WHOLE = 12, CORNER = 3, LONG = 4, NODE = 20, DIGITS = 5;
const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);
const isFloat = (dtype) => dtype.includes("float");
const array = (shape, dtype, data) => {
  const round = dtype === "float32" ? Math.fround : (x) => x;
  return { shape, dtype, data: Array.from(data, round) };
};

const formatNumber = (x, digits = DIGITS, dtype = "float64") => {
  const signed = (text) => text.replaceAll("-", "−");
  if (dtype === "bool") return x ? "true" : "false";
  if (!isFloat(dtype)) return signed(String(x));
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  if (x === 0) return Object.is(x, -0) ? "−0" : "0";
  const [mantissa, exponent] = x.toExponential(digits - 1).split("e");
  const power = Number(exponent);
  const short = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (power < -4 || power >= digits) return signed(`${short(mantissa)}e${power}`);
  return signed(short(x.toFixed(Math.max(0, digits - 1 - power))));
};

const describe = (of) => {
  const { shape, dtype, data } = of;
  const kind = dtype + (shape.length ? `[${shape.join(", ")}]` : "");
  const write = (digits) => (x) => formatNumber(x, digits, dtype);
  const whole = data.length <= WHOLE;
  const nan = data.some(Number.isNaN);
  const low = nan ? NaN : Math.min(...data), high = nan ? NaN : Math.max(...data);
  const mean = data.reduce((a, b) => a + b, 0) / data.length;

  const rowsOf = (digits) => {
    const text = data.map(write(digits));
    const width = shape.length ? shape[shape.length - 1] : 1;
    const cut = (list, n) => Array.from({ length: Math.ceil(list.length / n) }, (_, i) => list.slice(n * i, n * (i + 1)));
    if (whole && shape.length === 1) {
      if (text.length <= LONG) return [text];
      return cut([...text, ...Array((LONG - (text.length % LONG)) % LONG).fill("")], LONG);
    }
    const matrix = cut(text, width);
    if (whole) return matrix;
    const ends = (row) => (row.length <= CORNER + 2 ? row : [...row.slice(0, CORNER), "…", row[row.length - 1]]);
    if (matrix.length <= 4) return matrix.map(ends);
    const top = matrix.slice(0, CORNER).map(ends);
    return [...top, top[0].map(() => "⋮"), ends(matrix[matrix.length - 1])];
  };
  const textOf = (digits, all) => {
    const rows = rowsOf(digits);
    if (!shape.length) return rows[0][0];
    if (all && rows.length === 1 && rows[0].length <= CORNER) return `[${rows[0].join(", ")}]`;
    if (dtype === "bool") return `${data.filter(Boolean).length} of ${data.length} true`;
    if (low === high) return `all ${formatNumber(low)}`;
    return `${formatNumber(low, 3)} … ${formatNumber(high, 3)}`;
  };
  if (!data.length) return { shape, dtype, kind, text: kind, short: kind, block: "[]", range: "" };
  const fitting = [5, 3, 2].map((digits) => textOf(digits, whole)).find((text) => text.length <= NODE);
  const rows = rowsOf(DIGITS);
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  const lines = rows.map((row) => row.map((cell, i) => cell.padStart(widths[i])).join("  ").trimEnd());
  let block = lines.map((line) => `[${line}]`).join("\n");
  if (!shape.length) block = rows[0][0];
  else if (shape.length === 1) block = `[${lines.join("\n ")}]`;
  return {
    shape, dtype, kind, block, text: textOf(DIGITS, whole), short: fitting ?? textOf(DIGITS, false),
    range: whole ? "" : `from ${formatNumber(low)} to ${formatNumber(high)}, mean ${formatNumber(mean)}`,
  };
};

// --- places in an array ---------------------------------------------------------------------------

const stridesOf = (shape) => {
  const strides = Array(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i -= 1) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
};
// The offsets of all entries along some axes, the last of them running fastest.
const walk = (shape, axes) => {
  const strides = stridesOf(shape);
  return axes.reduce((offsets, axis) => offsets.flatMap((at) => Array.from({ length: shape[axis] }, (_, i) => at + i * strides[axis])), [0]);
};
// For each entry of an array of shape `to`, the entry of one of shape `from` that is copied there;
// axis i of `from` is axis axes[i] of `to`.
const copiesOf = (from, to, axes) => {
  const strides = stridesOf(from);
  return to.reduce((offsets, length, axis) => {
    const own = axes.indexOf(axis);
    const step = own < 0 || from[own] === 1 ? 0 : strides[own];
    return offsets.flatMap((at) => Array.from({ length }, (_, i) => at + i * step));
  }, [0]);
};
const alignedAxes = (from, to) => from.map((_, i) => i + to.length - from.length);
const addedUp = (data, places, size) => {
  const sums = Array(size);
  data.forEach((x, i) => { sums[places[i]] = places[i] in sums ? sums[places[i]] + x : x; });
  return Array.from(sums, (x) => x ?? 0);
};
