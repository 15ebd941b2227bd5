"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const PRIMES = ["f", "f′", "f″"];
  const FORMS = ["default", "highest", "handgrad"];
  const CALLED = { default: "jax.grad", highest: "AccuracyMode.HIGHEST", handgrad: "handgrad" };
  const FAILS = { n: "NaN", i: "a wrong infinity", s: "a wrong sign", z: "0 for a normal number" };
  const PRECISION = { bfloat16: 8, float16: 11, float32: 24, float64: 53 };
  const state = {
    dtype: data.dtypes.includes("float16") ? "float16" : data.dtypes[0], order: 1,
    sort: "failing", descending: true, open: new Set(),
  };

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };
  const drawn = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // --- numbers as a person writes them ------------------------------------------------------------

  const ulps = (x) => {
    if (x === null) return "–";
    if (x < 100) return x.toFixed(1);
    return x < 1e6 ? Math.round(x).toLocaleString("en") : x.toExponential(1).replace("e+", "e");
  };
  const count = (n) => (n ? n.toLocaleString("en") : "·");
  const share = (x) => {
    if (!x) return "·";
    if (x < 0.001) return "<0.1%";
    return x < 0.1 ? `${(100 * x).toFixed(1)}%` : `${Math.round(100 * x)}%`;
  };
  const number = (x) => {
    if (x === 0) return "0";
    const size = Math.abs(x);
    return size >= 1e5 || size < 1e-3 ? x.toExponential(2).replace("e+", "e") : String(Number(x.toPrecision(4)));
  };
  const power = (x) => {
    const exponent = Math.log2(Math.abs(x));
    if (x === 0 || exponent === 0) return `${x}`.replace("-", "−");
    return `${x < 0 ? "−" : ""}2${[...`${exponent}`].map((d) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(d)]).join("")}`;
  };
  const failing = (row) => row.nan + row.inf + row.wrong_sign + row.zero;

  // --- the table ----------------------------------------------------------------------------------

  const find = (entry, form) => entry.rows.find((r) => r.dtype === state.dtype && r.order === state.order && r.form === form);
  const other = (entry) => {
    const found = ["highest", "handgrad"].map((form) => find(entry, form)).filter(Boolean);
    return found.sort((a, b) => failing(a) - failing(b) || a.max_ulp - b.max_ulp)[0];
  };
  const columns = [
    { key: "name", label: "function", value: (e) => e.name.toLowerCase(), first: true },
    { key: "max_ulp", label: "max ulp", value: (e, r) => r.max_ulp },
    { key: "at", label: "at", value: (e, r) => Math.abs(Number(r.at.split(",")[0])), wide: true },
    { key: "failing", label: "failing", value: (e, r) => failing(r) },
    { key: "nan", label: "NaN", value: (e, r) => r.nan, wide: true },
    { key: "inf", label: "inf", value: (e, r) => r.inf, wide: true },
    { key: "wrong_sign", label: "sign", value: (e, r) => r.wrong_sign, wide: true },
    { key: "zero", label: "lost", value: (e, r) => r.zero, wide: true },
    { key: "above_1", label: "> 1", value: (e, r) => r.above_1, wide: true },
    { key: "above_10", label: "> 10", value: (e, r) => r.above_10, mid: true },
    { key: "ns", label: "ns", value: (e, r) => r.ns, wide: true },
    { key: "other", label: "best other", value: (e) => (other(e) ? other(e).max_ulp : -1), mid: true },
  ];
  const shownClass = (column) => (column.wide ? "wide" : column.mid ? "mid" : "");

  const cell = (column, entry, row) => {
    const td = make("td", shownClass(column));
    if (column.key === "max_ulp") {
      td.textContent = ulps(row.max_ulp);
      if (row.max_ulp > 100) td.classList.add("bad");
    } else if (column.key === "at") td.textContent = row.at;
    else if (column.key === "above_1" || column.key === "above_10") td.textContent = share(row[column.key]);
    else if (column.key === "ns") td.textContent = row.ns;
    else if (column.key === "other") {
      const best = other(entry);
      td.textContent = best ? ulps(best.max_ulp) : "";
      if (best) {
        td.title = CALLED[best.form];
        if (best.max_ulp < row.max_ulp / 2 && failing(best) <= failing(row)) td.classList.add("good");
      }
    } else {
      const n = column.value(entry, row);
      td.textContent = count(n);
      td.classList.add(n ? "bad" : "none");
    }
    return td;
  };

  const nameButton = (entry) => {
    const cut = entry.name.split(",")[0].lastIndexOf(".") + 1;
    const button = make("button", "name", make("span", "module", entry.name.slice(0, cut)), make("wbr"), entry.name.slice(cut));
    button.type = "button";
    button.setAttribute("aria-expanded", state.open.has(entry.name));
    button.addEventListener("click", () => {
      if (!state.open.delete(entry.name)) state.open.add(entry.name);
      draw();
      const again = [...document.querySelectorAll(".name")].find((b) => b.textContent === entry.name);
      if (again) again.focus();
    });
    return button;
  };

  const draw = () => {
    const wanted = by("filter").value.trim().toLowerCase();
    const column = columns.find((c) => c.key === state.sort);
    const shown = data.functions
      .map((entry) => ({ entry, row: find(entry, "default") }))
      .filter(({ entry, row }) => row && entry.name.toLowerCase().includes(wanted))
      .map((pair) => ({ ...pair, value: column.value(pair.entry, pair.row) }));
    const tie = (a, b) => b.row.max_ulp - a.row.max_ulp || a.entry.name.localeCompare(b.entry.name);
    shown.sort((a, b) => {
      const order = a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
      return (state.descending ? -order : order) || tie(a, b);
    });
    by("heads").replaceChildren(...columns.map((c) => {
      const button = make("button", "", c.label);
      button.type = "button";
      button.addEventListener("click", () => {
        state.descending = state.sort === c.key ? !state.descending : !c.first;
        state.sort = c.key;
        draw();
        by("heads").children[columns.indexOf(c)].firstChild.focus();
      });
      const th = make("th", shownClass(c), button);
      th.scope = "col";
      if (state.sort === c.key) th.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      return th;
    }));
    by("body").replaceChildren(...shown.flatMap(({ entry, row }) => {
      const th = make("th", "", nameButton(entry));
      th.scope = "row";
      const tr = make("tr", "row", th, ...columns.slice(1).map((c) => cell(c, entry, row)));
      return state.open.has(entry.name) ? [tr, detail(entry)] : [tr];
    }));
    const broken = shown.filter(({ row }) => failing(row)).length;
    const what = state.order ? `${["", "first", "second"][state.order]} derivatives` : "functions";
    by("count").textContent = shown.length
      ? `${shown.length} ${what} in ${state.dtype}; ${broken} fail somewhere (NaN, a wrong infinity or sign, a lost number), ` +
        `${shown.filter(({ row }) => row.max_ulp > 100).length} are off by more than 100 ulp. A function opens to its picture.`
      : `No such ${what} in ${state.dtype}.`;
  };

  // --- a picture ----------------------------------------------------------------------------------

  const WIDTH = 1000, LEFT = 56, RIGHT = 12, BOTTOM = 30, STRIP = 13;
  const level = (letter) => data.alphabet.indexOf(letter);
  const log = (place) => (place - 4) / 2; // of 2, in ulp

  const picture = (entry, profiles, reading) => {
    const edges = data.edges[state.dtype];
    const bins = edges.length - 1;
    const narrow = by("table").clientWidth < 700;
    const width = narrow ? 460 : WIDTH;
    const top = 10 + STRIP * profiles.length;
    const height = (narrow ? 250 : 300) + top;
    const x = (i) => LEFT + (i / bins) * (width - LEFT - RIGHT);
    const highest = Math.max(PRECISION[state.dtype] + 1, ...profiles.flatMap((p) => [...p.errors].map((l) => log(level(l)))));
    const most = Math.min(highest, 44), least = -2;
    const y = (power) => top + ((most - Math.min(Math.max(power, least), most)) / (most - least)) * (height - top - BOTTOM);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "picture", role: "img", "aria-label": `Largest error of ${PRIMES[state.order]} of ${entry.name} along its inputs in ${state.dtype}` });
    const step = most > 30 ? 6 : most > 14 ? 2 : 1;
    for (let tens = 0; tens * Math.log2(10) <= most; tens += step) {
      const at = y(tens * Math.log2(10));
      svg.append(drawn("line", { x1: LEFT, x2: width - RIGHT, y1: at, y2: at, class: "grid" }));
      const label = drawn("text", { x: LEFT - 7, y: at + 4, "text-anchor": "end" });
      label.textContent = tens < 4 ? String(10 ** tens) : `1e${tens}`;
      svg.append(label);
    }
    const ulp = drawn("text", { x: LEFT - 7, y: top + 2, "text-anchor": "end" });
    ulp.textContent = "ulp";
    svg.append(ulp);
    const ticks = [-(2 ** 100), -256, -1, -(2 ** -8), 0, 2 ** -8, 1, 256, 2 ** 100].filter((t) => Math.abs(t) <= edges[bins]);
    if (state.dtype === "float16") ticks.push(-4096, 4096);
    for (const tick of ticks) {
      const near = edges.reduce((best, e, i) => (Math.abs(e - tick) < Math.abs(edges[best] - tick) ? i : best), 0);
      svg.append(drawn("line", { x1: x(near), x2: x(near), y1: top, y2: height - BOTTOM, class: tick ? "grid" : "zero" }));
      const label = drawn("text", { x: x(near), y: height - 8, "text-anchor": "middle" });
      label.textContent = power(tick);
      svg.append(label);
    }
    for (const [place, profile] of profiles.entries()) {
      const letters = profile.errors.padEnd(bins, " ");
      let path = "", up = false;
      for (let i = 0; i < bins; i += 1) {
        if (letters[i] === " ") { up = false; continue; }
        const at = y(log(level(letters[i]))).toFixed(1);
        path += `${up ? "L" : "M"}${x(i).toFixed(1)} ${at}H${x(i + 1).toFixed(1)}`;
        up = true;
      }
      svg.append(drawn("path", { d: path, class: `error ${profile.form}` }));
      for (const [i, letter] of [...profile.failing].entries()) {
        if (letter !== ".") svg.append(drawn("rect", { x: x(i).toFixed(1), width: (x(i + 1) - x(i) + 0.4).toFixed(1), y: 4 + STRIP * place, height: STRIP - 4, class: `fail ${profile.form}` }));
      }
    }
    const cursor = drawn("line", { y1: top, y2: height - BOTTOM, class: "cursor", visibility: "hidden" });
    svg.append(cursor);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const inside = ((event.clientX - box.left) / box.width) * width;
      const i = Math.floor(((inside - LEFT) / (width - LEFT - RIGHT)) * bins);
      if (i < 0 || i >= bins) return;
      cursor.setAttribute("visibility", "visible");
      cursor.setAttribute("x1", x(i + 0.5));
      cursor.setAttribute("x2", x(i + 0.5));
      const said = profiles.map((p) => {
        const letter = p.errors[i] || " ", fails = FAILS[p.failing[i]];
        const error = letter === " " ? "not judged" : level(letter) ? `about ${ulps(2 ** log(level(letter)))} ulp` : "at most ¼ ulp";
        return `${CALLED[p.form]} ${error}${fails ? `, and ${fails}` : ""}`;
      });
      reading.textContent = `${number(edges[i])} to ${number(edges[i + 1])}: ${said.join("; ")}`;
    });
    return svg;
  };

  const detail = (entry) => {
    const card = make("div", "card");
    const profiles = entry.profiles
      .filter((p) => p.dtype === state.dtype && p.order === state.order)
      .sort((a, b) => FORMS.indexOf(a.form) - FORMS.indexOf(b.form));
    if (profiles.length) {
      const reading = make("p", "quiet reading", "The largest error along the inputs, x on a scale of powers of two. Bars on top mark inputs that fail: point at them.");
      card.append(make("div", "legend", ...profiles.map((p) => make("span", p.form, CALLED[p.form]))), picture(entry, profiles, reading), reading);
    } else {
      const why = state.order === 0 ? "The picture is of derivatives: choose f′ or f″." : state.dtype === "float64" ? "No picture of float64, whose inputs are a sample." : "No picture: a function of two arguments.";
      card.append(make("p", "quiet", why));
    }
    const heads = ["form", "max ulp", "at", "NaN", "inf", "sign", "lost", "> 1", "> 10", "set apart", "judged", "ns"];
    const body = entry.rows.filter((r) => r.dtype === state.dtype).map((r) => make("tr", "",
      make("th", "", `${PRIMES[r.order]} ${CALLED[r.form] === "jax.grad" && !r.order ? "the function" : CALLED[r.form]}`),
      ...[ulps(r.max_ulp), r.at, count(r.nan), count(r.inf), count(r.wrong_sign), count(r.zero), share(r.above_1), share(r.above_10), count(r.subnormal), count(r.inputs), String(r.ns)].map((text) => make("td", "", text))));
    const forms = make("div", "forms", make("table", "", make("thead", "", make("tr", "", ...heads.map((h) => make("th", "", h)))), make("tbody", "", ...body)));
    forms.tabIndex = 0;
    forms.setAttribute("role", "region");
    forms.setAttribute("aria-label", `All forms of ${entry.name} in ${state.dtype}`);
    card.append(forms);
    const left = entry.left.find(([dtype]) => dtype === state.dtype);
    if (left) card.append(make("p", "quiet", `Left out: ${[left[1] && `${count(left[1])} kinks or jumps`, left[2] && `${count(left[2])} that no precision decided`].filter(Boolean).join(", ")}.`));
    const td = make("td", "", card);
    td.colSpan = columns.length;
    return make("tr", "detail", td);
  };

  // --- choices ------------------------------------------------------------------------------------

  const choice = (name, options, chosen, label, set) => {
    for (const option of options) {
      const input = make("input");
      input.type = "radio";
      input.name = name;
      input.checked = option === chosen;
      input.addEventListener("change", () => { set(option); draw(); });
      by(name).append(make("label", "", input, label(option)));
    }
  };
  choice("dtype", data.dtypes, state.dtype, (d) => d, (d) => { state.dtype = d; });
  const orders = [0, 1, 2].filter((o) => data.functions.some((e) => e.rows.some((r) => r.order === o)));
  choice("order", orders, state.order, (o) => PRIMES[o], (o) => { state.order = o; });
  by("filter").addEventListener("input", draw);
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  by("theme").setAttribute("aria-pressed", dark());
  by("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    by("theme").setAttribute("aria-pressed", dark());
  });
  let width = by("table").clientWidth;
  addEventListener("resize", () => {
    if (by("table").clientWidth !== width) { width = by("table").clientWidth; draw(); }
  });
  if (location.hash.length > 1) {
    const name = decodeURIComponent(location.hash.slice(1));
    const entry = data.functions.find((e) => e.name === name);
    if (entry) state.open.add(name);
    draw();
    const button = [...document.querySelectorAll(".name")].find((b) => b.textContent === name);
    if (button) button.scrollIntoView();
  } else draw();
})();
