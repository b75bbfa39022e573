// From pixels to a report in the browser, by the same steps as in Python: image_processing_abc_fusenet.py, verdicts.py
// and report.py. `settings` is settings.json, which abc_hf/demo/static.py writes. tests/demo/test_static.py compares.

import {amountOf, capital, percent, round} from "./reasons.js";

const workingSide = (side, longest, edge) => Math.max(1, round(side * Math.min(1, edge / longest)));

// The factor 1, 2, 4 or 8 by which Python decodes a large JPEG file smaller.
export function draftFactor(width, height, edge) {
  const wanted = [width, height].map(side => Math.max(1, Math.floor(2 * edge * side / Math.max(width, height))));
  const most = Math.min(Math.floor(width / wanted[0]), Math.floor(height / wanted[1]));
  return [8, 4, 2].find(factor => most >= factor) ?? 1;
}

// Means of factor x factor pixels. Images are {width, height, data}, with `data` RGBA bytes.
export function reduce({width, height, data}, factor) {
  const [wide, high] = [width, height].map(side => Math.ceil(side / factor));
  const made = new Uint8ClampedArray(4 * wide * high);
  for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
    const bottom = Math.min(height, (y + 1) * factor), right = Math.min(width, (x + 1) * factor);
    let red = 0, green = 0, blue = 0, count = 0;
    for (let row = y * factor; row < bottom; row++) for (let column = x * factor; column < right; column++) {
      const at = 4 * (row * width + column);
      red += data[at];
      green += data[at + 1];
      blue += data[at + 2];
      count++;
    }
    made.set([red / count, green / count, blue / count, 255], 4 * (y * wide + x));
  }
  return {width: wide, height: high, data: made};
}

// Pillow's bicubic filter (a = -0.5), widened for smaller sizes, in its fixed-point arithmetic of 22 bits.
const cubic = x => x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;

function weights(from, to) {
  const scale = from / to, wider = Math.max(1, scale), support = 2 * wider;
  return Array.from({length: to}, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(from, Math.trunc(center + support + 0.5));
    const taps = Array.from({length: last - first}, (_, tap) => cubic(Math.abs((tap + first - center + 0.5) / wider)));
    const sum = taps.reduce((total, tap) => total + tap, 0);
    return [first, taps.map(tap => Math.trunc(tap / sum * 2 ** 22 + (tap < 0 ? -0.5 : 0.5)))];
  });
}

function resizeAlong({width, height, data}, side, horizontal) {
  const [wide, high] = horizontal ? [side, height] : [width, side];
  const made = new Uint8ClampedArray(4 * wide * high), step = horizontal ? 4 : 4 * width;
  weights(horizontal ? width : height, side).forEach(([first, taps], index) => {
    for (let line = 0; line < (horizontal ? high : wide); line++) {
      const start = horizontal ? 4 * (line * width + first) : 4 * (first * width + line);
      const at = 4 * (horizontal ? line * wide + index : index * wide + line);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** 21;
        for (let tap = 0, from = start + channel; tap < taps.length; tap++, from += step) sum += taps[tap] * data[from];
        made[at + channel] = Math.floor(sum / 2 ** 22);
      }
      made[at + 3] = 255;
    }
  });
  return {width: wide, height: high, data: made};
}

// The photo at the size at which it is judged.
export function toWorkingSize(image, {longest_edge: edge}) {
  const size = [image.width, image.height], longest = Math.max(...size);
  const [wide, high] = size.map(side => workingSide(side, longest, edge));
  if (wide !== image.width) image = resizeAlong(image, wide, true);
  return high === image.height ? image : resizeAlong(image, high, false);
}

// An index beyond the end of a row is reflected at it, as often as need be.
function reflect(index, length) {
  if (length === 1) return 0;
  const at = index % (2 * (length - 1));
  return at < length ? at : 2 * (length - 1) - at;
}

// `pixel_values`: {data, dims} of an image at its working size.
export function pixelValues({width, height, data}, {size_divisor: divisor, image_mean: mean, image_std: std}) {
  const [wide, high] = [width, height].map(side => Math.ceil(side / divisor) * divisor);
  const values = new Float32Array(3 * wide * high);
  for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
    const from = 4 * (reflect(y, height) * width + reflect(x, width));
    for (let channel = 0; channel < 3; channel++) {
      values[(channel * high + y) * wide + x] = (data[from + channel] / 255 - mean[channel]) / std[channel];
    }
  }
  return {data: values, dims: [1, 3, high, wide]};
}

export function cropMap(values, paddedWidth, width, height) {
  const cropped = new Float32Array(width * height);
  for (let y = 0; y < height; y++) cropped.set(values.subarray(y * paddedWidth, y * paddedWidth + width), y * width);
  return cropped;
}

export function softmax(logits, names) {
  const most = Math.max(...logits), parts = Array.from(logits, logit => Math.exp(logit - most));
  const sum = parts.reduce((total, part) => total + part, 0);
  return Object.fromEntries(names.map((name, index) => [name, parts[index] / sum]));
}

function quantile(values, share) {
  const sorted = Float32Array.from(values).sort(), at = share * (sorted.length - 1), below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
}

// `verdicts.read_maps`
export function readMaps(blur, attention, {rule}) {
  const where = [];
  let away = 0, blurAway = 0, blurredAway = 0, blurred = 0, mean = 0;
  blur.forEach((value, index) => {
    const weight = 1 - attention[index], isBlurred = value >= Math.fround(rule.blurred) ? 1 : 0;
    away += weight;
    blurAway += weight * value;
    blurredAway += weight * isBlurred;
    blurred += isBlurred;
    mean += value;
    if (attention[index] >= Math.fround(rule.core_attention)) where.push(value);
  });
  const count = blur.length, core = where.length / count;
  return {
    subject: quantile(core >= rule.smallest_core ? where : blur, rule.core_quantile),
    background: away > 0 ? blurAway / away : mean / count,
    blurred: blurred / count,
    background_blurred: away > 0 ? blurredAway / away : blurred / count,
    core,
    has_subject: core >= rule.smallest_core,
  };
}

// `verdicts.follows`
function follows(label, kind, facts, rule) {
  const wanted = facts.blurred >= rule.some && (facts.subject < rule.clearly_blurred || kind === "motion");
  return {
    "no-blur": facts.subject < rule.blurred && facts.blurred < 0.3,
    "good-blur": wanted,
    "ok-blur": wanted,
    "bad-blur": facts.subject >= rule.blurred || (!facts.has_subject && facts.blurred >= 0.5),
  }[label];
}

// `verdicts.ruled_out`
function ruledOut(label, kind, facts, rule) {
  if (label === "bad-blur") return !follows(label, kind, facts, rule);
  return label === "good-blur" && kind !== "motion" && !facts.has_subject && facts.blurred >= rule.nearly_all;
}

// `verdicts.judge`
export function judge(probabilities, kinds, facts, settings) {
  const best = chances => Object.keys(chances).sort((one, other) => chances[other] - chances[one]);
  const ranked = best(probabilities), likeliest = best(kinds)[0];
  const allowed = ranked.filter(name => !ruledOut(name, likeliest, facts, settings.rule));
  const label = allowed[0], kind = label === "no-blur" ? null : likeliest;
  const sure = label === ranked[0] && probabilities[label] >= settings.certain_from;
  const certain = sure && follows(label, kind, facts, settings.rule);
  const total = allowed.reduce((sum, name) => sum + probabilities[name], 0);
  const worth = allowed.reduce((sum, name) => sum + settings.worth[name] * probabilities[name], 0);
  const score = total ? worth / total : settings.worth[label];
  const rival = ranked.find(name => name !== label), left_out = allowed.includes(rival) ? null : rival;
  return {label, kind, certain, score, between: [label, rival], left_out};
}

// `verdicts.explain`
export function explain({label, kind, certain, between, left_out}, facts, settings) {
  const {rule, amounts, verdicts} = settings, how = settings.blur_of_kind[kind ?? "none"];
  const sharp = facts.subject < rule.blurred, somewhere = facts.background_blurred >= rule.some;
  const background = percent(facts.background_blurred);
  if (!certain) {
    const [first, second] = between.map(name => verdicts[name][0]);
    const words = `Not sure: ${first} or ${second === "OK blur" ? second : second[0].toLowerCase() + second.slice(1)}`;
    const subject = amountOf(facts.subject, amounts);
    const score = left_out ? `, so the score leaves out ${verdicts[left_out][0].toLowerCase()}` : "";
    return `${words}; ${facts.has_subject ? `the subject is ${subject}, and ${background} of the background is blurred`
      : `no subject stands out, and ${percent(facts.blurred)} of the photo is blurred`}${score}.`;
  }
  if (label === "no-blur") {
    if (facts.blurred >= 0.1) {
      return facts.has_subject ? "The subject is sharp, and little else is blurred." : "Nearly all of it is sharp.";
    }
    return facts.has_subject ? "The subject and its surroundings are sharp." : "The photo is sharp all over.";
  }
  if (label === "good-blur") {
    if (kind === "motion") {
      return facts.has_subject && sharp
        ? "The subject is sharp and its surroundings are smeared by motion, which shows speed."
        : "The motion is smeared on purpose, as in flowing water, light trails or a dance.";
    }
    return facts.has_subject && sharp && somewhere
      ? `The subject is sharp and ${background} of the background is blurred, which sets it off.`
      : "The blur looks wanted: it leads the eye to the sharp part.";
  }
  if (label === "ok-blur") {
    const what = facts.has_subject ? "The subject" : "The photo";
    if (facts.subject >= rule.clearly_blurred) return `${what} is smeared by motion, which does the photo no harm.`;
    if (!sharp) return `${what} is slightly ${how}, but its details can still be seen.`;
    return facts.has_subject && somewhere
      ? `The subject is sharp, and the blur on ${background} of the background does the photo no harm.`
      : `${capital(percent(facts.blurred))} of the photo is blurred, which does it no harm.`;
  }
  if ((facts.has_subject ? facts.background_blurred : facts.blurred) >= 0.7) {
    return `The whole photo is ${how}, which spoils it.`;
  }
  if (!facts.has_subject) return `${percent(facts.blurred)} of the photo is ${how}, which spoils it.`;
  return kind === "defocus" && facts.background < facts.subject
    ? "The subject is out of focus while the background is sharper: the focus missed it."
    : `The subject is ${how}, which spoils the photo.`;
}

// What `BlurReport.to_dict` has, and the two maps. `outputs` are arrays by name, as the network gives them.
export function report(outputs, padded, {width, height}, settings) {
  const [blur, attention] = ["blur_map", "attention_map"].map(name => cropMap(outputs[name], padded, width, height));
  const probabilities = softmax(outputs.logits, settings.labels);
  const kinds = softmax(outputs.kind_logits, Object.keys(settings.kinds));
  const facts = readMaps(blur, attention, settings), verdict = judge(probabilities, kinds, facts, settings);
  const counts = Object.fromEntries(Object.keys(settings.levels).map(name => [name, 0]));
  const names = Object.keys(counts);
  for (const value of blur) counts[names[round(3 * value)]] += 1 / blur.length;
  return {
    ...verdict,
    between: verdict.certain ? null : verdict.between,
    probabilities,
    kind_probabilities: kinds,
    levels: counts,
    reason: explain(verdict, facts, settings),
    facts,
    blur,
    attention,
    width,
    height,
  };
}
