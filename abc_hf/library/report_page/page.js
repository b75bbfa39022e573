"use strict";
/* The page around the grid: filters, the chosen photo, decisions and their export. */

const $ = selector => document.querySelector(selector);
const STORE = `abc-fusenet sort ${REPORT.id}`;
const SHOWABLE = /\.(jpe?g|jpe|jfif|png|webp|gif|avif|bmp)$/i;
const decided = loadDecisions(); // key -> KEEP or REJECT, of photos that are gone since, too
const history = []; // [index, what it was before]
let chosenPhoto = null, saving = 0, pending = 0;

/* Pictures */

function picture(index, map) {
  const src = photos[map ? "map" : "picture"][index];
  if (!src) return null;
  const image = new Image();
  image.className = map ? "map" : "photo";
  image.decoding = "async";
  image.draggable = false;
  image.alt = map ? "" : `Photo ${nameOf(index)}`;
  image.src = src.startsWith("data:") ? src : `${REPORT.thumbs}/${src.slice(0, 2)}/${src}`;
  return image;
}

/** The words beside a verdict: that it is not certain, and that the threshold flags the photo. */
const badgesOf = index => [certaintyOf(index) === "unsure" && REPORT.not_sure, rejects(index) && "reject"].filter(Boolean);

function fillBadges(element, index) {
  element.replaceChildren(...badgesOf(index).map(text => {
    const badge = Object.assign(document.createElement("span"), { textContent: text, className: "badge" });
    badge.classList.toggle("reject", text === "reject");
    return badge;
  }));
}

/** What a cell shows; the cell itself says the photo's name. */
function thumbnail(index) {
  const image = picture(index);
  if (image) return Object.assign(image, { alt: "" });
  const textContent = photos.error[index] ? "cannot be opened" : "no picture";
  return Object.assign(document.createElement("p"), { textContent });
}

/** Where the photo itself lies, if it is a file that a browser can show. */
function originalOf(index) {
  const path = (photos.place[index] ?? photos.path[index]).replaceAll("\\", "/");
  if (path.startsWith("file:///")) return path; // as the table says a path that is not UTF-8
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(path) || path.includes("!/") || !SHOWABLE.test(path)) return null;
  return "file://" + (path.startsWith("/") ? "" : "/") + path.split("/").map(encodeURIComponent).join("/");
}

function fillCell(cell, index) {
  const group = groupOf(index), decision = photos.decision[index], name = nameOf(index);
  const frame = cell.firstChild;
  if (cell.shows !== index || cell.empty) {
    cell.shows = index;
    cell.empty = grid.flying;
    frame.replaceChildren(...(grid.flying ? [] : [thumbnail(index)]));
    cell.querySelector(".name").textContent = name;
    cell.title = shown(photos.path[index]);
  }
  cell.dataset.group = group;
  cell.dataset.decision = WORDS[decision] ?? "";
  const score = photos.score[index];
  cell.querySelector(".score").textContent = score === null ? "–" : score.toFixed(2);
  cell.dataset.burst = burstWords(index);
  fillBadges(cell.querySelector(".badges"), index);
  cell.querySelector(".stars").textContent = starsOf(index);
  cell.querySelector(".unseen").textContent = [REPORT.names[group], ...badgesOf(index),
    starsOf(index) && `${photos.rating[index]} stars`, photos.rank[index] === 1 && "sharpest of its burst", SAID[decision]]
    .filter(Boolean).join(", ");
  if (document.body.classList.contains("maps") && !grid.flying) addMap(frame, index);
}

function addMap(frame, index) {
  if (frame.querySelector(".map")) return;
  const map = picture(index, true);
  if (map) frame.append(map);
}

const grid = new Grid($("#scroller"), $("#canvas"), fillCell, choose);
$("#canvas").addEventListener("pointerover", event => {
  const cell = event.target.closest(".cell");
  if (cell && event.pointerType !== "touch") addMap(cell.firstChild, cell.shows);
});
$("#canvas").addEventListener("dblclick", event => { if (event.target.closest(".cell")) enlarge(); });

function showMaps(on) {
  document.body.classList.toggle("maps", on);
  $("#maps").setAttribute("aria-pressed", on);
  if (on) for (const cell of grid.cells.values()) addMap(cell.firstChild, cell.shows);
}

/* The chosen photo */

function choose(index) {
  chosenPhoto = index;
  document.body.classList.toggle("chosen", index !== null);
  $("#detail").hidden = index === null;
  if (index === null) return;
  const group = groupOf(index), score = photos.score[index], detail = $("#detail");
  detail.dataset.group = group;
  detail.dataset.decision = WORDS[photos.decision[index]] ?? "";
  $("#keep").setAttribute("aria-pressed", photos.decision[index] === KEEP);
  $("#reject").setAttribute("aria-pressed", photos.decision[index] === REJECT);
  $("#undo").disabled = !history.length;
  detail.querySelector(".picture").replaceChildren(...[picture(index)].filter(Boolean));
  const over = [picture(index), picture(index, true)].filter(Boolean);
  if (over.length === 2) over[0].alt = `The blur map over ${nameOf(index)}`;
  detail.querySelector(".map-picture").replaceChildren(...(over.length === 2 ? over : []));
  detail.querySelector(".scale").hidden = over.length < 2;
  detail.querySelector("h2").textContent = nameOf(index);
  detail.querySelector(".folder").textContent = shown(folderOf(index));
  detail.querySelector(".headline b").textContent = REPORT.names[group];
  detail.querySelector(".headline span").textContent = score === null ? "" : `score ${score.toFixed(2)}`;
  fillBadges(detail.querySelector(".badges"), index);
  detail.querySelector(".reason").textContent = photos.error[index] ?? photos.reason[index] ?? "";
  detail.querySelector(".look").textContent = photos.look[index] ?? "";
  detail.querySelector(".probabilities").replaceChildren(...(photos.shares[index] ?? []).map((share, label) => {
    const row = document.createElement("li");
    row.dataset.group = label;
    row.classList.toggle("between", photos.between[index]?.includes(label) ?? false);
    row.style.setProperty("--share", `${share}%`);
    row.append(...["span", "i", "b"].map(tag => document.createElement(tag)));
    row.firstChild.textContent = REPORT.names[label];
    row.lastChild.textContent = `${share}%`;
    return row;
  }));
  detail.querySelector("dl").replaceChildren(...facts(index).flatMap(([name, value]) => {
    const pair = [document.createElement("dt"), document.createElement("dd")];
    pair[0].textContent = name;
    pair[1].textContent = value;
    return pair;
  }));
  if ($("#large").open) fillLarge();
}

function facts(index) {
  const share = value => value === null ? null : `${Math.round(100 * value)}%`, figure = value => value?.toFixed(2);
  const burst = photos.burst[index];
  return [
    ["Kind of blur", REPORT.kinds[photos.kind[index]]],
    ["Blur on the subject", figure(photos.subject[index])],
    ["Blur on the background", figure(photos.background[index])],
    ["Blurred part", share(photos.fraction[index])],
    ["In its burst", burst === null ? null : `no. ${photos.rank[index]} by sharpness`],
    ["Eyes at 100 %", figure(photos.eyes[index])],
    ["Subject at 100 %", photos.sharpness[index] && `${figure(photos.sharpness[index])}, blur of ${photos.radius[index]} px`],
    ["Faces", photos.faces[index]],
    ["Part of", photos.setKind[index]],
    ["Your rating", starsOf(index) || (ratingOf(index) === "rejected" ? "rejected" : null)],
    ["Your colour label", photos.color[index] && shown(photos.color[index])],
    ["Taken", photos.taken[index]?.slice(0, 19).replace("T", " ")],
    ["Camera", photos.camera[index] && shown(photos.camera[index])],
    ["Pixels", photos.width[index] && `${photos.width[index]} × ${photos.height[index]}`],
    ["RAW beside it", photos.raw[index] && shown(photos.raw[index].replace(/.*[/\\]/, ""))],
    ["Goes along", photos.companions[index] && shown(photos.companions[index])],
    ["Moved to", photos.place[index] && shown(photos.place[index])],
  ].filter(([, value]) => value);
}

/* The view at 100 %: `zoom` is how far its middle is from the eye, or else the subject, in parts of the photo. It stays
   from shot to shot of a burst or a set; null shows the whole photo. */
let zoom = null, zoomed = null, placing = false, dragged = false;

const groupOfShots = index => photos.burst[index] ?? (photos.set[index] === null ? -1 - index : SETS + photos.set[index]);

function setZoom(to) {
  zoom = to;
  if (!$("#large").open) enlarge(); else showZoom();
}

function showZoom() {
  const stage = $("#large .stage"), whole = stage.querySelector(".whole");
  if (zoom && zoomed !== groupOfShots(chosenPhoto)) zoom = zoomed === null ? zoom : { x: 0, y: 0 };
  zoomed = zoom && groupOfShots(chosenPhoto);
  $("#large .zoom").setAttribute("aria-pressed", zoom !== null);
  stage.classList.toggle("pixels", Boolean(zoom && whole));
  if (whole) whole.style.width = zoom ? `${whole.naturalWidth / devicePixelRatio}px` : "";
  if (!zoom || !whole) return;
  placing = true;
  stage.scrollTo(((photos.x[chosenPhoto] ?? 0.5) + zoom.x) * whole.offsetWidth - stage.clientWidth / 2,
    ((photos.y[chosenPhoto] ?? 0.5) + zoom.y) * whole.offsetHeight - stage.clientHeight / 2);
  setTimeout(() => { placing = false; }, 100);
}

function enlarge() {
  if (chosenPhoto === null) return;
  fillLarge();
  if (!$("#large").open) $("#large").showModal();
}

function fillLarge() {
  const stage = $("#large .stage"), original = originalOf(chosenPhoto), small = picture(chosenPhoto);
  if (small) small.className = "stand-in";
  const map = picture(chosenPhoto, true);
  stage.replaceChildren(...[small, map].filter(Boolean));
  const decision = photos.decision[chosenPhoto];
  $("#large p").textContent = [nameOf(chosenPhoto), REPORT.names[groupOf(chosenPhoto)], ...badgesOf(chosenPhoto), SAID[decision]]
    .filter(Boolean).join("  ·  ");
  $("#large").dataset.decision = WORDS[decision] ?? "";
  showZoom();
  if (!original) {
    if (zoom) toast("A browser cannot show this file itself; this is its small picture.");
    return;
  }
  const whole = new Image();
  whole.alt = `Photo ${nameOf(chosenPhoto)}, whole`;
  whole.className = "whole";
  whole.draggable = false;
  whole.onload = () => {
    if (!(small?.isConnected || !small)) return;
    small?.remove();
    stage.prepend(whole);
    showZoom();
  };
  whole.src = original; // where the photo is not at hand, the thumbnail stays
}

$("#large .stage").addEventListener("click", event => {
  const stage = $("#large .stage"), whole = stage.querySelector(".whole");
  if (dragged || !whole) return;
  if (zoom) return setZoom(null);
  const box = whole.getBoundingClientRect(), shape = whole.naturalWidth / whole.naturalHeight;
  const width = Math.min(box.width, box.height * shape), height = width / shape;
  const part = (at, start, length, size) => Math.min(1, Math.max(0, (at - start - (length - size) / 2) / size));
  zoomed = null;
  setZoom({ x: part(event.clientX, box.left, box.width, width) - (photos.x[chosenPhoto] ?? 0.5),
    y: part(event.clientY, box.top, box.height, height) - (photos.y[chosenPhoto] ?? 0.5) });
});
$("#large .stage").addEventListener("pointerdown", () => { dragged = false; });
$("#large .stage").addEventListener("pointermove", event => {
  if (!zoom || !(event.buttons & 1) || event.pointerType === "touch") return;
  dragged ||= Math.hypot(event.movementX, event.movementY) > 1;
  $("#large .stage").scrollBy(-event.movementX, -event.movementY);
});
$("#large .stage").addEventListener("scroll", event => {
  const stage = event.target, whole = stage.querySelector(".whole");
  if (!zoom || !whole || placing) return;
  zoom = { x: (stage.scrollLeft + stage.clientWidth / 2) / whole.offsetWidth - (photos.x[chosenPhoto] ?? 0.5),
    y: (stage.scrollTop + stage.clientHeight / 2) / whole.offsetHeight - (photos.y[chosenPhoto] ?? 0.5) };
});
$("#large").addEventListener("close", () => { zoom = zoomed = null; });

/* Decisions */

function loadDecisions() {
  const found = new Map();
  try {
    const stored = JSON.parse(localStorage.getItem(STORE)) ?? {};
    for (const [decision, word] of Object.entries(WORDS)) {
      for (const each of stored[word]?.match(/.{12}/g) ?? []) found.set(each, Number(decision));
    }
  } catch { /* none that can be read */ }
  return found;
}

function saveDecisions() {
  clearTimeout(saving);
  saving = 0;
  const stored = { keep: "", reject: "" };
  for (const [each, decision] of decided) stored[WORDS[decision]] += each;
  try {
    localStorage.setItem(STORE, JSON.stringify(stored));
  } catch {
    toast("This browser does not store decisions; export them before you close the page.");
  }
}

function setDecision(index, decision) {
  photos.decision[index] = decision;
  if (decision) decided.set(photos.key[index], decision); else decided.delete(photos.key[index]);
  saving ||= setTimeout(saveDecisions, 200);
}

function decide(decision) {
  if (chosenPhoto === null) return;
  const index = chosenPhoto, position = grid.active;
  history.push([index, photos.decision[index]]);
  setDecision(index, decision);
  toast(`${decision === KEEP ? "Kept" : "Rejected"} ${nameOf(index)}`);
  if (filter.decision === "all") {
    const cell = grid.cells.get(position);
    if (cell) fillCell(cell, index);
    showDecisions();
    grid.activate(position + 1);
  } else {
    arrange();
    grid.activate(Math.min(position, grid.order.length - 1));
  }
}

function undo() {
  const last = history.pop();
  if (!last) return toast("There is nothing to undo.");
  const [index, before] = last;
  setDecision(index, before);
  toast(`${nameOf(index)} is ${SAID[before] ?? "undecided"} again`);
  arrange();
  const position = grid.order.indexOf(index);
  if (position >= 0) grid.activate(position);
}

function exported(format) {
  const rows = [];
  for (let i = 0; i < photos.count; i++) {
    if (photos.decision[i]) rows.push({ path: photos.path[i], decision: WORDS[photos.decision[i]] });
  }
  if (!rows.length) return toast("There is no decision yet: K keeps the chosen photo, X rejects it.");
  const cell = path => /[",\r\n]/.test(path) ? `"${path.replaceAll('"', '""')}"` : path;
  const content = format === "json" ? JSON.stringify(rows, null, 1) + "\n"
    : "path,decision\r\n" + rows.map(row => `${cell(row.path)},${row.decision}\r\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: format === "json" ? "application/json" : "text/csv" }));
  link.download = `decisions.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  toast(`${number(rows.length)} decisions exported`);
}

/* Filters */

function arrange() {
  pending = 0;
  const { counts, order, segments } = arrangement();
  grid.show(order, segments);
  $("#nothing").hidden = order.length > 0 || photos.count === 0;
  $("#nothing").firstChild.textContent = filter.bursts && !(photos.bursts + photos.sets) ? "There are no bursts or sets among these photos. "
    : "No photo passes these filters. ";
  const loaded = photos.count < REPORT.total ? `${number(photos.count)} of ${number(REPORT.total)} photos read`
    : `${number(order.length)} of ${number(REPORT.total)} photos`;
  $("#summary").textContent = loaded + (counts[FAILED] ? `, ${number(counts[FAILED])} could not be opened` : "");
  $("#bursts").hidden = !photos.bursts;
  $("#rated").hidden = !photos.rated;
  $("#view b").textContent = photos.bursts + photos.sets ? number(photos.bursts + photos.sets) : "";
  document.querySelectorAll("#verdicts li").forEach(row => {
    row.querySelector("b").textContent = number(counts[row.dataset.group]);
    row.hidden = Number(row.dataset.group) === FAILED && !counts[FAILED];
  });
  showCounts("certainty", ["certain", "unsure"], certaintyOf);
  showCounts("flag", ["reject", "none"], flagOf);
  showCounts("rating", ["stars", "none", "rejected"], ratingOf);
  showCounts("kind", [...Object.keys(REPORT.kinds), "none"], kindOf);
  showDecisions();
  if (chosenPhoto !== null) choose(chosenPhoto);
}

const soon = () => { pending ||= requestAnimationFrame(arrange); };

function showDecisions() {
  showCounts("decision", ["undecided", "keep", "reject"], index => WORDS[photos.decision[index]] ?? "undecided");
}

/** How many photos each row of a list of filters stands for. */
function showCounts(name, values, valueAt) {
  const counts = { all: photos.count, ...Object.fromEntries(values.map(value => [value, 0])) };
  for (let i = 0; i < photos.count; i++) counts[valueAt(i)]++;
  document.querySelectorAll(`li[data-${name}]`).forEach(row => {
    row.querySelector("b").textContent = number(counts[row.dataset[name]]);
  });
}

/** A row of a list of filters: `<li><label><input><i></i><span>name</span><b>count</b></label></li>`. */
function filterRow(type, name, text, data, checked, change) {
  const row = document.createElement("li"), label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type, name, checked });
  input.addEventListener("change", change);
  label.append(input, ...["i", "span", "b"].map(tag => document.createElement(tag)));
  label.children[2].textContent = text;
  row.append(label);
  Object.assign(row.dataset, data);
  return row;
}

function drawHistogram() {
  const bins = new Array(50).fill(0);
  for (const score of photos.score) if (score !== null) bins[Math.min(49, Math.floor(score * 50))]++;
  const most = Math.max(...bins, 1);
  $("#histogram").replaceChildren(...bins.map((count, at) => {
    const bar = document.createElement("i");
    bar.style.height = `${count ? Math.max(4, 100 * Math.sqrt(count / most)) : 0}%`;
    bar.dataset.from = at / 50;
    return bar;
  }));
  markHistogram();
}

function markHistogram() {
  for (const bar of $("#histogram").children) bar.classList.toggle("reject", Number(bar.dataset.from) < filter.threshold);
  $("#threshold-value").textContent = filter.threshold.toFixed(2);
  $("#threshold").setAttribute("aria-valuetext", `reject below ${filter.threshold.toFixed(2)}`);
}

function showAll() {
  filter.groups.clear();
  filter.kinds.clear();
  Object.assign(filter, { certainty: "all", flag: "all", rating: "all", least: 0, most: 1, decision: "all", text: "", sharpest: false });
  $("#bursts input").checked = false;
  document.querySelectorAll("#verdicts input, #kinds input").forEach(input => { input.checked = true; });
  for (const list of ["#certainty", "#flags", "#ratings", "#decisions"]) $(`${list} input`).checked = true;
  $("#least").value = 0;
  $("#most").value = 1;
  $("#search input").value = "";
  if (filter.bursts && !(photos.bursts + photos.sets)) showView("photos");
  arrange();
}

function showView(view) {
  $(`#view [value=${view}]`).checked = true;
  filter.bursts = view === "bursts";
  $("#order select").disabled = filter.bursts;
  $("#scroller").scrollTop = 0;
  arrange();
}

let toastTimer;
function toast(text) {
  $("#toast").textContent = text;
  $("#toast").classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("#toast").classList.remove("on"), 2500);
}

/* Data files, one after the other: the first photos are there at once */

function chunkArrived() {
  drawHistogram();
  soon();
}

function loadChunk(number) {
  if (number >= REPORT.chunks) return;
  const script = document.createElement("script");
  script.src = `${REPORT.data}/photos-${String(number).padStart(4, "0")}.js`;
  script.onload = () => { script.remove(); loadChunk(number + 1); };
  script.onerror = () => toast(`${script.src} cannot be read; the report lacks its photos.`);
  document.head.append(script);
}

/* Controls */

/** The values of the rows of a list that are checked, such that an empty set lets all pass. */
function checked(list, valueAt) {
  const rows = [...document.querySelectorAll(`${list} li`)], on = rows.filter(row => row.querySelector("input").checked);
  return new Set(on.length === rows.length ? [] : on.length ? on.map(valueAt) : [-1]);
}

REPORT.order.forEach(group => $("#verdicts").append(filterRow("checkbox", "verdict", REPORT.names[group], { group }, true,
  () => {
    filter.groups = checked("#verdicts", row => Number(row.dataset.group));
    soon();
  })));
for (const [kind, text] of [...Object.entries(REPORT.kinds), ["none", "None"]]) {
  $("#kinds").append(filterRow("checkbox", "kind", text, { kind }, true, () => {
    filter.kinds = checked("#kinds", row => row.dataset.kind);
    soon();
  }));
}
$("#bursts ul").append(filterRow("checkbox", "sharpest", "Only the sharpest of each", {}, false, event => {
  filter.sharpest = event.target.checked;
  soon();
}));
for (const [list, name, choices] of [
  ["#certainty", "certainty", { all: "All", certain: "Certain", unsure: "Not sure" }],
  ["#flags", "flag", { all: "All", reject: "Flagged reject", none: "Not flagged" }],
  ["#ratings", "rating", { all: "All", stars: "With stars", none: "Without", rejected: "Rejected" }],
  ["#decisions", "decision", { all: "All", undecided: "Undecided", keep: "Kept", reject: "Rejected" }],
]) {
  for (const [value, text] of Object.entries(choices)) {
    $(list).append(filterRow("radio", name, text, { [name]: value }, value === "all", () => {
      filter[name] = value;
      soon();
    }));
  }
}
$("#threshold").value = filter.threshold;
$("#threshold").addEventListener("input", event => {
  filter.threshold = Number(event.target.value);
  markHistogram();
  soon();
});
for (const side of ["least", "most"]) {
  $(`#${side}`).addEventListener("input", event => {
    filter[side] = event.target.value === "" ? (side === "least" ? 0 : 1) : Number(event.target.value);
    soon();
  });
}
$("#search input").addEventListener("input", event => {
  filter.text = event.target.value.toLowerCase();
  soon();
});
$("#order select").addEventListener("change", event => {
  filter.order = event.target.value;
  $("#scroller").scrollTop = 0;
  soon();
});
$("#size").addEventListener("input", event => {
  grid.resize(Number(event.target.value));
});
document.querySelectorAll("#view input").forEach(input => input.addEventListener("change", () => showView(input.value)));
$("#maps").addEventListener("click", () => showMaps(!document.body.classList.contains("maps")));
$("#help-button").addEventListener("click", () => $("#help").showModal());
$("#open-filters").addEventListener("click", event => {
  const open = document.body.classList.toggle("filters");
  event.currentTarget.setAttribute("aria-expanded", open);
  event.currentTarget.textContent = open ? "Show photos" : "Filters";
});
$("#nothing button").addEventListener("click", showAll);
$("#keep").addEventListener("click", () => decide(KEEP));
$("#reject").addEventListener("click", () => decide(REJECT));
$("#undo").addEventListener("click", undo);
$("#enlarge").addEventListener("click", enlarge);
$("#large .keep").addEventListener("click", () => decide(KEEP));
$("#large .reject").addEventListener("click", () => decide(REJECT));
$("#large .zoom").addEventListener("click", () => setZoom(zoom ? null : { x: 0, y: 0 }));
$("#large .back").addEventListener("click", () => grid.activate(grid.active - 1));
$("#large .on").addEventListener("click", () => grid.activate(grid.active + 1));
$("#csv").addEventListener("click", () => exported("csv"));
$("#json").addEventListener("click", () => exported("json"));
window.addEventListener("pagehide", () => { if (saving) saveDecisions(); });

const ACTIONS = {
  k: () => decide(KEEP), x: () => decide(REJECT), u: undo, m: () => showMaps(!document.body.classList.contains("maps")),
  z: () => { if (chosenPhoto !== null) setZoom(zoom ? null : { x: 0, y: 0 }); },
  b: () => showView(filter.bursts ? "photos" : "bursts"), "?": () => $("#help").showModal(),
  "/": () => $("#search input").focus(),
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("#help").open) return;
  const control = event.target.closest("input, select, textarea");
  if (control && event.key === "Escape") $("#scroller").focus();
  if (control && (control.type !== "checkbox" || event.key.length > 1)) return;
  const position = grid.step(event.key), large = $("#large").open;
  const onGrid = [document.body, $("#scroller")].includes(event.target);
  if (position !== undefined) {
    if (!large) $("#scroller").focus({ preventScroll: true });
    grid.activate(position);
  } else if (["Enter", " "].includes(event.key) && onGrid) enlarge();
  else if (ACTIONS[event.key.toLowerCase()] && !(large && "b/".includes(event.key))) ACTIONS[event.key.toLowerCase()]();
  else return;
  event.preventDefault();
});

arrange();
loadChunk(0);
