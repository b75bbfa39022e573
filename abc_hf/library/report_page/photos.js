"use strict";
/* What is known of the photos, column by column as the data files bring it; which of them are shown, and in what order. */

const FAILED = REPORT.labels.length; // the group of photos without a verdict
const KEEP = 1, REJECT = 2;
const WORDS = { [KEEP]: "keep", [REJECT]: "reject" }, SAID = { [KEEP]: "kept", [REJECT]: "rejected" };
const COLUMNS = ["key", "path", "picture", "map", "label", "certain", "between", "kind", "score", "subject", "background", "fraction", "shares",
  "reason", "taken", "camera", "width", "height", "raw", "burst", "rank", "sharpness", "eyes", "radius", "faces", "look", "error",
  "place", "rating", "color", "companions", "set", "setKind", "x", "y"];

const photos = { count: 0, bursts: 0, sharpest: new Map(), decision: [], lower: [], sets: 0, rated: 0 };
for (const name of COLUMNS) photos[name] = [];
const filter = { threshold: REPORT.threshold, groups: new Set(), kinds: new Set(), certainty: "all", flag: "all", rating: "all", least: 0,
  most: 1, decision: "all", text: "", order: "verdict", bursts: false, sharpest: false };
let orders = {};

/** Called by each data file. Texts that repeat come as a list of them and numbers into it. */
function receive(chunk) {
  for (const name of ["reason", "camera", "look"]) chunk[name] = chunk[name].map(number => chunk.texts[number] ?? null);
  for (const name of COLUMNS) for (const value of chunk[name]) photos[name].push(value);
  for (let i = photos.count; i < photos.path.length; i++) {
    photos.lower.push(photos.path[i].toLowerCase());
    photos.decision.push(decided.get(photos.key[i]) ?? 0);
    photos.bursts = Math.max(photos.bursts, photos.burst[i] ?? 0);
    photos.sets = Math.max(photos.sets, photos.set[i] ?? 0);
    photos.rated += photos.rating[i] !== null;
    if (photos.rank[i] === 1) photos.sharpest.set(photos.burst[i], closeUp(i));
  }
  photos.count = photos.path.length;
  orders = {};
  chunkArrived();
}

const folderOf = index => photos.path[index].replace(/[^/\\]*$/, "");
const nameOf = index => shown(photos.path[index].slice(folderOf(index).length));

/** Text in one line, whatever a file name holds: what cannot be seen, or turns the writing round, is spelt out. */
function shown(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu,
    c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

/** The group of a photo: its label, whatever the threshold. */
const groupOf = index => photos.label[index] ?? FAILED;

/** Whether a photo is flagged, beside its label, which stays: by a person's stars, or by the threshold, or for what
    is soft at 100 %, unless the photo is one of a set. The table holds scores as floats of 32 bits. */
const rejects = index => photos.rating[index] !== null ? photos.rating[index] === -1
  : photos.set[index] === null && photos.score[index] !== null && (photos.score[index] < Math.fround(filter.threshold)
    || (closeUp(index) ?? 1) < Math.fround(REPORT.soft ?? 0));

/** How sharp the eyes are at 100 %, or else the subject; null if neither was measured. */
const closeUp = index => photos.eyes[index] ?? photos.sharpness[index];

const ratingOf = index => photos.rating[index] === null ? "none" : photos.rating[index] === -1 ? "rejected" : "stars";
const starsOf = index => ratingOf(index) === "stars" ? "★".repeat(photos.rating[index]) : "";

const kindOf = index => photos.label[index] === null ? "" : photos.kind[index] ?? "none";
const certaintyOf = index => photos.certain[index] === null ? "" : photos.certain[index] ? "certain" : "unsure";
const flagOf = index => rejects(index) ? "reject" : "none";

/** The numbers of all photos in an order, which is made once. */
function ordered(name) {
  if (orders[name]) return orders[name];
  const all = Array.from({ length: photos.count }, (_, i) => i);
  const { score, subject, taken, lower } = photos;
  const late = value => value ?? Infinity, low = value => value ?? -Infinity;
  const compare = {
    best: (a, b) => low(score[b]) - low(score[a]) || a - b,
    worst: (a, b) => late(score[a]) - late(score[b]) || a - b,
    subject: (a, b) => low(subject[b]) - low(subject[a]) || a - b,
    sharp: (a, b) => low(closeUp(b)) - low(closeUp(a)) || a - b,
    time: (a, b) => (taken[a] ?? "~") < (taken[b] ?? "~") ? -1 : (taken[a] ?? "~") > (taken[b] ?? "~") ? 1 : a - b,
    path: (a, b) => collator.compare(lower[a], lower[b]),
  }[name];
  return orders[name] = all.sort((a, b) => compare(a, b) || a - b);
}
const collator = new Intl.Collator("en", { numeric: true });

function passes(index, group) {
  const score = photos.score[index];
  if (filter.groups.size && !filter.groups.has(group)) return false;
  if (filter.kinds.size && !filter.kinds.has(kindOf(index))) return false;
  if (filter.certainty !== "all" && filter.certainty !== certaintyOf(index)) return false;
  if (filter.flag !== "all" && filter.flag !== flagOf(index)) return false;
  if (filter.rating !== "all" && filter.rating !== ratingOf(index)) return false;
  if (score !== null && (score < filter.least || score > filter.most)) return false;
  if (filter.decision !== "all" && (WORDS[photos.decision[index]] ?? "undecided") !== filter.decision) return false;
  if (filter.sharpest && !filter.bursts && (photos.rank[index] ?? 1) !== 1) return false;
  return !filter.text || photos.lower[index].includes(filter.text);
}

/** What is shown: `order`, the numbers of the photos, and `segments` of it, each {title, note, group, start, count};
    and `counts` of all photos by group. */
function arrangement() {
  const counts = new Array(FAILED + 1).fill(0);
  const groups = new Uint8Array(photos.count);
  for (let i = 0; i < photos.count; i++) counts[groups[i] = groupOf(i)]++;
  if (filter.bursts) return { counts, ...byBurst(groups) };
  const passing = ordered(filter.order === "verdict" ? "best" : filter.order).filter(i => passes(i, groups[i]));
  if (filter.order !== "verdict") {
    return { counts, order: passing, segments: passing.length ? [{ start: 0, count: passing.length }] : [] };
  }
  const order = [], segments = [];
  const buckets = REPORT.order.map(() => []);
  const place = new Array(FAILED + 1);
  REPORT.order.forEach((group, at) => { place[group] = at; });
  for (const index of passing) buckets[place[groups[index]]].push(index);
  REPORT.order.forEach((group, at) => {
    if (!buckets[at].length) return;
    segments.push({ title: REPORT.names[group], note: number(buckets[at].length), group, start: order.length,
      count: buckets[at].length });
    for (const index of buckets[at]) order.push(index);
  });
  return { counts, order, segments };
}

const SETS = 1e9; // numbers of sets come after those of bursts

/** The bursts and sets of which a photo passes the filters, whole; the best shot of a burst first. */
function byBurst(groups) {
  const members = new Map(), wanted = new Set();
  for (let i = 0; i < photos.count; i++) {
    const burst = photos.burst[i] ?? (photos.set[i] === null ? null : SETS + photos.set[i]);
    if (burst === null) continue;
    if (!members.has(burst)) members.set(burst, []);
    members.get(burst).push(i);
    if (passes(i, groups[i])) wanted.add(burst);
  }
  const order = [], segments = [];
  for (const burst of [...wanted].sort((a, b) => a - b)) {
    const early = (a, b) => photos.taken[a] < photos.taken[b] ? -1 : 1;
    const shots = members.get(burst).sort(burst > SETS ? early : (a, b) => photos.rank[a] - photos.rank[b]);
    const kind = photos.setKind[shots[0]];
    const times = shots.map(i => photos.taken[i]).sort();
    segments.push({ title: `${kind ? kind[0].toUpperCase() + kind.slice(1) + ", " : ""}${shots.length} shots`, note: (times[0] ?? "").slice(0, 19).replace("T", " "),
      start: order.length, count: shots.length });
    order.push(...shots);
  }
  return { order, segments };
}

/** What is said of a photo's place in its burst, in few words. */
function burstWords(index) {
  const burst = photos.burst[index], rank = photos.rank[index];
  if (photos.set[index] !== null) return photos.setKind[index];
  if (burst === null || !filter.bursts) return burst === null ? "" : rank === 1 ? "sharpest" : "burst";
  const share = closeUp(index) / photos.sharpest.get(burst);
  return rank === 1 ? "sharpest" : Number.isFinite(share) ? `${rank} · ${Math.round(100 * share)}%` : `${rank}`;
}

const number = value => value.toLocaleString("en");
