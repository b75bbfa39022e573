// The page: takes photos, asks the worker, and draws with the templates of the demo (templates.js).
import {capital} from "./reasons.js";
import * as templates from "./templates.js";

const settings = await fetch("settings.json").then(answer => answer.json());
const {verdicts, colors, level_colors: levels, layer_scale, examples} = settings;
const drawn = (template, value) => template({value, verdicts, colors, levels, layer_scale, examples, words: settings});
const plain = text => Object.assign(document.createElement("p"), {textContent: text}).innerHTML;
const find = selector => document.querySelector(selector);
const photos = [];
let shown = null, engine = "";
const status = text => { find("#status").textContent = text; };

const dark = matchMedia("(prefers-color-scheme: dark)");
const shade = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", shade);
shade();

let worker = null;
function told({data: {id, answer, error, ready, failed}}) {
  if (failed) return status(`The network cannot be loaded (${failed}). Reload the page.`);
  if (ready) {
    engine = ready;
    document.documentElement.dataset.engine = ready;
    return photos.length || status(`Ready: ${engine}.`);
  }
  const photo = photos[id];
  Object.assign(photo, answer ? {answer} : {error});
  drawItem(photo);
  if (!shown) (answer ? show : fail)(photo);
  const judged = photos.filter(each => each.answer).length, unread = photos.filter(each => each.error).length;
  const time = answer ? `${judged === 1 ? "" : ", the last"} in ${answer.seconds.toFixed(2)} s` : "";
  if (judged + unread < photos.length) status(`${judged + unread} of ${photos.length} photos are done.`);
  else if (!judged) status(`${unread === 1 ? "One photo" : `${unread} photos`} could not be opened.`);
  else {
    status(`${judged === 1 ? "One photo is judged" : `${judged} photos are judged`}${time} (${engine})${
      unread ? `; ${unread} could not be opened` : ""}.`);
  }
}

function take(files) {
  for (const file of files) {
    const photo = {id: photos.length, file, url: URL.createObjectURL(file), item: document.createElement("li")};
    photo.picture = Object.assign(new Image(), {src: photo.url, alt: "", decoding: "async"});
    photo.picture.onerror = () => photo.picture.remove();
    photos.push(photo);
    find("#photos").append(photo.item);
    drawItem(photo);
    worker?.postMessage({id: photo.id, file});
  }
  find("#many").hidden = photos.length < 2;
  if (files.length) {
    find(".drop").classList.add("small");
    shown = null;
    status(engine ? `${photos.length > 1 ? `${photos.length} photos are` : "One photo is"} being judged.`
      : "The network is loading.");
  }
}

function drawItem({item, file, picture, answer, error, ...photo}) {
  const [button, name, said] = ["button", "span", "b"].map(tag => document.createElement(tag));
  name.className = "name";
  name.innerHTML = templates.breakable(plain(file.name));
  said.className = error ? "failed" : "";
  said.textContent = error ? capital(error) : (answer ? `${verdicts[answer.label][0]}${answer.certain ? "" : ", not sure"} · ${
    answer.score.toFixed(2)}` : "waiting");
  button.style.setProperty("--tone", answer?.certain ? colors[answer.label] : "var(--body-text-color-subdued)");
  button.disabled = !answer;
  button.onclick = () => show(photos[photo.id]);
  button.append(...error ? [] : [picture], name, said);
  item.replaceChildren(button);
}

const pngOf = async (width, height, pixel) => {
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let index = 0; index < width * height; index++) image.data.set(pixel(index), 4 * index);
  context.putImageData(image, 0, 0);
  return {url: URL.createObjectURL(await canvas.convertToBlob())};
};

const press = photo => {
  for (const each of photos) each.item.firstChild.setAttribute("aria-pressed", each === photo);
};

function fail({file, error}) {
  press(null);
  find("#viewer").replaceChildren();
  find("#verdict").innerHTML = drawn(templates.verdict, {state: "failed", error: `${plain(file.name)}: ${plain(error)}`});
  find("#verdict .choose").onclick = () => find("#files").click();
}

async function show(photo) {
  const {answer} = photo, {width, height, blur, attention} = answer;
  for (const each of Object.values(shown?.pictures ?? {})) URL.revokeObjectURL(each.url);
  shown = photo;
  press(photo);
  const value = {state: "judged", name: plain(photo.file.name), figures: answer, facts: answer.facts};
  find("#verdict").innerHTML = drawn(templates.verdict, value);
  const byte = value => Math.round(255 * Math.min(Math.max(value, 0), 1));
  const layer = values => pngOf(width, height, index => [...settings.table[byte(values[index])], byte(values[index])]);
  const made = await Promise.all([
    layer(blur), layer(attention), pngOf(width, height, index => [byte(blur[index]), byte(attention[index]), 0, 255]),
  ]);
  if (shown !== photo) return;
  photo.pictures = {blur: made[0], attention: made[1], values: made[2]};
  const element = document.createElement("div"), ratio = answer.photo[0] / answer.photo[1];
  Object.assign(value, {photo: {url: photo.url}, maps: photo.pictures, ratio});
  element.innerHTML = drawn(templates.viewer, value);
  find("#viewer").replaceChildren(element);
  templates.watchViewer(element, {words: settings});
  find("#verdict .share").onclick = () => templates.share_picture({value, colors, verdicts});
}

find("header").innerHTML = templates.header({}).replace(/<\/?header>/g, "");
find("#verdict").innerHTML = drawn(templates.verdict, {state: "none"}).replace("Looking …", "One of four");
find("#examples").innerHTML = drawn(templates.examples, {});
find("#examples").onclick = async event => {
  const example = event.target.closest("button")?.dataset.example;
  if (!example) return;
  const [name, file] = examples[example], blob = await fetch(file).then(answer => answer.blob());
  take([new File([blob], `${name}.jpg`, {type: "image/jpeg"})]);
};
find("#files").onchange = event => {
  take([...event.target.files]);
  event.target.value = "";
};
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  take([...event.dataTransfer.files]);
});
addEventListener("paste", event => take([...event.clipboardData.files]));
window.photos = photos;

// First comes the service worker: it keeps what is fetched through it, so that nothing is loaded twice.
async function keepOffline() {
  const had = navigator.serviceWorker.controller, registered = navigator.serviceWorker.register("service_worker.js");
  const {installing, active} = had ? {active: had} : await registered, kept = installing ?? active;
  while (kept.state !== "activated") {
    if (kept.state === "redundant") throw new Error("a file is missing");
    await new Promise(next => kept.addEventListener("statechange", next, {once: true}));
  }
  document.documentElement.dataset.offline = "ready";
  if (had || crossOriginIsolated || photos.length) return;
  location.reload();  // with the headers that threads need
  await new Promise(() => {});
}

await keepOffline().catch(error => console.info(`The page does not work offline: ${error.message}`));
worker = new Worker("worker.js", {type: "module"});
worker.onmessage = told;
for (const {id, file} of photos) worker.postMessage({id, file});
