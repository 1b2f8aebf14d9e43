// The page of one order: from its result back to its candles.
import { by, el, link, shown, table } from "./draw.js";

const order = new URLSearchParams(location.search).get("order") ?? "";
by("order").value = order;

async function explain() {
  if (!order) {
    by("title").textContent = "Explain an order";
    return;
  }
  try {
    const answer = await fetch(`api/explain?order=${encodeURIComponent(order)}`);
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.text);
    by("title").textContent = shown(found.title);
    by("ids").textContent = shown(`signal ${found.signal_id} · trace ${found.trace_id}`);
    if (found.steps.some((step) => step.what === "signal"))
      by("ids").append(" · ", link("on its candles", `chart?what=${encodeURIComponent(found.signal_id)}`));
    by("steps").replaceChildren(table(found.steps, [
      ["step", (step) => link(step.what, step.link)],
      ["found", (step) => step.found, "text"],
      ["today", (step) => step.today ?? "", "text"],
      ["run", (step) => (step.run_link ? link(step.run_id.slice(0, 8), step.run_link) : "")],
    ], "nothing"));
  } catch (error) {
    by("title").textContent = "Not explained";
    by("steps").replaceChildren(el("p", { class: "loss", text: error.message }));
  }
}

explain();
