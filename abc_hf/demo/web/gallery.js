const dialog = () => element.querySelector("dialog");
const photos = () => chosen(props.value.photos, view, props.kinds);
const look = change => { props.view = view = {...view, ...change}; };
let view = {...props.view, open: matchMedia("(min-width: 901px)").matches}, at = 0;

function enlarge(index) {
  at = (index + photos().length) % photos().length;
  const photo = photos()[at];
  dialog().querySelector(".frame").innerHTML = `<div class="stage" style="--ratio: ${photo.width / photo.height}">
    <img class="base" src="${photo.picture.url}" alt="${photo.file}">
    <div class="over"><img src="${photo.map.url}" alt="Its blur map"></div></div>`;
  dialog().querySelector(".about").innerHTML = `<span class="note">${photo.file}</span><br>${photo.certain ?
    `<b>${props.verdicts[photo.label][0]}.</b> ` : ""}${photo.reason} Score ${photo.score.toFixed(2)}.`;
}
element.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.photo) {
    enlarge(photos().findIndex(photo => photo.number === Number(button.dataset.photo)));
    dialog().showModal();
  } else if (button.dataset.step) enlarge(at + Number(button.dataset.step));
  else if (button.dataset.key) look({key: button.dataset.key, descending: view.key === button.dataset.key && !view.descending});
  else if (button.dataset.write) trigger("download", {kind: button.dataset.write, threshold: view.threshold});
  else if (button.matches(".close")) dialog().close();
  else if (button.matches(".map")) {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    dialog().classList.toggle("bare", !shown);
  }
});
element.addEventListener("keydown", event => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (step && dialog()?.open) enlarge(at + step);
});
element.addEventListener("input", event => {
  const {name, value} = event.target;
  look({[name]: name === "threshold" ? Number(value) : value});
});
element.addEventListener("toggle", event => {
  if (event.target.matches(".controls")) look({open: event.target.open});
}, true);
watch("value", () => { props.view = view; });  // with a new value, Gradio sets the first view
