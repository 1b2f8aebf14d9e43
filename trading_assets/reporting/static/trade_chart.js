// Candles with trades: draws what the page's data block holds. Text of others goes in by textContent alone.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const el = (tag, kind, text) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined && text !== null) made.textContent = text;
    return made;
  };
  const LINES = ["#2563eb", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#64748b", "#b45309"];
  const REASONS = { stop: "#d64545", target: "#0f9d6b", signal: "#7c3aed", time: "#d97706", roi: "#0891b2", open: "#64748b" };
  const MOST_PANES = 3;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const moment = (s) => (s === null ? "–" : new Date(s * 1000).toISOString().slice(0, 16).replace("T", " "));
  const fixed = (value, digits, signed) =>
    value === null || value === undefined ? "–" : (signed && value > 0 ? "+" : "") + value.toFixed(digits);

  // Data: prices are whole numbers of 10^-decimals, each told by its distance to the one before.
  function unpack(one) {
    if (one.bars) return one.bars;
    const time = [];
    for (const [first, count] of one.spans) for (let i = 0; i < count; i++) time.push(first + i * one.step);
    const unit = 10 ** one.decimals, bars = new Array(time.length);
    let close = 0;
    for (let i = 0; i < time.length; i++) {
      const open = close + one.o[i], end = open + one.c[i];
      bars[i] = {
        time: time[i], open: open / unit, close: end / unit,
        high: (Math.max(open, end) + one.h[i]) / unit, low: (Math.min(open, end) - one.l[i]) / unit,
      };
      close = end;
    }
    one.time = time;
    one.bars = bars;
    return bars;
  }

  /** Index of the bar that holds a moment (s); the last one before it where none does. */
  function place(one, s) {
    let low = 0, high = one.time.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (one.time[middle] <= s) low = middle; else high = middle - 1;
    }
    return low;
  }

  /** Trades on the candles: the way from entry to exit, stop and target meanwhile, entry and exit marks. */
  class Marks {
    constructor() { this.trades = []; this.chosen = null; this.views = [{ zOrder: () => "top", renderer: () => this }]; }
    attached({ chart, series, requestUpdate }) { this.chart = chart; this.series = series; this.update = requestUpdate; }
    detached() {}
    updateAllViews() {}
    paneViews() { return this.views; }
    /** The chosen trade is to be seen whole, its stop and target, too. */
    autoscaleInfo(from, to) {
      const t = this.chosen;
      if (!t || t.last < from || t.first > to) return null;
      const levels = [t.entry_price, t.exit_price, t.stop, t.target].filter((one) => one !== null);
      return { priceRange: { minValue: Math.min(...levels), maxValue: Math.max(...levels) } };
    }
    draw(target) { target.useBitmapCoordinateSpace((scope) => this.paint(scope)); }
    paint({ context, horizontalPixelRatio: rx, verticalPixelRatio: ry }) {
      const scale = this.chart.timeScale(), range = scale.getVisibleLogicalRange();
      if (!range) return;
      const seen = this.trades.filter((t) => t.last >= range.from - 1 && t.first <= range.to + 1);
      const many = seen.length > 400;
      const X = (index) => scale.logicalToCoordinate(index) * rx;
      const Y = (price) => this.series.priceToCoordinate(price) * ry;
      for (const t of seen) {
        const is_chosen = t === this.chosen, faded = this.chosen && !is_chosen;
        const x0 = X(t.first), x1 = Math.max(X(t.last), x0 + rx), y0 = Y(t.entry_price), y1 = Y(t.exit_price);
        context.globalAlpha = faded ? 0.45 : 1;
        if (!many) {
          for (const [level, fill] of [[t.stop, "214,69,69"], [t.target, "15,157,107"]]) {
            if (level === null) continue;
            const y = Y(level);
            context.fillStyle = `rgba(${fill},${is_chosen ? 0.16 : 0.07})`;
            context.fillRect(x0, Math.min(y, y0), x1 - x0, Math.abs(y - y0));
            context.strokeStyle = `rgba(${fill},${is_chosen ? 1 : 0.45})`;
            context.lineWidth = (is_chosen ? 1.5 : 1) * ry;
            context.beginPath(); context.moveTo(x0, y); context.lineTo(x1, y); context.stroke();
          }
          context.strokeStyle = t.pnl >= 0 ? REASONS.target : REASONS.stop;
          context.lineWidth = (is_chosen ? 2.5 : 1.2) * ry;
          context.setLineDash([4 * rx, 3 * rx]);
          context.beginPath(); context.moveTo(x0, y0); context.lineTo(x1, y1); context.stroke();
          context.setLineDash([]);
        }
        const size = (many ? 2.5 : is_chosen ? 7 : 5) * ry, up = t.side > 0;
        const tip = y0 + (up ? 3 : -3) * ry;
        context.fillStyle = up ? "#2563eb" : "#c026d3";
        context.beginPath();
        context.moveTo(x0, tip);
        context.lineTo(x0 - size, tip + (up ? 1.7 : -1.7) * size);
        context.lineTo(x0 + size, tip + (up ? 1.7 : -1.7) * size);
        context.fill();
        if (t.exit === null) continue;
        context.fillStyle = REASONS[t.reason] ?? REASONS.open;
        context.beginPath(); context.arc(x1, y1, size * 0.75, 0, 7); context.fill();
        if (!many) { context.strokeStyle = colour("ground"); context.lineWidth = ry; context.stroke(); }
      }
      context.globalAlpha = 1;
    }
  }

  const chart = LightweightCharts.createChart(by("chart"), { autoSize: true, crosshair: { mode: 0 } });
  const candles = chart.addSeries(LightweightCharts.CandlestickSeries, {
    upColor: "#0f9d6b", downColor: "#d64545", wickUpColor: "#0f9d6b", wickDownColor: "#d64545", borderVisible: false,
    priceLineVisible: false,
  });
  const marks = new Marks();
  candles.attachPrimitive(marks);
  let shown = null, extra = [];
  const off = new Set();

  function dress() {
    chart.applyOptions({
      layout: {
        background: { color: colour("ground") }, textColor: colour("soft"), fontSize: 11, attributionLogo: true,
        panes: { separatorColor: colour("line"), separatorHoverColor: colour("line") },
      },
      grid: { vertLines: { color: colour("faint") }, horzLines: { color: colour("faint") } },
      rightPriceScale: { borderVisible: false, minimumWidth: 74 },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false, minBarSpacing: 0.02, rightOffset: 4 },
    });
  }
  dark.addEventListener("change", dress);

  function line(one, name, values, pane, options, kind = LightweightCharts.LineSeries) {
    const made = chart.addSeries(kind, {
      lineWidth: 1, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false, title: name, ...options,
    }, pane);
    const points = new Array(one.time.length);
    for (let i = 0; i < points.length; i++)
      points[i] = values[i] === null ? { time: one.time[i] } : { time: one.time[i], value: values[i] };
    made.setData(points);
    extra.push(made);
    return made;
  }

  /** Distance to the highest equity so far, percent. */
  function drawdown(one) {
    let peak = one.capital;
    return one.equity.map((value) => { peak = Math.max(peak, value); return (value / peak - 1) * 100; });
  }

  /** Indicators, equity and drawdown of what is shown, each in its pane. */
  function addLines() {
    const one = shown;
    extra.forEach((made) => chart.removeSeries(made));
    extra = [];
    let pane = 1;
    const heights = [];
    one.lines.forEach((each, index) => {
      if (off.has(each.name)) return;
      line(one, each.name, each.values, each.on_price ? 0 : pane, { color: LINES[index % LINES.length] });
      if (!each.on_price) { pane++; heights.push(14); }
    });
    if (one.equity) {
      line(one, "equity $", one.equity, pane, {
        baseValue: { type: "price", price: one.capital }, topLineColor: REASONS.target, bottomLineColor: REASONS.stop,
        topFillColor1: "rgba(15,157,107,.2)", topFillColor2: "rgba(15,157,107,0)", bottomFillColor1: "rgba(214,69,69,0)",
        bottomFillColor2: "rgba(214,69,69,.2)",
      }, LightweightCharts.BaselineSeries);
      line(one, "drawdown %", drawdown(one), pane + 1, {
        lineColor: REASONS.stop, topColor: "rgba(214,69,69,0)", bottomColor: "rgba(214,69,69,.25)", invertFilledArea: true,
      }, LightweightCharts.AreaSeries);
      heights.push(18, 12);
    }
    chart.panes().forEach((each, index) => each.setStretchFactor(index ? heights[index - 1] ?? 12 : 60));
  }

  function chips() {
    by("chips").replaceChildren(...shown.lines.map((each, index) => {
      const chip = el("button", off.has(each.name) ? "chip off" : "chip", each.name);
      chip.style.setProperty("--chip", LINES[index % LINES.length]);
      chip.addEventListener("click", () => {
        if (!off.delete(each.name)) off.add(each.name);
        const range = chart.timeScale().getVisibleLogicalRange();
        addLines();
        chips();
        chart.timeScale().setVisibleLogicalRange(range);
      });
      return chip;
    }));
  }

  function show(index) {
    const one = data.series[index];
    if (one === shown) return;
    shown = one;
    const bars = unpack(one);
    candles.applyOptions({ priceFormat: { type: "price", precision: one.decimals, minMove: 10 ** -one.decimals } });
    candles.setData(bars);
    marks.trades = data.trades.filter((t) => t.series === index);
    for (const t of marks.trades) {
      t.first = place(one, t.entry - 1);
      t.last = t.exit === null ? bars.length - 1 : place(one, t.exit - 1);
    }
    by("what").textContent = one.name;
    if (!one.chosen_lines) {
      // More than a few panes leave no room for candles: the others wait behind their buttons.
      one.lines.filter((each) => !each.on_price).slice(MOST_PANES).forEach((each) => off.add(each.name));
      one.chosen_lines = true;
    }
    addLines();
    chips();
  }

  // The table: only rows in sight are there.
  const HEIGHT = 22;
  const COLUMNS = [
    ["#", (t) => t.number, (t) => String(t.number)],
    ["entry", (t) => t.entry, (t) => moment(t.entry).slice(2)],
    ...(data.series.length > 1 ? [["coin", (t) => data.series[t.series].name, (t) => data.series[t.series].name.replace("USDT", "")]] : []),
    ["side", (t) => t.side, (t) => (t.side > 0 ? "long" : "short")],
    ["R", (t) => t.r ?? 0, (t) => fixed(t.r, 2, true)],
    ["PnL", (t) => t.pnl ?? 0, (t) => fixed(t.pnl, 2, true)],
    ["bars", (t) => t.bars ?? 0, (t) => (t.bars === null ? "–" : String(t.bars))],
    ["end", (t) => t.reason, (t) => t.reason],
  ];
  data.trades.forEach((t, index) => { t.number = index + 1; });
  let rows = data.trades, order = 0, falling = false;

  function filter() {
    const [kind, of] = by("filter").value.split(":");
    rows = data.trades.filter((t) =>
      kind === "all" || (kind === "won" && t.pnl > 0) || (kind === "lost" && t.pnl <= 0) || (kind === "reason" && t.reason === of));
    const value = COLUMNS[order][1], sign = falling ? -1 : 1;
    rows.sort((a, b) => sign * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.number - b.number));
    const closed = rows.filter((t) => t.reason !== "open"), r = closed.filter((t) => t.r !== null).map((t) => t.r);
    const open = rows.length - closed.length;
    by("count").textContent = `${rows.length} trade${rows.length === 1 ? "" : "s"}` + (open ? ` (${open} open)` : "")
      + (r.length ? `, mean ${fixed(r.reduce((a, b) => a + b, 0) / r.length, 2, true)} R` : "");
    paintRows();
  }

  function paintRows() {
    const box = by("rows"), top = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - 10);
    const end = Math.min(rows.length, top + Math.ceil(box.clientHeight / HEIGHT) + 20);
    const room = by("room");
    room.style.height = rows.length * HEIGHT + "px";
    room.replaceChildren(...rows.slice(top, end).map((t, index) => {
      const made = el("div", "row" + (t === marks.chosen ? " chosen" : ""));
      made.style.top = (top + index) * HEIGHT + "px";
      for (const [name, , text] of COLUMNS)
        made.append(el("span", `c-${name === "#" ? "n" : name}` + (name === "R" || name === "PnL" ? (t.pnl > 0 ? " gain" : " loss") : ""), text(t)));
      made.addEventListener("click", () => choose(t));
      return made;
    }));
  }

  function choose(t, keeps_address) {
    show(t.series);
    marks.chosen = t;
    chart.timeScale().setVisibleLogicalRange({ from: t.first - 50, to: t.last + 20 });
    marks.update();
    detail(t);  // first: it takes room from the table
    const at = rows.indexOf(t), box = by("rows");
    if (at >= 0 && (at * HEIGHT < box.scrollTop || (at + 1) * HEIGHT > box.scrollTop + box.clientHeight))
      box.scrollTop = Math.max(0, at * HEIGHT - box.clientHeight / 2);
    paintRows();
    if (!keeps_address) history.replaceState(null, "", "#t" + t.number);
  }

  function detail(t) {
    const digits = Math.max(shown.decimals, 2);
    const facts = [
      ["signal", moment(t.signal)], ["entry", `${moment(t.entry)} at ${fixed(t.entry_price, digits)}`],
      ["exit", t.exit === null ? "open" : `${moment(t.exit)} at ${fixed(t.exit_price, digits)}`], ["ended by", t.reason],
      ["stop", t.stop === null ? "–" : fixed(t.stop, digits)], ["target", t.target === null ? "–" : fixed(t.target, digits)],
      ["result", `${fixed(t.pnl, 2, true)} $, ${fixed(t.r, 2, true)} R`],
    ];
    if (t.mae_r !== null) facts.push(["against, for", `${fixed(t.mae_r, 2, true)} R, ${fixed(t.mfe_r, 2, true)} R`]);
    facts.push(["fees, funding", `${fixed(t.fees, 3)} $, ${fixed(t.funding, 3)} $`]);
    const bar = place(shown, t.signal - 1);
    for (const each of shown.lines) if (each.values[bar] !== null) facts.push([each.name, String(each.values[bar])]);
    facts.push(...t.notes);
    by("detail").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", "", name), el("dd", "", value)]));
  }

  function step(by_rows) {
    if (!rows.length) return;
    const at = marks.chosen ? rows.indexOf(marks.chosen) : -1;
    choose(rows[Math.min(Math.max(at + by_rows, 0), rows.length - 1)]);
  }

  function fromAddress() {
    const found = /^#t(\d+)$/.exec(location.hash);
    const t = found && data.trades[Number(found[1]) - 1];
    if (t) choose(t, true);
    return Boolean(t);
  }

  dress();
  by("facts").replaceChildren(...data.facts.map(([name, value]) => {
    const made = el("span", "fact");
    made.append(el("b", "", value), " " + name);
    return made;
  }));
  const reasons = [...new Set(data.trades.map((t) => t.reason))].sort();
  by("filter").replaceChildren(...[["all", "all trades"], ["won", "won"], ["lost", "lost"], ...reasons.map((one) => ["reason:" + one, "ended by " + one])]
    .map(([value, text]) => { const made = el("option", "", text); made.value = value; return made; }));
  by("filter").addEventListener("change", filter);
  by("heads").replaceChildren(...COLUMNS.map(([name], index) => {
    const head = el("span", `c-${name === "#" ? "n" : name}`, name);
    head.addEventListener("click", () => { falling = order === index ? !falling : false; order = index; filter(); });
    return head;
  }));
  by("rows").addEventListener("scroll", paintRows);
  addEventListener("resize", paintRows);
  addEventListener("hashchange", fromAddress);
  addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey) return;
    if (event.key === "n") step(1);
    if (event.key === "p") step(-1);
  });
  by("next").addEventListener("click", () => step(1));
  by("previous").addEventListener("click", () => step(-1));
  by("all").addEventListener("click", () => chart.timeScale().setVisibleLogicalRange({ from: 0, to: shown.time.length }));
  by("last").addEventListener("click", () => chart.timeScale().setVisibleLogicalRange({ from: shown.time.length - 400, to: shown.time.length + 4 }));
  if (data.series.length) {
    show(0);
    chart.timeScale().setVisibleLogicalRange({ from: Math.max(0, shown.time.length - 400), to: shown.time.length + 4 });
  }
  filter();
  fromAddress();
  requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.readyMs = String(Math.round(performance.now())); }));
})();
