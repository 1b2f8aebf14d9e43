// The live page: it shows what the server sends, and computes nothing but sums over accounts and ages.
import {
  ago, by, Candles, Curve, el, link, moment, money, percent, price, shown, signed, signedPercent, table, tone,
} from "./draw.js";

const SILENT_MS = 6000; // the server tells once a second that it has looked
const ALL = "";

const known = { account: new Map(), results: new Map(), curve: new Map(), market: null, state: null };
const page = { ui: "", may_act: false, has_token: false };
let chosen = decodeURIComponent(location.hash.slice(1));
let dimension = "strategy";
let heardAt = 0;
let ahead = 0; // of the server's clock, ms
let began = null;
let pending = new Set();

// What is shown

const names = () => [...known.account.keys()];
const isOne = () => chosen !== ALL && known.account.has(chosen);
const accounts = () => (isOne() ? [known.account.get(chosen)] : [...known.account.values()]);
const several = () => accounts().length > 1;

/** The accounts whose money may be summed: real money alone where there is some. */
function summed() {
  const real = accounts().filter((one) => one.is_real_money);
  return real.length ? real : accounts();
}
const results = () => summed().map((one) => known.results.get(one.name)).filter(Boolean);
const curves = () => summed().map((one) => known.curve.get(one.name)).filter(Boolean);
const sum = (rows, of) => {
  const found = rows.map(of).filter((one) => one !== null && one !== undefined);
  return found.length ? found.reduce((one, other) => one + other, 0) : null;
};
const tag = (rows, what) => rows.flatMap((one) => one[what].map((row) => ({ ...row, account: one.name })));
const tagged = (what) => tag(accounts(), what);
const traded = (what) => tag(accounts().map((one) => known.results.get(one.name)).filter(Boolean), what);
const accountColumn = () => (several() ? [["account", (row) => row.account]] : []);
const explained = (id, text = "explain") => link(text, id ? `explain?order=${encodeURIComponent(id)}` : null);

function drawHeader() {
  const found = accounts();
  const venues = [...new Set(found.map((one) => one.venue))];
  by("venue").textContent = shown(venues.join(" + "));
  by("venue").className = found.some((one) => one.is_real_money) ? "badge real" : "badge";
  const choices = names().length > 1 ? [[ALL, "all accounts"], ...names().map((one) => [one, one])] : [];
  by("accounts").replaceChildren(...choices.map(([name, text]) => el("button", {
    text, "aria-pressed": String(name === (isOne() ? chosen : ALL)), on: () => { chosen = name; location.hash = encodeURIComponent(name); drawAll(); },
  })));
  const worst = ["HALTED", "REDUCING"].find((state) => found.some((one) => one.state.state === state));
  const off = found.length && found.every((one) => one.off);
  const state = worst ?? (off ? "OFF" : "ACTIVE");
  by("state").textContent = found.length ? state : "";
  by("state").className = `pill ${state}`;
  document.title = `${state === "ACTIVE" ? "" : `${state} · `}${signed(sum(summed(), (one) => one.unrealised))} · trading_assets`;
}

function figure(name, value, below, kind = "") {
  return el("div", { class: "figure" }, el("span", { text: name }), el("strong", { class: kind, text: value }), below instanceof Node ? below : el("small", { text: below ?? "" }));
}

function drawFigures() {
  const found = summed();
  const left = accounts().length - found.length;
  const equity = sum(found, (one) => one.equity);
  const realised = sum(found, (one) => one.realised_today);
  const open = sum(found, (one) => one.unrealised);
  const today = realised === null ? null : realised + (open ?? 0);
  const change = sum(curves(), (one) => (one.points.length ? one.change : null));
  const invested = change === null || equity === null ? null : equity - change;
  const deepest = found.reduce((one, other) => ((other.drawdown_pct ?? -1) > (one?.drawdown_pct ?? -1) ? other : one), null);
  const closed = sum(results(), (one) => one.ever.closings) ?? 0;
  const wins = sum(results(), (one) => one.ever.wins) ?? 0;
  const value = sum(found.flatMap((one) => one.positions), (one) => one.notional) ?? 0;
  const count = found.flatMap((one) => one.positions).length;
  const limit = deepest?.limits.find((one) => one.name === "drawdown")?.limit;
  by("figures").replaceChildren(
    figure("Equity, USD", money(equity), left ? `real money; ${left} of play money apart` : `free ${money(sum(found, (one) => one.available))}`),
    figure("Today", signed(today), `realised ${signed(realised)}, open ${signed(open)}`, tone(today)),
    figure("Since the start", signed(change), invested > 0 ? signedPercent((change / invested) * 100) : "", tone(change)),
    figure("Drawdown", percent(deepest?.drawdown_pct), limit ? `halts at ${percent(limit, 0)}` : ""),
    figure("Open positions", String(count), `value ${money(value)}${equity > 0 ? `, ${percent((value / equity) * 100, 0)} of equity` : ""}`),
    figure("Win rate", closed ? percent((wins / closed) * 100, 0) : "–", `${wins} of ${closed} closed, net ${signed(sum(results(), (one) => one.ever.net))}`),
  );
}

let curve = null;
function drawCurve() {
  const rows = curves().filter((one) => one.points.length);
  const times = [...new Set(rows.flatMap((one) => one.points.map(([time]) => time)))].sort((one, other) => one - other);
  const newest = rows.map(() => 0);
  const points = times.map((time) => {
    rows.forEach((one, index) => {
      while (newest[index] + 1 < one.points.length && one.points[newest[index] + 1][0] <= time) newest[index] += 1;
    });
    return [time, rows.reduce((total, one, index) => total + one.points[newest[index]][1], 0)];
  });
  by("curve-since").textContent = rows.length ? `since ${moment(Math.min(...rows.map((one) => one.first_ms)))}` : "the books were never read";
  curve ??= new Curve(by("curve"));
  curve.set(points);
}

function drawRisk() {
  const why = accounts().filter((one) => one.state.state !== "ACTIVE" || one.off).map((one) => {
    const reason = one.state.state === "ACTIVE" ? one.off : `${one.state.state}: ${one.state.reason}${one.state.actor ? ` (${one.state.actor})` : ""}`;
    return several() ? `${one.name}: ${reason}` : reason;
  });
  by("risk-why").textContent = shown(why.join("; "));
  by("limits").replaceChildren(...accounts().flatMap((one) => [
    several() ? el("h2", { text: one.name }) : null,
    ...one.limits.map(({ name, used, limit, unit }) => {
      const share = limit > 0 ? used / limit : 0;
      const digits = unit === "%" ? 1 : 0;
      return el("div", { class: "limit" }, el("span", { text: name }),
        el("div", { class: `bar ${share >= 1 ? "over" : share >= 0.8 ? "near" : ""}` }, el("i", { width: `${Math.min(share, 1) * 100}%` })),
        el("b", { text: `${used.toFixed(digits)} of ${limit.toFixed(unit === "%" ? 0 : digits)}${unit ? ` ${unit}` : ""}` }));
    }),
  ].filter(Boolean)), accounts().every((one) => !one.limits.length) ? el("p", { class: "empty", text: "The books were never read." }) : "");
  const line = (name, value) => [el("dt", { text: name }), value instanceof Node ? el("dd", {}, value) : el("dd", { text: value })];
  by("session").replaceChildren(...accounts().flatMap((one) => [
    ...(several() ? [el("dt", {}, el("b", { text: one.name })), el("dd")] : []),
    ...line("trades now", one.trader || "nobody"),
    ...line("heartbeat", one.session ? since(one.session.updated_wall_ms, 30000) : "no session"),
    ...line("candle stream", one.session?.heard_wall_ms ? since(one.session.heard_wall_ms, 60000) : "not heard"),
    ...line("books read", one.books_ms === null ? "never" : since(one.books_ms - one.venue_now_ms + known.state.wall_ms, 120000)),
  ]));
}

/** How long ago something was, by the server's clock; it goes on by itself. */
function since(wall_ms, late_ms) {
  const found = el("span", { "data-since": String(wall_ms), "data-late": String(late_ms) });
  tick(found);
  return found;
}

function tick(one) {
  const age = Date.now() + ahead - Number(one.dataset.since);
  one.textContent = `${ago(age)} ago`;
  one.className = age > Number(one.dataset.late) ? "loss" : "";
}

// Positions

const cards = new Map();

class Card {
  constructor(key) {
    this.key = key;
    this.top = el("div", { class: "top" });
    this.below = el("div", { class: "below" });
    this.place = el("div", { class: "chart" });
    this.way = el("div", { class: "way", role: "img" });
    this.ends = el("div", { class: "ends" });
    this.facts = el("div", { class: "facts" });
    this.links = el("div", { class: "links" });
    this.root = el("article", { class: "card", "data-symbol": key }, this.top, this.below, this.place, this.way, this.ends, this.facts, this.links);
    this.chart = null;
    this.askedAt = 0;
    this.seen = new IntersectionObserver(([one]) => { this.isVisible = one.isIntersecting; this.draw(); });
    this.seen.observe(this.root);
  }

  drop() {
    this.seen.disconnect();
    this.chart?.drop();
    this.root.remove();
  }

  update(row) {
    this.row = row;
    const long = row.side === "LONG";
    this.top.replaceChildren(
      el("b", { text: row.symbol }), el("span", { class: `side ${long ? "LONG" : "SHORT"}`, text: row.side }),
      el("span", { class: `pnl ${tone(row.pnl)}`, text: signed(row.pnl) }));
    this.below.replaceChildren(
      el("span", { text: [several() ? row.account : "", row.timeframe, row.strategy ?? "not opened by a signal of ours"].filter(Boolean).join(" · ") }),
      el("span", { class: tone(row.pnl), text: signedPercent(row.pnl_pct) }));
    const marks = [];
    if (row.along !== null) {
      const [from, to] = [Math.min(row.entry_along, row.along), Math.max(row.entry_along, row.along)];
      marks.push(el("i", { class: row.along >= row.entry_along ? "up" : "down", left: `${from * 100}%`, width: `${(to - from) * 100}%` }),
        el("u", { left: `${row.entry_along * 100}%`, title: "entry" }), el("s", { left: `${row.along * 100}%`, title: "mark" }));
    }
    this.way.replaceChildren(...marks);
    this.way.setAttribute("aria-label", row.along === null ? "no stop and target" : `${Math.round(row.along * 100)} % of the way from the stop to the target`);
    const end = (name, at, away) => el("span", {}, el("b", { text: `${name} ${price(at)}` }), el("small", { text: `${percent(Math.abs(away))} away` }));
    this.ends.replaceChildren(
      row.stop === null ? el("span", { class: "loss", text: "NO STOP" }) : end("stop", row.stop, row.stop_pct),
      row.target === null ? el("span", { text: "no target" }) : end("target", row.target, row.target_pct));
    const fact = (name, value) => el("span", { text: `${name} ` }, el("b", { text: value }));
    this.facts.replaceChildren(
      fact("entry", price(row.entry)), fact("mark", price(row.mark)), fact("size", price(row.size)), fact("value", `${money(row.notional)} (${percent(row.share_pct, 1)})`),
      ...(row.risk_multiple === null ? [] : [fact("R", signed(row.risk_multiple))]),
      ...(row.liquidation === null ? [] : [fact("liquidation", `${price(row.liquidation)} (${percent(row.liquidation_pct, 0)})`)]),
      fact("since", moment(row.opened_ms)));
    const { signals, selection, backtests, run } = row.links;
    this.links.replaceChildren(
      ...[row.order ? explained(row.order) : null, signals && link("signal", signals), selection && link("selection", selection), backtests && link("backtests", backtests), run && link("run", run)].filter(Boolean),
      page.has_token ? el("button", { class: "danger", text: "Close", on: () => close(row) }) : "");
    this.draw();
  }

  async draw() {
    if (!this.isVisible || !this.row) return;
    if (this.chart === null) this.chart = new Candles(this.place);
    const { entry, stop, target, mark } = this.row;
    this.chart.levels({ stop: [stop, "loss"], target: [target, "gain"], entry: [entry, "muted"], mark: [mark, "accent"] });
    if (Date.now() - this.askedAt < 10000) return;
    this.askedAt = Date.now();
    try {
      const query = new URLSearchParams({ account: this.row.account, symbol: this.row.symbol });
      const answer = await fetch(`api/chart?${query}`);
      if (!answer.ok) return;
      const { candles, seconds } = await answer.json();
      if (cards.get(this.key) === this) this.chart.set(candles, seconds, this.row.opened_ms, this.row.side === "LONG");
    } catch {
      this.askedAt = 0; // the server is away: it is asked again with the next figures
    }
  }
}

function drawPositions() {
  const rows = tagged("positions");
  const place = by("positions");
  by("positions-count").textContent = rows.length ? `${rows.length}, open PnL ${signed(sum(rows, (one) => one.pnl))} USD` : "";
  const wanted = new Map(rows.map((row) => [`${row.account}:${row.symbol}`, row]));
  for (const [key, card] of cards) {
    if (!wanted.has(key)) { cards.delete(key); card.drop(); }
  }
  place.querySelectorAll(":scope > .empty").forEach((one) => one.remove());
  if (!rows.length) place.append(el("p", { class: "empty", text: "No open position." }));
  for (const [key, row] of wanted) {
    if (!cards.has(key)) { cards.set(key, new Card(key)); place.append(cards.get(key).root); }
    cards.get(key).update(row);
  }
}

// Tables

const signalColumns = () => [
  ["found", (row) => moment(row.created_at_ms)], ...accountColumn(), ["coin", (row) => link(row.symbol, row.link)],
  ["side", (row) => el("span", { class: `side ${row.position_type === "SHORT" ? "SHORT" : "LONG"}`, text: row.position_type })],
  ["timeframe", (row) => row.timeframe], ["strategy", (row) => row.strategy],
];

function drawSignals() {
  const waiting = tagged("waiting");
  by("waiting-count").textContent = waiting.length || "";
  by("waiting").replaceChildren(table(waiting, [...signalColumns(), ["entry", (row) => price(row.entry_price), "n"], ["confidence", (row) => percent(row.confidence, 0), "n"], ["state", (row) => row.status], ["", (row) => explained(row.signal_id)]], "No signal waits."));
  by("refused").replaceChildren(table(tagged("refused"), [...signalColumns(), ["why", (row) => row.reason ?? row.status, "text"], ["", (row) => explained(row.signal_id)]], "None was refused."));
}

function drawTrades() {
  const order = (rows, at) => rows.sort((one, other) => other[at] - one[at]).slice(0, 20);
  by("closings").replaceChildren(table(order(traded("closings"), "closed_ms"), [
    ["closed", (row) => moment(row.closed_ms)], ...accountColumn(), ["coin", (row) => row.symbol],
    ["side", (row) => el("span", { class: `side ${row.position_side === "SHORT" ? "SHORT" : "LONG"}`, text: row.position_side })],
    ["by", (row) => (row.reason === "other" ? "an order" : row.reason)], ["quantity", (row) => price(row.qty), "n"], ["entry", (row) => price(row.entry_price), "n"], ["exit", (row) => price(row.exit_price), "n"],
    ["PnL", (row) => el("span", { class: tone(row.pnl), text: signed(row.pnl) }), "n"], ["", (row) => (row.signal_id ? explained(row.signal_id) : "")],
  ], "No position was closed lately."));
  by("fills").replaceChildren(table(order(traded("fills"), "time_ms"), [
    ["time", (row) => moment(row.time_ms)], ...accountColumn(), ["coin", (row) => row.symbol], ["side", (row) => row.side],
    ["quantity", (row) => price(row.qty), "n"], ["price", (row) => price(row.price), "n"], ["fee", (row) => price(row.fee), "n"],
  ], "No fill lately."));
}

function drawResults() {
  const choices = ["strategy", "symbol", "timeframe"];
  by("results-by").replaceChildren(...choices.map((name) => el("button", { text: name, "aria-pressed": String(name === dimension), on: () => { dimension = name; drawResults(); } })));
  const totals = new Map();
  for (const row of results().flatMap((one) => one.ever[`by_${dimension}`])) {
    const held = totals.get(row[dimension]) ?? { name: row[dimension], closings: 0, wins: 0, pnl: 0, funding: 0, net: 0 };
    for (const what of ["closings", "wins", "pnl", "funding", "net"]) held[what] += row[what];
    totals.set(row[dimension], held);
  }
  const today = sum(results(), (one) => one.today?.closings);
  by("results-sum").textContent = today === null ? "" : `today ${today} closed, net ${signed(sum(results(), (one) => one.today?.net))}`;
  by("results").replaceChildren(table([...totals.values()].sort((one, other) => other.net - one.net), [
    [dimension, (row) => row.name], ["closed", (row) => row.closings, "n"], ["win rate", (row) => (row.closings ? percent((row.wins / row.closings) * 100, 0) : "–"), "n"],
    ["PnL", (row) => signed(row.pnl), "n"], ["funding paid", (row) => signed(row.funding), "n"], ["net", (row) => el("span", { class: tone(row.net), text: signed(row.net) }), "n"],
  ], "No position was closed yet."));
}

function drawPlans() {
  const plans = tagged("plans");
  by("plans-panel").hidden = !plans.length;
  by("plans").replaceChildren(...plans.map((row) => {
    const [[from, low], [to, high]] = row.ends;
    const known = [low, high, row.mark].every((one) => one !== null && one !== undefined) && low !== high;
    const at = known ? Math.min(Math.max((row.mark - low) / (high - low), 0), 1) : null;
    return el("article", { class: "card" },
      el("div", { class: "top" }, el("b", { text: row.symbol }), el("span", { class: "side", text: row.kind }),
        el("span", { class: "muted", text: [several() ? row.account : "", row.style, row.state].filter(Boolean).join(" · ") }),
        el("span", { class: `pnl ${tone(row.profit)}`, text: signed(row.profit) })),
      el("div", { class: "way" }, at === null ? null : el("s", { left: `${at * 100}%`, title: "mark" })),
      el("div", { class: "ends" }, el("span", { text: `${from} ${price(low)}` }), el("span", { text: `mark ${price(row.mark)}` }), el("span", { text: `${to} ${price(high)}` })),
      el("div", { class: "facts" }, el("span", { text: `booked ${signed(row.booked)}` }), el("span", { text: row.detail }), row.reason ? el("span", { class: "warn", text: row.reason }) : null));
  }));
}

function drawMarket() {
  const found = known.market;
  if (!found) return;
  by("selections-hour").replaceChildren(found.hour ? el("span", { text: `hour ${found.hour}: ${found.count ?? 0} coins ` }) : "", ...(found.hour ? [link("partition", found.links.selection), " ", ...(found.links.run ? [link("run", found.links.run)] : [])] : []));
  by("selections").replaceChildren(
    ...found.troubles.map((text) => el("p", { class: "warn", text })),
    table(found.rows, [
      ["coin", (row) => row.symbol], ["strategy", (row) => link(row.strategy, row.link)], ["timeframe", (row) => row.timeframe], ["score", (row) => row.score.toFixed(1), "n"],
      ["trades", (row) => row.total_trades, "n"], ["win rate", (row) => percent(row.win_rate, 0), "n"], ["profit factor", (row) => row.profit_factor.toFixed(2), "n"],
      ["PnL", (row) => el("span", { class: tone(row.total_pnl), text: signed(row.total_pnl) }), "n"], ["deflated Sharpe", (row) => row.deflated_sharpe?.toFixed(2) ?? "–", "n"], ["p of the hour", (row) => row.p_value_hour?.toFixed(3) ?? "–", "n"],
    ], found.hour ? "This hour selected no coin." : "No hour was selected yet."));
}

function drawAlarms() {
  const rows = tagged("alarms").sort((one, other) => other.since_wall_ms - one.since_wall_ms);
  by("alarms").replaceChildren(table(rows, [
    ["since", (row) => moment(row.since_wall_ms)], ...accountColumn(), ["alarm", (row) => row.name],
    ["state", (row) => el("span", { class: row.state === "firing" ? "loss" : "muted", text: row.state })], ["what", (row) => row.detail, "text"],
  ], "None in the last week."));
}

function drawBanner() {
  const lines = [];
  const silent = heardAt && Date.now() - heardAt > SILENT_MS;
  if (silent) lines.push(["critical", "no connection", `nothing was heard of trading-assets for ${ago(Date.now() - heardAt)}; the figures are those of ${moment(heardAt + ahead)}. This page tries again.`]);
  const { error, error_since_wall_ms } = known.state ?? {};
  if (error) lines.push(["critical", "the ledger cannot be read", `since ${moment(error_since_wall_ms)}: ${error}`]);
  for (const row of tagged("alarms")) {
    if (row.state === "firing") lines.push([row.severity, row.name, `${several() ? `${row.account}: ` : ""}${row.detail}`]);
  }
  for (const one of accounts()) one.troubles.forEach((text) => lines.push(["warning", "trouble", text]));
  const drawn = lines.map(([severity, name, text]) => el("div", { class: severity }, el("b", { text: name }), el("span", { text })));
  by("banner").replaceChildren(...drawn);
  by("main").classList.toggle("stale", Boolean(silent || error));
  const live = by("live");
  live.className = `live ${!heardAt ? "" : silent || error ? "off" : "on"}`;
  live.lastElementChild.textContent = !heardAt ? "connecting" : silent ? "no connection" : error ? "ledger away" : "live";
}

const PARTS = {
  account: [drawHeader, drawFigures, drawRisk, drawPositions, drawSignals, drawPlans, drawAlarms, drawBanner],
  results: [drawFigures, drawResults, drawTrades], curve: [drawFigures, drawCurve], market: [drawMarket], state: [drawBanner],
};

function drawAll() {
  Object.values(PARTS).flat().forEach((draw) => pending.add(draw));
  flush();
}

function flush() {
  if (!known.state) return; // ages need the server's clock
  const drawn = [...pending];
  pending = new Set();
  drawn.forEach((draw) => draw());
}

// What is heard

function hear(kind, data) {
  heardAt = Date.now();
  if (kind === "state") {
    ahead = data.wall_ms - heardAt;
    if (began !== null && began !== data.began_wall_ms) { known.account.clear(); known.results.clear(); known.curve.clear(); about(); }
    began = data.began_wall_ms;
    known.state = data;
    for (const name of names().filter((one) => !data.accounts.includes(one))) { // removed meanwhile
      for (const kind of ["account", "results", "curve"]) known[kind].delete(name);
      Object.values(PARTS).flat().forEach((draw) => pending.add(draw));
    }
  } else if (kind === "market") known.market = data;
  else known[kind].set(data.name, data);
  PARTS[kind].forEach((draw) => pending.add(draw));
  if (kind === "state") flush();
}

function listen() {
  const source = new EventSource("events");
  for (const kind of Object.keys(PARTS)) {
    source.addEventListener(kind, (event) => {
      document.documentElement.dataset.heard = String(Number(document.documentElement.dataset.heard ?? 0) + 1);
      hear(kind, JSON.parse(event.data));
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000); // it was refused: a server may come back
  });
}

async function about() {
  try {
    Object.assign(page, await (await fetch("api/page")).json());
  } catch {
    return;
  }
  by("ui").hidden = false;
  by("ui").href = page.ui;
  by("act").replaceChildren(!page.may_act ? el("span", { class: "quiet", text: "view only" })
    : page.has_token ? el("button", { class: "danger", text: "Halt", on: halt }) : el("a", { class: "quiet", href: "guard/login", text: "log in to act" }));
  drawPositions();
}

// Commands

/** Ask in a dialog; null where it was cancelled, else what was typed. */
function ask(title, text, yes, typed) {
  by("dialog-title").textContent = shown(title);
  by("dialog-text").textContent = text.split("\n").map(shown).join("\n");
  by("dialog-input").hidden = typed === null;
  by("dialog-input").value = "";
  by("dialog-input").placeholder = typed ?? "";
  by("dialog-yes").hidden = yes === null;
  by("dialog-yes").textContent = yes ?? "";
  by("dialog-no").textContent = yes === null ? "OK" : "Cancel";
  const dialog = by("dialog");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? by("dialog-input").value : null), { once: true }));
}

async function command(body) {
  try {
    const answer = await fetch("api/command", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const is_json = answer.headers.get("content-type")?.startsWith("application/json");
    return is_json ? await answer.json() : { text: `Refused: ${await answer.text()}` };
  } catch (error) {
    return { text: `The server did not answer (${error.message}); look whether it was done.` };
  }
}

async function halt() {
  const whose = isOne() ? chosen : ALL;
  const reason = await ask("Halt trading?", `Nothing is opened any more, and what waits is cancelled: ${whose === ALL ? "every account" : whose}. Open positions keep their stops.`, "Halt", "reason (may be left out)");
  if (reason === null) return;
  const { text } = await command({ command: "halt", account: whose, argument: reason });
  await ask("Halt", text, null, null);
}

async function close(row) {
  const asked = await command({ command: "close", account: row.account, argument: row.symbol });
  if (!asked.confirm) {
    await ask("Close", asked.text, null, null);
    return;
  }
  const sure = await ask(`Close ${row.symbol}?`, asked.text, "Close the position", null);
  if (sure === null) return;
  const { text } = await command({ confirm: asked.confirm, account: row.account });
  await ask("Close", text, null, null);
}

setInterval(() => {
  document.querySelectorAll("[data-since]").forEach(tick);
  if (heardAt) drawBanner();
}, 1000);
addEventListener("hashchange", () => { chosen = decodeURIComponent(location.hash.slice(1)); drawAll(); });
about();
listen();
