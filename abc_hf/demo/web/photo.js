const find = selector => element.querySelector(selector);
const style = (name, text) => element.style.setProperty(name, text);
const PATIENCE = 90_000;  // milliseconds
const examples = props.examples;
let ticket = 0, waiting = null, shown = null, source = null, pixels = null, point = [0.5, 0.5];

// ------------------------------------------------------------------------------------------ a photo is sent
function show(value) {
  waiting = value.state === "judging" ? value : null;
  props.value = value;
  queueMicrotask(load);  // once the template is filled
}
function fail(error) {
  show({state: "failed", ticket, error});
}
async function begin(url = "", example = null) {
  const mine = ++ticket;
  show({state: "judging", ticket, example});
  const start = performance.now(), check = setInterval(async () => {
    if (mine !== ticket || !waiting) return clearInterval(check);
    const lost = !await alive() || performance.now() - start > PATIENCE;
    if (lost && mine === ticket && waiting) fail(props.no_answer);
  }, CHECK);
  const image = Object.assign(new Image(), {src: url});
  await image.decode().catch(() => {});  // a format that the server alone can read
  if (mine === ticket && waiting && image.naturalWidth)
    show({...waiting, photo: {url}, ratio: image.naturalWidth / image.naturalHeight});
}
async function send(file) {
  history.replaceState(history.state, "", address_of(null));
  begin(URL.createObjectURL(file));
  const mine = ticket, name = plain(file.name);
  if (file.size > props.max_bytes) return fail(`${name}: the file is too large; send a smaller copy.`);
  try {
    const {path} = await upload(file);
    if (mine === ticket) judge({path, orig_name: file.name});
  } catch {
    if (mine === ticket) fail(`${name}: it could not be sent; check the connection, and try again.`);
  }
}
function plain(text) {
  return Object.assign(document.createElement("p"), {textContent: text}).innerHTML;
}
function judge(photo) {
  source = photo;
  trigger("judge", {ticket, ...photo});
}
function show_example(name) {
  begin(examples[name][1], name);
  judge({example: name});
}
function address_of(example) {
  const address = new URL(location);
  address.searchParams.delete("example");
  if (example) address.searchParams.set("example", example);
  return address.href;
}
function visible() {
  return element.offsetParent !== null;
}
function first_photo(items) {
  const file = [...items ?? []][0];
  if (file && visible()) send(file);
  return Boolean(file);
}
document.addEventListener("dragover", event => {
  if (!visible() || ![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  find(".one").classList.add("dragging");
});
document.addEventListener("dragleave", event => {
  if (!event.relatedTarget) find(".one").classList.remove("dragging");
});
document.addEventListener("drop", event => {
  find(".one").classList.remove("dragging");
  if (visible() && first_photo(event.dataTransfer.files)) event.preventDefault();
});
document.addEventListener("paste", event => first_photo(event.clipboardData.files));
async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find(type => type.startsWith("image/"));
      if (type) return send(new File([await item.getType(type)], "pasted.png", {type}));
    }
    begin();
    fail("There is no picture in the clipboard; copy one first.");
  } catch {
    begin();
    fail("The browser does not let this page read the clipboard; press Ctrl+V instead.");
  }
}
async function open_camera() {
  try {
    find("video").srcObject = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1920}}});
    find(".webcam").showModal();
  } catch {
    begin();
    fail("There is no camera that this page may use; allow it in the browser, or choose a file.");
  }
}
function shoot() {
  const video = find("video");
  const canvas = Object.assign(document.createElement("canvas"),
    {width: video.videoWidth, height: video.videoHeight});
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(blob => send(new File([blob], "camera.jpg", {type: "image/jpeg"})), "image/jpeg", 0.95);
  find(".webcam").close();
}
find(".webcam").addEventListener("close", () => {
  for (const track of find("video").srcObject?.getTracks() ?? []) track.stop();
});

// ------------------------------------------------------------------------------------------ the answer is looked at
async function load() {
  pixels = null;
  style("--split", "50%");
  style("--opacity", 0.8);
  find(".split").value = 50;
  find(".opacity").value = 80;
  find("input[value=blur]").checked = true;
  find(".viewer").dataset.map = "blur";
  const image = find(".values");
  if (!image) return;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  pixels = context.getImageData(0, 0, canvas.width, canvas.height);
}
function ask(x, y) {
  if (!pixels) return;
  point = [x, y].map(part => Math.min(Math.max(part, 0), 0.9999));
  const pin = find(".pin");
  pin.hidden = false;
  pin.style.left = `${100 * point[0]}%`;
  pin.style.top = `${100 * point[1]}%`;
  const column = Math.floor(point[0] * pixels.width), row = Math.floor(point[1] * pixels.height);
  const [blur, attention] = pixels.data.slice(4 * (row * pixels.width + column));
  const amount = props.words.amounts[Math.round(blur / 85)], counts = Math.round(attention / 2.55);
  find(".probe").innerHTML =
    `Here the photo is <b>${amount}</b> (${(blur / 255).toFixed(2)} of 1), and this point counts <b>${counts}%</b>.`;
}
function drag(event) {
  const box = find(".stage").getBoundingClientRect();
  const share = Math.min(Math.max(100 * (event.clientX - box.left) / box.width, 0), 100);
  find(".split").value = share;
  style("--split", `${share}%`);
}
element.addEventListener("input", event => {
  const input = event.target;
  if (input.matches(".split")) style("--split", `${input.value}%`);
  if (input.matches(".opacity")) style("--opacity", input.value / 100);
  if (input.name === "map") find(".viewer").dataset.map = input.value;
});
element.addEventListener("change", event => {
  if (!event.target.matches("input[type=file]")) return;
  first_photo(event.target.files);
  event.target.value = "";  // the same file can be chosen again
});
element.addEventListener("pointerdown", event => {
  if (!event.target.matches(".handle")) return;
  event.preventDefault();
  event.target.setPointerCapture(event.pointerId);
  event.target.onpointermove = drag;
  event.target.onpointerup = () => { event.target.onpointermove = null; };
});
element.addEventListener("keydown", event => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!step || !event.target.matches(".stage")) return;
  event.preventDefault();
  ask(point[0] + step[0] / 50, point[1] + step[1] / 50);
});
element.addEventListener("click", async event => {
  const button = event.target.closest("button"), stage = event.target.closest(".stage");
  if (stage && !event.target.matches(".handle")) {
    const box = stage.getBoundingClientRect();
    ask((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }
  if (!button) return;
  if (button.matches(".shoot")) shoot();
  else if (button.matches(".cancel")) find(".webcam").close();
  else if (button.matches(".choose")) find("input[type=file]").click();
  else if (button.matches(".paste")) paste();
  else if (button.matches(".camera")) open_camera();
  else if (button.matches(".share")) share_picture(props);
  else if (button.matches(".link")) {
    await navigator.clipboard.writeText(address_of(props.value.example));
    button.textContent = "Copied";
  } else if (button.dataset.example) {
    history.replaceState(history.state, "", address_of(button.dataset.example));
    show_example(button.dataset.example);
  }
  else if (button.dataset.download) trigger("download", {kind: button.dataset.download, ...source});
});
watch("value", () => {
  const answer = props.value;
  if ((answer.ticket ?? ticket) !== ticket) return void show(waiting ?? shown);  // to an earlier photo
  shown = answer;
  waiting = null;
  queueMicrotask(load);  // once the template is filled
});

element.closest("[role=tabpanel]").ariaLabel = "One photo";  // Gradio does not name its panels
const asked = new URLSearchParams(location.search).get("example");
show_example(asked in examples ? asked : Object.keys(examples)[0]);
