// The words for everybody, for the demo and for the static page. `words` has `amounts`, `kinds`, `rule` and `verdicts`
// of abc_hf/verdicts.py; `figures` are those of `BlurReport.to_dict`, `facts` those of `MapFacts`.

// Python's round: a half goes to the even number.
export function round(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

// `verdicts.share`
export const percent = value => {
  const whole = round(100 * value);
  return whole === 0 ? "none" : whole === 100 ? "all" : `${whole}%`;
};

// `verdicts.amount`
export const amountOf = (blur, amounts) => amounts[Math.min(3, round(3 * blur))];

export const capital = text => text[0].toUpperCase() + text.slice(1);

const CAUSES = {defocus: "the blurred part is out of focus", motion: "something moved", "camera-shake": "the camera moved"};

// The reasons for a verdict: rows of a term and a sentence.
export function why(figures, facts, {amounts, kinds, verdicts}) {
  const rows = facts.has_subject
    ? [["Subject", `${capital(amountOf(facts.subject, amounts))}.`],
      ["Background", `${capital(percent(facts.background_blurred))} of it is blurred.`]]
    : [["Subject", "None stands out."], ["Photo", `${capital(percent(facts.blurred))} of it is blurred.`]];
  if (figures.kind) rows.push(["Kind of blur", `${kinds[figures.kind]}: ${CAUSES[figures.kind]}.`]);
  const sure = Math.round(100 * figures.probabilities[figures.label]);
  return [...rows, ["How sure", figures.certain ? `Sure: ${sure}% for ${verdicts[figures.label][0]}.`
    : "Not sure: look at the photo yourself."]];
}

// If a verdict is not certain: the two labels in question, and the facts of the maps that speak for each.
export function sides(figures, facts, {amounts, rule}) {
  const subject = facts.has_subject
    ? `the subject is ${amountOf(facts.subject, amounts)}` : "nothing in it is quite sharp";
  const part = percent(facts.blurred), some = part !== "none", blurred = `${part} of the photo is blurred`;
  const sharp = facts.subject < rule.blurred, moved = figures.kind === "motion";
  const said = {
    "no-blur": [[subject, sharp && facts.has_subject], [some ? `only ${blurred}` : blurred, facts.blurred < 0.3]],
    "good-blur": [[subject, sharp && facts.has_subject], ["motion is often wanted", moved],
      [blurred, !moved && facts.blurred >= 0.3]],
    "ok-blur": [[subject, facts.has_subject && facts.subject < rule.clearly_blurred],
      [blurred, some && facts.blurred < 0.7]],
    "bad-blur": [[subject, !sharp], [blurred, facts.blurred >= 0.5]],
  };
  return (figures.between ?? []).map(label => [label, `For it: ${
    said[label].filter(([, holds]) => holds).map(([words]) => words).join(" and ")
      || "the look of the photo, not its maps"}.`]);
}
