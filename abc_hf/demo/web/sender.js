// Sends files one after the other; those chosen later are added. The event "sent" has all of them.
const find = selector => element.querySelector(selector);
const visible = () => element.offsetParent !== null;
const tell = text => { find(".note").textContent = text; };
const pending = () => Boolean(panel.querySelector(".pending"));  // Gradio drops it, too, when a connection breaks
let files = [], waiting = false;
const panel = element.closest("[role=tabpanel]");
panel.ariaLabel = props.tab;  // Gradio does not name its panels

async function send(chosen) {
  const lost = [];
  for (const [index, file] of chosen.entries()) {
    tell(`Sending ${index + 1} of ${chosen.length} …`);
    try {
      files.push({path: (await upload(file)).path, orig_name: file.name});
    } catch {
      lost.push(file.name);
    }
  }
  find(".again").hidden = !files.length;
  tell(lost.length ? `Could not be sent: ${lost.join(", ")}. Check the connection, and send them again.` :
    `${files.length} sent. ${props.more}`);
  if (!files.length) return;
  waiting = true;
  trigger("sent", {files});
}
element.addEventListener("change", event => {
  send([...event.target.files]);
  event.target.value = "";  // the same files can be chosen again
});
element.addEventListener("click", event => {
  if (event.target.closest(".choose")) find("input").click();
  if (!event.target.closest(".again")) return;
  files = [];
  find(".again").hidden = true;
  tell(props.hint);
  trigger("sent", {files});
});
document.addEventListener("dragover", event => { if (visible()) event.preventDefault(); });
document.addEventListener("drop", event => {
  if (!visible() || !event.dataTransfer.files.length) return;
  event.preventDefault();
  send([...event.dataTransfer.files]);
});
setInterval(async () => {
  if (!waiting && !pending()) return;
  const lost = !await alive();
  if (lost) tell(props.no_answer);
  else waiting = pending();
  panel.classList.toggle("lost", lost);
}, CHECK);
