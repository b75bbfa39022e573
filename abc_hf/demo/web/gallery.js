const dialog = () => element.querySelector("dialog");
const photos = () => props.value.groups.flatMap(group => group.photos);
let at = 0;

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
