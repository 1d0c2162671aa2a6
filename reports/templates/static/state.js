"use strict";
/* The one global object of the page, and the state of the view in the URL: `#<anchor>?key=value&key2=value2`.

   Whoever opens the address sees what the sender saw.  Keys that nobody asks for are kept; values are
   percent-encoded; a hash that says nothing sensible is an empty one. */
const QRM = (() => {
  const LONGEST = 2000; // characters of one value; longer ones are not ours
  const MOST = 100; // keys
  const decode = (text) => { try { return decodeURIComponent(text); } catch { return null; } };
  const encode = (text) => encodeURIComponent(text).replace(/%(2F|3A|2C|40|3B)/g, (found) => decodeURIComponent(found));

  const parse = (hash) => {
    const [head, ...rest] = hash.replace(/^#/, "").split("?");
    const values = new Map(); // not an object: `__proto__` is a key like any other
    for (const part of rest.join("?").split("&", MOST)) {
      const at = part.indexOf("=");
      const key = at > 0 ? decode(part.slice(0, at)) : null;
      const value = key ? decode(part.slice(at + 1)) : null;
      if (key && value !== null && value.length <= LONGEST) values.set(key, value);
    }
    return { anchor: decode(head) ?? "", values };
  };
  const write = (anchor, values) => {
    const query = [...values].map(([key, value]) => encode(key) + "=" + encode(value)).join("&");
    return "#" + encode(anchor) + (query ? "?" + query : "");
  };

  let now = parse(location.hash);
  let started = false;
  const listeners = new Map(); // key -> functions; "#" for the anchor
  const tell = (key) => (listeners.get(key) ?? []).forEach((fn) => fn(key === "#" ? now.anchor : now.values.get(key) ?? null));
  const changed = (before) => {
    const keys = new Set([...before.values.keys(), ...now.values.keys()]);
    for (const key of keys) if (before.values.get(key) !== now.values.get(key)) tell(key);
  };
  const put = (push) => {
    const url = write(now.anchor, now.values);
    if (url === location.hash || (url === "#" && !location.hash)) return;
    try { history[push ? "pushState" : "replaceState"](null, "", url); } catch { location.replace(url); }
  };

  const state = {
    /** The value of a key, a string, or null. */
    get: (key) => now.values.get(key) ?? null,
    /** Give a key a value, or take it away with null; `push` makes it a step that "back" undoes. */
    set(key, value, { push = false } = {}) { state.update({ [key]: value }, { push }); },
    /** Several keys, and the anchor where it is given, in one step. */
    update(values, { push = false, anchor } = {}) {
      const before = now;
      now = { anchor: anchor ?? before.anchor, values: new Map(before.values) };
      for (const [key, value] of Object.entries(values)) {
        if (value === null || value === undefined || value === "") now.values.delete(key); else now.values.set(key, String(value));
      }
      put(push);
      changed(before);
    },
    /** `fn(value)` at the start and whenever the key changes, by whatever way ("back" and a typed address too). */
    on(key, fn) {
      listeners.set(key, [...(listeners.get(key) ?? []), fn]);
      if (started) fn(state.get(key));
    },
    /** `fn(anchor)` at the start and whenever somebody goes to an anchor, the same one again too. */
    onAnchor(fn) {
      listeners.set("#", [...(listeners.get("#") ?? []), fn]);
      if (started) fn(now.anchor);
    },
    anchor: () => now.anchor,
    /** Go to an anchor; the rest of the state stays. */
    go(anchor, values = {}, { push = true } = {}) { state.update(values, { push, anchor }); tell("#"); },
    /** The absolute address of this view with these values (null takes one away), at this anchor. */
    link(values = {}, anchor = now.anchor) {
      const all = new Map(now.values);
      all.delete("theme"); // light or dark is for the one who reads to choose
      for (const [key, value] of Object.entries(values)) if (value === null) all.delete(key); else all.set(key, String(value));
      return location.href.split("#")[0] + write(anchor, all);
    },
  };
  addEventListener("popstate", () => {
    const before = now;
    now = parse(location.hash);
    changed(before);
    tell("#");
  });

  // Words: catalogue messages whose key begins with `js.`, per language, and their slots `{n}` and `{n#one/many}`.
  const words = JSON.parse(document.getElementById("words").textContent);
  const root = document.documentElement;
  const say = (key, slots = {}, language = root.lang) => (words[language]?.["js." + key] ?? key)
    .replace(/\{(\w+)#([^{}/]*)\/([^{}/]*)\}/g, (_, name, one, many) => (String(slots[name]) === "1" ? one : many))
    .replace(/\{(\w+)\}/g, (_, name) => slots[name] ?? "");

  /** An element with these properties and children (text or elements). */
  const el = (tag, options = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...children);
    return made;
  };

  const toCopy = (text) => {
    if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
    (document.querySelector("dialog[open]") ?? document.body).append(area); // what is outside an open dialog takes no focus
    area.select();
    const done = document.execCommand("copy"); // a page opened from a file is not always a secure context
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("the clipboard is closed"));
  };
  /** Copy an address and say so, aloud and on the button. */
  const copyLink = async (button, url) => {
    const focused = document.activeElement;
    try {
      await toCopy(url);
      announce(say("copied"));
      button.dataset.copied = say("copied");
    } catch {
      announce(say("not_copied"));
      button.dataset.copied = say("not_copied");
    }
    focused?.focus?.({ preventScroll: true });
    setTimeout(() => delete button.dataset.copied, 1600);
  };
  /** Words for those who listen to the page. */
  const announce = (text) => { document.getElementById("live").textContent = text; };

  /** The text of an element that holds it gzipped in base64; the element goes, as nobody needs it twice. */
  const unpack = async (id) => {
    const packed = document.getElementById(id);
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
    packed.remove();
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  const store = {
    put: (key, value) => { try { localStorage.setItem("qrm-forensics." + key, value); } catch { /* private mode: nothing to keep */ } },
    get: (key) => { try { return localStorage.getItem("qrm-forensics." + key); } catch { return null; } },
  };

  // Start: in the order of registration, when every file of the script has run.
  const waiting = [];
  queueMicrotask(() => {
    for (const fn of waiting) fn();
    started = true;
    for (const key of listeners.keys()) tell(key);
    root.dataset.ready = "true";
  });
  const onReady = (fn) => { if (started) fn(); else waiting.push(fn); };

  const one = { state, words, say, el, copyLink, announce, unpack, store, onReady };
  window.QRM = one;
  return one;
})();
