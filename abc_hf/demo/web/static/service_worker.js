// Keeps every file of the page, so that it works offline; of the runtime, the files that this browser asks for. Adds
// the headers that threads of WebAssembly need, which many file servers cannot be told to send.
const VERSION = "{version}", FILES = {files};

addEventListener("install", event => {
  event.waitUntil(caches.open(VERSION).then(cache => cache.addAll(FILES)).then(() => skipWaiting()));
});
addEventListener("activate", event => {
  const old = names => Promise.all(names.filter(name => name !== VERSION).map(name => caches.delete(name)));
  event.waitUntil(caches.keys().then(old).then(() => clients.claim()));
});
addEventListener("fetch", event => {
  if (new URL(event.request.url).origin === location.origin) event.respondWith(answer(event.request));
});

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
