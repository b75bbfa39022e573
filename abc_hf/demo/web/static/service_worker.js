// Keeps every file of the page, so that it works offline; of the runtime, the files that this browser asks for. Adds
// the headers that threads of WebAssembly need, which many file servers cannot be told to send.
const NAME = "abc-fusenet-", VERSION = `${NAME}{version}`, FILES = {files};
const earlier = async () => (await caches.keys()).filter(name => name.startsWith(NAME) && name !== VERSION);

addEventListener("install", event => event.waitUntil(keep().then(() => skipWaiting())));
addEventListener("activate", event => {
  event.waitUntil(earlier().then(names => Promise.all(names.map(name => caches.delete(name)))).then(() => clients.claim()));
});
addEventListener("fetch", event => {
  if (new URL(event.request.url).origin === location.origin) event.respondWith(answer(event.request));
});

async function keep() {
  const caches_of = await Promise.all((await earlier()).map(name => caches.open(name)));
  const kept = (await Promise.all(caches_of.map(cache => cache.keys()))).flat().map(({url}) => url);
  const runtime = new Set(kept.filter(url => url.includes("/ort/")));  // an update must not end the work offline
  await (await caches.open(VERSION)).addAll([...FILES, ...runtime]);
}

async function answer(request) {
  const cache = await caches.open(VERSION);
  let kept = await cache.match(request, {ignoreSearch: true});
  if (!kept) {
    kept = await fetch(request);
    if (kept.ok && request.method === "GET") await cache.put(request, kept.clone());
  }
  const headers = new Headers(kept.headers);
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(kept.body, {status: kept.status, statusText: kept.statusText, headers});
}
