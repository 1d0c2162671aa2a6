"use strict";
/* Keyboard commands, and the dialog that lists them. */
(() => {
  const commands = new Map();
  const typing = (e) => e.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");
  // A Korean or Chinese input method reports the letter it would write; the place of the key says which was meant.
  const pressed = (event) => {
    if (event.key.length === 1 && event.key.charCodeAt(0) < 128) return event.key;
    const letter = /^Key([A-Z])$/.exec(event.code);
    if (letter) return event.shiftKey ? letter[1] : letter[1].toLowerCase();
    return event.code === "Slash" ? (event.shiftKey ? "?" : "/") : event.key;
  };
  QRM.keys = {
    /** `fn(event)` when `key` is pressed and nobody is typing.  `label`: `{en: …, ko: …}` or the catalogue key `js.<label>`. */
    add(key, label, fn) { commands.set(key, { label, fn }); },
    typing,
  };
  const name = (label) => (typeof label === "string" ? QRM.say(label) : label[document.documentElement.lang] ?? label.en);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing(event.target)) return;
    const command = commands.get(pressed(event));
    const dialog = document.querySelector("dialog[open]");
    if (!command || (dialog && !dialog.hasAttribute("data-keys"))) return; // a dialog keeps the keys unless it asks for them
    event.preventDefault();
    command.fn(event);
  });

  const dialog = document.getElementById("help");
  const help = () => {
    const list = dialog.querySelector("dl");
    list.replaceChildren(...[...commands].flatMap(([key, { label }]) => {
      const dt = document.createElement("dt");
      dt.append(Object.assign(document.createElement("kbd"), { textContent: key }));
      return [dt, Object.assign(document.createElement("dd"), { textContent: name(label) })];
    }));
    dialog.lang = document.documentElement.lang;
    dialog.querySelector("h2").textContent = QRM.say("keys");
    dialog.querySelector("button").setAttribute("aria-label", QRM.say("close"));
    dialog.showModal();
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("button")) dialog.close(); });
  document.querySelector("[data-help]").addEventListener("click", help);
  QRM.keys.add("?", "keys", help);
})();
