"""The style sheet of a report's page."""

STYLE = """
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --gain: #0f9d6b; --loss: #d64545; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f4f6; color: var(--ink); font: 14px/1.5 Inter, system-ui, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
header h1 { margin: 0; font-size: 30px; letter-spacing: -0.02em; }
.span { margin: 2px 0 10px; color: var(--soft); font-size: 15px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0 0 18px; color: var(--soft); }
.facts b { color: var(--ink); }
.cards { display: grid; grid-template-columns: repeat(7, 1fr); gap: 10px; }
.card { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 10px 12px; }
.card .name { color: var(--soft); font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.card .value { font-size: 19px; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
section { background: white; border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px 16px; }
section { margin-top: 16px; }
h2 { margin: 0 0 8px; font-size: 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th { text-align: right; color: var(--soft); font-weight: 550; padding: 4px 8px; border-bottom: 1px solid var(--line); }
td { text-align: right; padding: 4px 8px; border-bottom: 1px solid #f3f4f6; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
.gain { color: var(--gain); }
.loss { color: var(--loss); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; align-items: start; }
.pair > div { min-width: 0; }
.tall { max-height: 560px; overflow: auto; }
.tall th { position: sticky; top: 0; background: white; }
.wide { overflow-x: auto; }
.days { font-size: 9.5px; letter-spacing: -0.03em; table-layout: fixed; min-width: 1080px; }
.days th:first-child, .days th:last-child { width: 56px; }
.headline { margin: 0 0 16px; font-size: 16px; }
.days th { white-space: nowrap; }
.days th, .days td { padding: 3px 2px; text-align: center; border: 1px solid white; }
ul { margin: 0; padding-left: 20px; }
li { margin: 3px 0; }
@media (max-width: 900px) { .cards { grid-template-columns: repeat(3, 1fr); } .pair { grid-template-columns: 1fr; } }
"""
