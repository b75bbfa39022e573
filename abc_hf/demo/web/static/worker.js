// Opens photos and runs the network, away from the page, so that the page answers meanwhile.
import {draftFactor, pixelValues, reduce, report, toWorkingSize} from "./judge.js";

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

// The pixels of a file on white, a large JPEG smaller by the factor that Python's decoder takes.
async function open(file, {longest_edge: edge, max_ratio: most}) {
  if (!file.size) throw new Error("the file is empty.");
  const bitmap = await createImageBitmap(file).catch(() => null);
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  if (!bitmap) {
    throw new Error(`this browser cannot open it; ${/^(\xff\xd8|\x89PNG|GIF8|RIFF....WEBP)/s.test(start)
      ? "it is damaged, cut short or too large." : "choose a JPEG, PNG or WebP file."}`);
  }
  const {width, height} = bitmap;
  if (Math.max(width, height) > most * Math.min(width, height)) {
    throw new Error(`it is ${width} x ${height}, and the long side may be ${most} times the short one; cut it.`);
  }
  const factor = start.startsWith("\xff\xd8") ? draftFactor(width, height, edge) : 1;
  const [wide, high] = [width, height].map(side => Math.ceil(side / factor)), rows = 64 * factor;
  const data = new Uint8ClampedArray(4 * wide * high);
  const context = new OffscreenCanvas(width, rows).getContext("2d", {willReadFrequently: true});
  context.fillStyle = "white";
  for (let top = 0; top < height; top += rows) {  // in strips, because a copy of a large photo needs much memory
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const strip = context.getImageData(0, 0, width, Math.min(rows, height - top));
    data.set((factor > 1 ? reduce(strip, factor) : strip).data, 4 * wide * top / factor);
  }
  bitmap.close();
  return {photo: [width, height], image: {width: wide, height: high, data}};
}

let last = Promise.resolve();  // photos are judged one after another
self.onmessage = ({data}) => { last = last.then(() => answer(data)); };

async function answer({id, file}) {
  try {
    const {settings, session} = await loading, start = performance.now();
    const {photo, image} = await open(file, settings), small = toWorkingSize(image, settings);
    const input = pixelValues(small, settings), outputs = await run(session, input);
    const told = report(outputs, input.dims[3], small, settings);
    const seconds = (performance.now() - start) / 1000;
    postMessage({id, answer: {...told, photo, seconds}}, [told.blur.buffer, told.attention.buffer]);
  } catch (error) {
    postMessage({id, error: error.message});
  }
}
