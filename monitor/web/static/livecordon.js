"use strict";
// Keeps the page current: the server says "changed", this fetches the rendered parts and swaps them in.
(() => {
  const main = document.getElementById("main");
  const announce = document.getElementById("announce");
  const connection = document.getElementById("connection");
  const fragment = main.dataset.fragment;

  // SameSite=Strict cookies do not travel with a link from elsewhere, so somebody who is signed in may land on the
  // sign-in form. A request from this page does carry the cookie: ask, and go on.
  if (main.dataset.signedIn) {
    fetch("/api/v1/session").then((reply) => {
      if (reply.ok) location.replace(main.dataset.signedIn);
    }, () => {});
  }

  function countDown() {
    for (const element of document.querySelectorAll("[data-due]")) {
      const left = Math.round((Date.parse(element.dataset.due) - Date.now() - skewMs) / 1000);
      const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      element.textContent = left > 0 ? `decide within ${clock}` : "deadline passed";
      element.classList.toggle("soon", left < 30);
    }
  }
  let skewMs = 0; // This machine's clock minus the server's.
  setInterval(countDown, 1000);

  if (!fragment) return;

  const incidentsOf = (root) => new Map(
    [...root.querySelectorAll("[data-incident]")].map((link) => [link.dataset.incident, link.dataset.say]));
  let known = incidentsOf(main);
  const rendered = new Map(); // The last HTML per part: equal HTML is left alone.
  let busy = false, again = false, askedAt = 0;

  function swap(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const name = part.dataset.part;
      const old = main.querySelector(`[data-part="${name}"]`);
      const html = part.outerHTML;
      if (!old || rendered.get(name) === html) continue;
      rendered.set(name, html);
      const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
      const node = document.importNode(part, true);
      old.replaceWith(node);
      if (node.dataset.title) document.title = node.dataset.title;
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      reviewable(node.dataset.reviewable);
    }
    const now = incidentsOf(main);
    const news = [...now].filter(([id]) => !known.has(id)).map(([, say]) => say);
    if (news.length) announce.textContent = news.join(". ");
    known = now;
    countDown();
  }

  function reviewable(word) {
    const form = document.getElementById("decide");
    if (word === "false" && form) form.firstElementChild.disabled = true;
    if (word === "true") {
      if (form) form.firstElementChild.disabled = false;
      else if (main.dataset.mayDecide === "true") location.reload();
    }
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    askedAt = Date.now();
    try {
      const reply = await fetch(fragment, { redirect: "error" });
      if (reply.status === 401) { location.reload(); return; }
      const date = Date.parse(reply.headers.get("Date"));
      if (date) skewMs = Math.abs(Date.now() - date) > 2000 ? Date.now() - date : 0;
      if (reply.ok) swap(await reply.text());
      connection.hidden = reply.ok;
    } catch {
      connection.hidden = false;
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  // Browsers allow six connections to a site: only a page that is looked at holds one for events. A hidden page asks
  // every ten seconds, so that its title still counts what waits.
  let source = null;
  const shown = () => main.querySelector("[data-revision]")?.dataset.revision;

  function listen() {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source || source.readyState === EventSource.CLOSED) {
      source = new EventSource("/events");
      source.addEventListener("changed", (event) => { if (event.data !== shown()) refresh(); });
      // Find out at once whether the daemon is gone; the browser itself tries to connect again.
      source.addEventListener("error", () => { refresh(); });
    }
  }

  listen();
  document.addEventListener("visibilitychange", () => {
    listen();
    if (!document.hidden) refresh();
  });
  // Ages on the page grow without any change.
  setInterval(() => {
    if (Date.now() - askedAt > 10000) { listen(); refresh(); }
  }, 1000);
})();
