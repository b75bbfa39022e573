// Whether the server can be reached. Gradio itself waits for a lost server without end.
const alive = () => fetch("robots.txt", {cache: "no-store"}).then(() => true, () => false);
const CHECK = 3_000;  // milliseconds
