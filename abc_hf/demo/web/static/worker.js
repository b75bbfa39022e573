// Opens photos and runs the network, away from the page, so that the page answers meanwhile.
import {pixelValues, report, toWorkingSize} from "./judge.js";

const threads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
let ort;
const loading = load();
loading.then(({engine}) => postMessage({ready: engine}), error => postMessage({failed: error.message}));

async function load() {
  const [settings, network] = await Promise.all([
    fetch("settings.json").then(answer => answer.json()),
    fetch("network.onnx").then(answer => answer.arrayBuffer()),
  ]);
  const start = async (file, provider) => {
    ort = await import(`./ort/${file}.mjs`);
    ort.env.wasm.wasmPaths = new URL("./ort/", self.location.href).href;
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = "error";
    return ort.InferenceSession.create(network.slice(0), {executionProviders: [provider]});
  };
  // The build with WebGPU needs a browser that can suspend WebAssembly.
  if ("Suspending" in WebAssembly && await navigator.gpu?.requestAdapter().catch(() => null)) {
    try {
      const session = await start("jspi", "webgpu");
      await run(session, {data: new Float32Array(3 * 64 * 64), dims: [1, 3, 64, 64]});
      return {settings, session, engine: "WebGPU"};
    } catch (error) {
      console.info(`WebGPU is not used: ${error.message}`);
    }
  }
  const session = await start("wasm", "wasm");
  return {settings, session, engine: `WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`};
}

async function run(session, {data, dims}) {
  const outputs = await session.run({pixel_values: new ort.Tensor("float32", data, dims)});
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
}

async function open(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) throw new Error("this browser cannot open it; send a JPEG, PNG or WebP file.");
  const {width, height} = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

let last = Promise.resolve();  // photos are judged one after another
onmessage = ({data}) => { last = last.then(() => answer(data)); };

async function answer({id, file}) {
  try {
    const {settings, session} = await loading, start = performance.now();
    const photo = await open(file), small = toWorkingSize(photo, settings, file.type === "image/jpeg");
    const input = pixelValues(small, settings), outputs = await run(session, input);
    const told = report(outputs, input.dims[3], small, settings);
    const about = {photo: [photo.width, photo.height], seconds: (performance.now() - start) / 1000};
    postMessage({id, answer: {...told, ...about}}, [told.blur.buffer, told.attention.buffer]);
  } catch (error) {
    postMessage({id, error: error.message});
  }
}
