# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""What the demo looks like. Colours that mean something come from `visualization`, as `--tone` and `--colors`."""

import gradio as gr

from ..verdicts import VERDICTS
from ..visualization import LABEL_COLORS

THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
).set(
    body_text_color_subdued="*neutral_500",
    block_label_text_color="*neutral_600",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
)
CSS = """
.gradio-container { width: 100%; max-width: 1280px; margin: 0 auto; }
.gradio-container .main { padding: 16px clamp(16px, 3vw, 32px) !important; }
.html-container { padding: 0 !important; }
footer .divider { display: none; }
.icon-button:has(button), .icon-button[aria-label="common.upload"] { display: none; }  /* a button in a button */
.download-link { color: var(--primary-700) !important; }
.dark .download-link { color: var(--primary-300) !important; }
button[role=tab][aria-selected=true] { color: var(--primary-700); }
.dark button[role=tab][aria-selected=true] { color: var(--primary-300); }

header { padding: 8px 0; }
header h1 { font-size: clamp(1.5rem, 4vw, 2.25rem); font-weight: 700; line-height: 1.15; letter-spacing: -0.02em; }
header h1 + p { margin-top: 8px; font-size: 1.05rem; }
header p, .verdict p, .note { color: var(--body-text-color-subdued); }
.eyebrow { font-size: 0.75rem; font-weight: 700; letter-spacing: 0.08em; text-transform: uppercase; }
.note { font-size: 0.85rem; }
.note a { text-decoration: underline; }

.verdict { padding: 16px 24px; border: 1px solid var(--border-color-primary); border-radius: var(--block-radius);
  background: var(--block-background-fill); box-shadow: inset 6px 0 var(--tone); }
.verdict .headline { display: flex; justify-content: space-between; align-items: baseline; gap: 16px; }
.verdict h2 { font-size: clamp(1.75rem, 4vw, 2.25rem); font-weight: 700; line-height: 1.2; letter-spacing: -0.02em; }
.verdict .reason { margin-top: 4px; font-size: 1.05rem; color: var(--body-text-color); }
.verdict .score { white-space: nowrap; }
.verdict .score b { font-size: 1.5rem; color: var(--body-text-color); font-variant-numeric: tabular-nums; }
.verdict .meter { height: 6px; margin: 16px 0 4px; border-radius: 3px; background: var(--border-color-primary); }
.verdict .meter i { display: block; height: 100%; border-radius: 3px; background: var(--tone); }
.verdict .ends { display: flex; justify-content: space-between; font-size: 0.8rem; }
.verdict dl { margin-top: 12px; }
.verdict dl div { display: flex; flex-wrap: wrap; gap: 0 12px; padding: 8px 0; }
.verdict dl div + div { border-top: 1px solid var(--border-color-primary); }
.verdict dt { flex: 0 0 112px; font-weight: 700; }
.verdict dt::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 8px;
  border-radius: 50%; background: var(--tone); }
.verdict dd { flex: 1 1 220px; margin: 0; }

.verdict:has(.probabilities) { display: flex; flex-wrap: wrap; gap: 16px 32px; align-items: center; }
.verdict .statement { flex: 3 1 320px; min-width: 0; }
.verdict .probabilities { flex: 2 1 220px; margin: 0; padding: 0; list-style: none; font-size: 0.85rem; }
.probabilities li { display: grid; grid-template-columns: 84px 1fr 40px; align-items: center; gap: 8px;
  padding: 2px 0; }
.probabilities i { height: 8px; border-radius: 4px; background: linear-gradient(var(--tone), var(--tone)) no-repeat
  left / var(--share) 100% var(--border-color-primary); }
.probabilities b { text-align: right; font-variant-numeric: tabular-nums; }

#results:not(:has(.why)), #table:not(:has(table)) { display: none; }
#viewer:not(:has(.viewer)) { min-height: 0; }
.viewer { margin: 0; overflow: hidden; border: 1px solid var(--border-color-primary);
  border-radius: var(--block-radius); background: var(--block-background-fill); }
.stage { position: relative; display: block; width: fit-content; max-width: 100%; margin: 0 auto; cursor: crosshair; }
.stage:focus-visible { outline: 3px solid var(--primary-500); outline-offset: -3px; }
.stage .base { display: block; max-width: 100%; max-height: 640px; margin: 0; }
.stage .over { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--split, 50%)); opacity: var(--opacity, 0.8); }
.stage .over img { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; }
.viewer[data-map="blur"] .over .attention, .viewer[data-map="attention"] .over .blur { display: none; }
.stage .handle { position: absolute; top: 0; bottom: 0; left: var(--split, 50%); width: 28px; margin-left: -14px;
  cursor: ew-resize; touch-action: none;
  background: linear-gradient(#fff, #fff) center / 2px 100% no-repeat; filter: drop-shadow(0 0 2px #000a); }
.stage .handle::after { content: "\\2194"; position: absolute; top: 50%; left: 0; width: 28px; height: 28px;
  margin-top: -14px; border-radius: 50%; background: #fff; color: #222; font: 700 16px/28px sans-serif;
  text-align: center; }
.stage .pin { position: absolute; width: 16px; height: 16px; margin: -8px 0 0 -8px; border: 3px solid #fff;
  border-radius: 50%; box-shadow: 0 0 0 2px #222, inset 0 0 0 1px #222; pointer-events: none; }
.viewer .probe { margin: 0; padding: 10px 16px; font-size: 0.95rem; color: var(--body-text-color);
  border-bottom: 1px solid var(--border-color-primary); }
.viewer .controls { display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: center; padding: 10px 16px; }
.viewer label, .viewer fieldset { display: flex; align-items: center; gap: 8px; font-size: 0.9rem; margin: 0;
  padding: 0; border: 0; color: var(--body-text-color); }
.viewer fieldset { gap: 0; }
.viewer legend { float: left; padding: 0; margin-right: 10px; font-size: 0.9rem; }
.viewer fieldset label { padding: 4px 12px; border: 1px solid var(--border-color-primary); cursor: pointer; }
.viewer fieldset label:first-of-type { border-radius: 6px 0 0 6px; border-right: 0; }
.viewer fieldset label:last-of-type { border-radius: 0 6px 6px 0; }
.viewer fieldset label:has(:checked) { background: var(--primary-700); border-color: var(--primary-700); color: #fff; }
.viewer fieldset label:has(:focus-visible) { outline: 3px solid var(--primary-500); outline-offset: 2px; }
.viewer fieldset input { position: absolute; opacity: 0; }
.viewer input { accent-color: var(--primary-600); }
.dark .viewer input { accent-color: var(--primary-400); color-scheme: dark; }
#threshold input::-webkit-slider-thumb { background: var(--primary-600); }
#threshold input::-moz-range-thumb { background: var(--primary-600); }
.viewer input[type=range] { width: 120px; }
.levels { display: grid; grid-template-columns: repeat(4, 1fr); margin: 0; padding: 0; list-style: none;
  font-size: 0.85rem; }
.levels li { padding: 8px 12px 10px; border-top: 8px solid var(--tone); display: flex; flex-wrap: wrap;
  justify-content: space-between; gap: 0 8px; box-shadow: inset 0 1px 0 var(--border-color-primary); }
.levels b { font-variant-numeric: tabular-nums; }

.why h3, #results h3, .group h2 { margin: 0 0 4px; font-size: 1.1rem; font-weight: 700; color: var(--body-text-color); }
.why p { font-size: 0.9rem; color: var(--body-text-color); max-width: 72ch; }
.why .panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(104px, 1fr)); gap: 16px 12px;
  margin: 12px 0 8px; }
.why figure { margin: 0; }
.why figure img { width: 100%; margin: 0; border: 1px solid var(--border-color-primary); border-radius: 6px; }
.why figcaption { margin-top: 4px; font-size: 0.8rem; line-height: 1.35; color: var(--body-text-color-subdued); }
.why figcaption b { display: block; color: var(--body-text-color); }
.scale { display: flex; gap: 8px; align-items: center; font-size: 0.8rem; color: var(--body-text-color-subdued); }
.scale i { flex: 1; height: 10px; border-radius: 5px; background: var(--colors);
  border: 1px solid var(--border-color-primary); }

.empty { display: grid; place-content: center; gap: 8px; min-height: 220px; padding: 24px; text-align: center;
  border: 1px dashed var(--border-color-primary); border-radius: var(--block-radius); }
.empty p { margin: 0; max-width: 60ch; color: var(--body-text-color); }
.empty b { white-space: nowrap; margin: 0 6px; }
.empty b::before, .dot { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 6px;
  border-radius: 50%; background: var(--tone); }
.sheet { max-height: 480px; overflow: auto; border: 1px solid var(--border-color-primary);
  border-radius: var(--block-radius); background: var(--block-background-fill); }
.sheet:focus-visible { outline: 3px solid var(--primary-500); outline-offset: -3px; }
.sheet table { width: 100%; margin: 0; border-collapse: collapse; font-size: 0.85rem; color: var(--body-text-color);
  font-variant-numeric: tabular-nums; }
.sheet th { position: sticky; top: 0; padding: 0; text-align: left; background: var(--background-fill-secondary); }
.sheet th button { width: 100%; padding: 10px 8px; font-weight: 700; text-align: left; white-space: nowrap;
  cursor: pointer; }
.sheet th button:focus-visible { outline: 3px solid var(--primary-500); outline-offset: -3px; }
.sheet th button::after { content: "\\25B2" / ""; margin-left: 6px; font-size: 0.7em; visibility: hidden; }
.sheet th[aria-sort] button::after { visibility: visible; }
.sheet th[aria-sort=descending] button::after { content: "\\25BC" / ""; }
.sheet td { padding: 8px; border-top: 1px solid var(--border-color-primary); vertical-align: top; }
.sheet td:first-child { min-width: 130px; overflow-wrap: anywhere; }
.sheet td:last-child { min-width: 180px; }
.sheet td:first-child, .sheet th:first-child button { padding-left: 16px; }
.summary { margin: 0 0 12px; font-size: 1.05rem; color: var(--body-text-color); }
.group { margin-top: 16px; padding: 12px 16px; border: 1px solid var(--border-color-primary);
  border-radius: var(--block-radius); background: var(--block-background-fill); box-shadow: inset 6px 0 var(--tone); }
.group h2 span { display: inline-block; min-width: 28px; padding: 0 8px; border-radius: 14px; font-size: 0.9rem;
  text-align: center; background: var(--border-color-primary); }
.group .note { margin: 0; }
.group ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(clamp(96px, 10vw, 128px), 1fr));
  gap: 12px 8px; margin: 8px 0 0; padding: 0; max-height: 460px; overflow-y: auto; list-style: none; }
.group li { display: grid; grid-template-columns: 1fr auto; gap: 2px 6px; font-size: 0.8rem; min-width: 0; }
.group li img { grid-column: 1 / -1; width: 100%; aspect-ratio: 4 / 3; object-fit: cover; margin: 0;
  border-radius: 6px; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.group b { font-variant-numeric: tabular-nums; }
.group.failed { --tone: var(--body-text-color-subdued); }
.group dl { margin: 8px 0 0; font-size: 0.85rem; }
.group dl div { padding: 6px 0; overflow-wrap: anywhere; }
.group dl div + div { border-top: 1px solid var(--border-color-primary); }
.group dt { font-weight: 700; }
.group dd { margin: 0; }

.shots { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px;
  max-width: calc(var(--count) * 496px); margin: 0; padding: 0; list-style: none; }
.shots li { position: relative; min-width: 0; padding: 0 0 12px; overflow: hidden;
  border: 1px solid var(--border-color-primary); border-radius: var(--block-radius);
  background: var(--block-background-fill); }
.shots li.best { border-color: var(--primary-600); outline: 1px solid var(--primary-600); }
.shots img { display: block; width: 100%; aspect-ratio: 1; object-fit: none; margin: 0 0 12px; background: #0002; }
.shots .line { display: flex; gap: 8px; align-items: baseline; padding: 0 12px; color: var(--body-text-color); }
.shots .line > b { font-size: 1.25rem; }
.shots .name { font-size: 0.9rem; white-space: normal; overflow-wrap: anywhere; }
.shots em { position: absolute; top: 12px; left: 12px; padding: 0 8px; border-radius: 10px; font-size: 0.8rem;
  font-style: normal; font-weight: 700; color: #fff; background: var(--primary-700); }
.shots .meter { height: 6px; margin: 8px 12px; border-radius: 3px; background: var(--border-color-primary); }
.shots .meter i { display: block; height: 100%; border-radius: 3px; background: var(--primary-600); }
.shots p { margin: 0; padding: 0 12px; font-size: 0.9rem; color: var(--body-text-color); }
.shots p.note { font-size: 0.8rem; }

#examples h2 { font-size: 0.85rem; font-weight: 400; margin: 0 0 8px; color: var(--body-text-color-subdued); }
.examples { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; }
.examples button { display: flex; flex-direction: column; overflow: hidden; padding: 0;
  border: 1px solid var(--border-color-primary); border-radius: 8px;
  background: var(--block-background-fill); color: var(--body-text-color); font-size: 0.75rem; cursor: pointer; }
.examples button:hover { border-color: var(--primary-600); }
.examples button:focus-visible { outline: 3px solid var(--primary-500); outline-offset: 2px; }
.examples img { display: block; width: 100%; aspect-ratio: 5 / 4; object-fit: cover; margin: 0; }
.examples span { margin: auto; padding: 3px 2px; }
@media (max-width: 1100px) {
  .examples { gap: 6px; }
  .examples button { font-size: 0.7rem; line-height: 1.25; }
  .levels li { flex-direction: column; }
  .viewer .controls > label { display: grid; grid-template-columns: 92px 1fr; flex: 1 0 100%; }
  .viewer .controls input[type=range] { width: 100%; max-width: 240px; }
}
@media (max-width: 640px) {
  .examples { display: flex; overflow-x: auto; padding: 3px; }
  .examples button { flex: 0 0 104px; }
  .sheet td:last-child { min-width: 560px; }
}
"""


def markup(template: str, elem_id: str | None = None, *, value=None, script: str | None = None, **props) -> gr.HTML:
    """HTML of ours, without Gradio's styles: a JavaScript template of `value`, of `verdicts` (what they are called and
    mean), of their `colors`, and of `props`.

    Args:
        script: JavaScript that is run once, when the HTML is there.
    """
    return gr.HTML(
        value,
        html_template=template,
        js_on_load=script,
        apply_default_css=False,
        elem_id=elem_id,
        verdicts=VERDICTS,
        colors=LABEL_COLORS,
        **props,
    )
