// The viewer of a photo; `element` holds the template. The script is the demo's (web/photo.js).
export function watchViewer(element, props) {
  const find = selector => element.querySelector(selector);
  const style = (name, text) => element.style.setProperty(name, text);
  let pixels = null, point = [0.5, 0.5];
  element.addEventListener("click", event => {
    const stage = event.target.closest(".stage");
    if (!stage || event.target.matches(".handle")) return;
    const box = stage.getBoundingClientRect();
    ask((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  load();
{script}}
