// What every page of ours draws with: elements, numbers, tables and charts. Text of others goes in by textContent alone.

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/g;
const PAIR = /[\ud800-\udbff][\udc00-\udfff]/g;

/** Text as it is, on one line; what cannot be seen is written as an escape. */
export function shown(text) {
  const pairs = [];
  const kept = String(text).replace(PAIR, (one) => { pairs.push(one); return "\ue000"; });
  const plain = kept.replace(HIDDEN, (one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));
  return plain.replace(/\ue000/g, () => pairs.shift() ?? "\ue000");
}

/** An element. `what`: its attributes; `text` is its text, `on` a function for clicks. */
export function el(tag, what = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(what)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") found.textContent = shown(value);
    else if (name === "on") found.addEventListener("click", value);
    else if (name === "left" || name === "width") found.style[name] = value;
    else found.setAttribute(name, value === true ? "" : value);
  }
  found.append(...children.filter((one) => one !== null && one !== undefined));
  return found;
}

/** A link; only where it leads to a web page. */
export function link(text, address, what = {}) {
  const is_web = /^(https?:\/\/|explain\?|chart\?|\.\/)/.test(address ?? "");
  return is_web ? el("a", { text, href: address, rel: "noreferrer", ...what }) : el("span", { text });
}

export const by = (id) => document.getElementById(id);

export const tone = (value) => (value > 0 ? "gain" : value < 0 ? "loss" : "");

const MONEY = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const SIGNED = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
const PRICE = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 8, useGrouping: false });

export const money = (value) => (value === null || value === undefined ? "–" : MONEY.format(value));
export const signed = (value) => (value === null || value === undefined ? "–" : SIGNED.format(value));
export const price = (value) => (value === null || value === undefined ? "–" : PRICE.format(value));
export const percent = (value, digits = 2) => (value === null || value === undefined ? "–" : `${value.toFixed(digits)} %`);
export const signedPercent = (value) => (value === null || value === undefined ? "–" : `${SIGNED.format(value)} %`);

/** Of a moment (UTC ms): month, day and minute. */
export function moment(ms) {
  return ms === null || ms === undefined ? "–" : new Date(ms).toISOString().slice(5, 16).replace("T", " ");
}

/** How long ago, in the largest unit. */
export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

/** A table: columns are [heading, cell of a row, class]. A cell is a text or an element. */
export function table(rows, columns, empty) {
  if (!rows.length) return el("p", { class: "empty", text: empty });
  const head = el("tr", {}, ...columns.map(([heading, , kind]) => el("th", { text: heading, class: kind })));
  const lines = rows.map((row) =>
    el("tr", {}, ...columns.map(([, cell, kind]) => {
      const found = cell(row);
      return found instanceof Node ? el("td", { class: kind }, found) : el("td", { text: found ?? "", class: kind });
    })));
  return el("div", { class: "scroll" }, el("table", { class: "rows" }, el("thead", {}, head), el("tbody", {}, ...lines)));
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = new Set();
dark.addEventListener("change", () => charts.forEach((one) => one.dress()));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

class Chart {
  constructor(place) {
    this.chart = LightweightCharts.createChart(place, {
      autoSize: true,
      handleScroll: { vertTouchDrag: false, mouseWheel: false },
      handleScale: { mouseWheel: false },
      crosshair: { mode: 0 },
      timeScale: { rightOffset: 0, fixLeftEdge: true, fixRightEdge: true },
    });
    charts.add(this);
    this.fits = new ResizeObserver(() => this.chart.timeScale().fitContent());
    this.fits.observe(place);
  }

  dress() {
    this.chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: colour("muted"), fontSize: 11, attributionLogo: true },
      grid: { vertLines: { visible: false }, horzLines: { color: colour("line") } },
      rightPriceScale: { borderVisible: false },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false },
    });
  }

  drop() {
    charts.delete(this);
    this.fits.disconnect();
    this.chart.remove();
  }
}

/** The equity of an account: points are [UTC s, USD]. */
export class Curve extends Chart {
  constructor(place) {
    super(place);
    this.series = this.chart.addSeries(LightweightCharts.BaselineSeries, { lineWidth: 2, priceLineVisible: false });
    this.dress();
  }

  dress() {
    super.dress();
    this.series.applyOptions({
      topLineColor: colour("gain"), topFillColor1: colour("gain-soft"), topFillColor2: "transparent",
      bottomLineColor: colour("loss"), bottomFillColor1: "transparent", bottomFillColor2: colour("loss-soft"),
    });
  }

  set(points) {
    if (points.length) this.series.applyOptions({ baseValue: { type: "price", price: points[0][1] } });
    this.series.setData(points.map(([time, value]) => ({ time, value })));
    this.chart.timeScale().fitContent();
  }
}

/** The candles of a position, with its entry, stop, target and mark. */
export class Candles extends Chart {
  constructor(place) {
    super(place);
    this.series = this.chart.addSeries(LightweightCharts.CandlestickSeries, { borderVisible: false, priceLineVisible: false, lastValueVisible: false });
    this.lines = new Map();
    this.marks = LightweightCharts.createSeriesMarkers(this.series, []);
    this.dress();
  }

  dress() {
    super.dress();
    const [up, down] = [colour("gain"), colour("loss")];
    this.series.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.lines?.forEach(({ line, name }) => line.applyOptions({ color: colour(name), axisLabelColor: colour(name) }));
  }

  set(candles, seconds, opened_ms, is_long) {
    const rows = candles.map(([time, open, high, low, close]) => ({ time, open, high, low, close }));
    if (rows.length) {
      const digits = Math.min(8, Math.max(2, 5 - Math.floor(Math.log10(rows.at(-1).close))));
      this.series.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
    }
    this.series.setData(rows);
    const opened = Math.floor(opened_ms / 1000 / seconds) * seconds;
    const near = rows.findLast((row) => row.time <= opened);
    this.marks.setMarkers(near && opened - near.time <= 2 * seconds ? [{
      time: near.time, position: is_long ? "belowBar" : "aboveBar", shape: is_long ? "arrowUp" : "arrowDown", color: colour("accent"), text: "entry",
    }] : []);
    this.chart.timeScale().fitContent();
  }

  /** Lines at prices: by title, [price, colour]. */
  levels(wanted) {
    for (const [title, [at, name]] of Object.entries(wanted)) {
      const held = this.lines.get(title);
      if (at === null || at === undefined) {
        if (held) this.series.removePriceLine(held.line);
        this.lines.delete(title);
      } else if (held) held.line.applyOptions({ price: at });
      else this.lines.set(title, { name, line: this.series.createPriceLine({ price: at, title, color: colour(name), lineWidth: 1, lineStyle: title === "mark" ? 1 : 2, axisLabelVisible: true }) });
    }
    const prices = Object.values(wanted).map(([at]) => at).filter((at) => at !== null && at !== undefined);
    this.series.applyOptions({
      autoscaleInfoProvider: (original) => {
        const found = original();
        const low = Math.min(...prices, found?.priceRange?.minValue ?? Infinity);
        const high = Math.max(...prices, found?.priceRange?.maxValue ?? -Infinity);
        return { priceRange: { minValue: low, maxValue: high } };
      },
    });
  }
}
