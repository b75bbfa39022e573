// All loupes show the same place at the same size: CSS reads --x, --y and --zoom of the element around them.
// At 100% a finger scrolls the page and moves the loupes sideways; above, it moves them in both directions.
let x = 0, y = 0, zoom = 1;

function place() {
  const image = element.querySelector(".loupe img");
  const reach = image ? [image.naturalWidth, image.naturalHeight].map(side => side / 2) : [0, 0];
  [x, y] = [x, y].map((value, axis) => Math.min(Math.max(value, -reach[axis]), reach[axis]));
  for (const [name, value] of Object.entries({"--x": `${x}px`, "--y": `${y}px`, "--zoom": zoom,
    "--touch": zoom > 1 ? "none" : "pan-y"}))
    element.style.setProperty(name, value);
  const output = element.querySelector("output");
  if (output) output.textContent = `${100 * zoom}%`;
}
function move(dx, dy) {
  [x, y] = [x + dx / zoom, y + dy / zoom];
  place();
}
/** The eye, or else the sharpest place, half as wide as a loupe; the second time, all at 100% again. */
function closeUp() {
  const [right, down, width] = element.querySelector(".shots").dataset.eye.split(",").map(Number);
  const share = element.querySelector(".loupe").clientWidth / 2 / width;
  const close = Math.min(Math.max(2 ** Math.round(Math.log2(share)), 2), 8);
  [x, y, zoom] = zoom === close && x === -right && y === -down ? [0, 0, 1] : [-right, -down, close];
  place();
}
element.addEventListener("click", event => {
  if (event.target.closest(".close-up")) return closeUp();
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  zoom = Math.min(Math.max(zoom * button.dataset.zoom, 0.25), 8);
  place();
});
element.addEventListener("pointerdown", event => {
  const loupe = event.target.closest(".loupe");
  if (!loupe) return;
  loupe.setPointerCapture(event.pointerId);
  loupe.onpointermove = event => move(event.movementX, event.movementY);
  loupe.onpointerup = loupe.onpointercancel = () => { loupe.onpointermove = null; };
});
document.addEventListener("keydown", event => {
  if (event.key.toLowerCase() !== "z" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, textarea") || !element.querySelector(".loupe")?.offsetParent) return;
  event.preventDefault();
  closeUp();
});
element.addEventListener("keydown", event => {
  const step = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[event.key];
  if (!step || !event.target.matches(".loupe")) return;
  event.preventDefault();
  move(...step);
});
watch("value", () => {
  [x, y, zoom] = [0, 0, 1];
  queueMicrotask(place);
});
