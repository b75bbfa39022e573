const style = (name, text) => element.style.setProperty(name, text);
let pixels = null, point = [0.5, 0.5];
async function load() {
  pixels = null;
  style("--split", "50%");
  style("--opacity", 0.8);
  const image = element.querySelector(".values");
  if (!image) return;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  pixels = context.getImageData(0, 0, canvas.width, canvas.height);
}
function ask(x, y) {
  point = [x, y].map(part => Math.min(Math.max(part, 0), 0.9999));
  const pin = element.querySelector(".pin");
  pin.hidden = false;
  pin.style.left = `${100 * point[0]}%`;
  pin.style.top = `${100 * point[1]}%`;
  if (!pixels) return;
  const column = Math.floor(point[0] * pixels.width), row = Math.floor(point[1] * pixels.height);
  const [blur, attention] = pixels.data.slice(4 * (row * pixels.width + column));
  const amount = props.amounts[Math.round(blur / 85)], counts = Math.round(attention / 2.55);
  element.querySelector(".probe").innerHTML =
    `Here the photo is <b>${amount}</b> (${(blur / 255).toFixed(2)} of 1), and this point counts <b>${counts}%</b>.`;
}
function drag(event) {
  const box = element.querySelector(".stage").getBoundingClientRect();
  const share = Math.min(Math.max(100 * (event.clientX - box.left) / box.width, 0), 100);
  element.querySelector(".split").value = share;
  style("--split", `${share}%`);
}
element.addEventListener("input", event => {
  const input = event.target;
  if (input.matches(".split")) style("--split", `${input.value}%`);
  if (input.matches(".opacity")) style("--opacity", input.value / 100);
  if (input.name === "map") element.querySelector(".viewer").dataset.map = input.value;
});
element.addEventListener("pointerdown", event => {
  if (!event.target.matches(".handle")) return;
  event.preventDefault();
  event.target.setPointerCapture(event.pointerId);
  event.target.onpointermove = drag;
  event.target.onpointerup = () => { event.target.onpointermove = null; };
});
element.addEventListener("click", event => {
  const stage = event.target.closest(".stage");
  if (!stage || event.target.matches(".handle")) return;
  const box = stage.getBoundingClientRect();
  ask((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
});
element.addEventListener("keydown", event => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!step || !event.target.matches(".stage")) return;
  event.preventDefault();
  ask(point[0] + step[0] / 50, point[1] + step[1] / 50);
});
watch("value", load);
load();
