// The script editor: turns in the colours of their speakers behind the text, buttons and keys that type for you.
(() => {
  "use strict";
  const SPEAKER = /\[\s*s\s*([12])\s*\]/gi;
  const NAME = /^([A-Z][^:\n\[\](){}<>"]{0,30}):(?=\s)/gm;
  const MARKS = /\[\s*s\s*[12]\s*\]|\([^()\n]{1,40}\)|\[pause[^\]\n]{0,30}\]/gi;
  const KEPT = "dia-script";
  const area = () => document.querySelector("#dia-script textarea");
  const escaped = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

  // Where turns begin, and the number of who speaks: at [S1] and [S2], or where lines begin with a name and a colon.
  function turnsOf(text) {
    const tagged = [...text.matchAll(SPEAKER)].map((cut) => [cut.index, Number(cut[1])]);
    if (tagged.length) return tagged;
    const names = [];
    return [...text.matchAll(NAME)].map((cut) => {
      if (!names.includes(cut[1])) names.push(cut[1]);
      return [cut.index, (names.indexOf(cut[1]) % 4) + 1];
    });
  }

  // Each turn as a span of its speaker's colour, marks in it standing out; exactly the text, letter for letter.
  function coloured(text) {
    const turns = turnsOf(text);
    const parts = turns.map(([start, speaker], i) => [speaker, text.slice(start, i + 1 < turns.length ? turns[i + 1][0] : undefined)]);
    parts.unshift([1, turns.length ? text.slice(0, turns[0][0]) : text]);
    return parts
      .filter(([, words]) => words)
      .map(([speaker, words]) => `<span class="dia-t${speaker}">${escaped(words).replace(MARKS, "<b>$&</b>")}</span>`)
      .join("") + "\n";
  }

  // The script outlives a page that is loaded again, as Gradio does by itself once a server is back. Browsers may forbid it.
  function keep(text) {
    try { sessionStorage.setItem(KEPT, text); } catch { /* then it does not */ }
  }
  function kept() {
    try { return sessionStorage.getItem(KEPT); } catch { return null; }
  }
  let before = kept();

  // Lays the coloured text exactly under the text area, whose own letters become transparent.
  function dress(field) {
    const under = document.createElement("div");
    under.className = "dia-under";
    under.setAttribute("aria-hidden", "true");
    field.parentElement.insertBefore(under, field);
    field.parentElement.classList.add("dia-dressed");
    let last = null;
    const follow = () => {
      if (field.value !== last) {
        last = field.value;
        under.innerHTML = coloured(last);
        keep(last);
      }
      const style = getComputedStyle(field);
      for (const name of ["font", "letterSpacing", "padding", "borderWidth", "lineHeight", "textAlign"]) {
        under.style[name] = style[name];
      }
      under.style.left = `${field.offsetLeft}px`;
      under.style.top = `${field.offsetTop}px`;
      under.style.width = `${field.offsetWidth}px`;
      const scrollbar = field.offsetWidth - field.clientWidth - 2 * parseFloat(style.borderLeftWidth);
      under.style.paddingRight = `${parseFloat(style.paddingRight) + scrollbar}px`;
      under.style.height = `${field.offsetHeight}px`;
      under.scrollTop = field.scrollTop;
    };
    field.addEventListener("input", follow);
    field.addEventListener("scroll", follow);
    new ResizeObserver(follow).observe(field);
    // Text that the server puts in raises no event here.
    setInterval(() => { if (field.value !== last && field.isConnected) follow(); }, 200);
    if (before !== null) setTimeout(put, 0, field, before); // once Gradio listens to the field
    before = null;
    follow();
  }

  function put(field, text) {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function type(text, replaceAll = false) {
    const field = area();
    if (!field) return;
    field.focus();
    if (replaceAll) field.select();
    // The one way that keeps the browser's undo; it is old but everywhere.
    if (!document.execCommand("insertText", false, text)) {
      field.setRangeText(text, field.selectionStart, field.selectionEnd, "end");
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }

  function nextTurn() {
    const field = area();
    if (!field) return;
    const before = field.value.slice(0, field.selectionStart);
    const said = [...before.matchAll(SPEAKER)];
    const speaker = said.length && said[said.length - 1][1] === "1" ? 2 : 1;
    const newline = before === "" || before.endsWith("\n") ? "" : "\n";
    type(`${newline}[S${speaker}] `);
  }

  const press = (id) => { const button = document.getElementById(id); if (button && !button.disabled) button.click(); };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".dia-toolbar button");
    if (!button) return;
    if (button.dataset.insert) type(button.dataset.insert);
    else if (button.dataset.script) type(button.dataset.script, true);
    else nextTurn();
    const menu = button.closest("details");
    if (menu) menu.open = false;
  });
  // A menu closes where people expect it to: at a click beside it, at Escape.
  const openMenus = () => [...document.querySelectorAll(".dia-toolbar details[open]")];
  document.addEventListener("pointerdown", (event) => {
    for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const [menu] = openMenus();
    if (event.key === "Escape" && menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
      event.preventDefault();
      return;
    }
    const isInScript = event.target === area();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && isInScript) press("dia-speak");
    else if (event.key === "Enter" && event.altKey && isInScript) nextTurn();
    else if (event.key === "Escape") press("dia-stop");
    else return;
    event.preventDefault();
  });

  // Gradio builds its components late and again; whatever is new gets its clothes.
  const tend = () => {
    const field = area();
    if (field && !field.dataset.dressed) { field.dataset.dressed = "yes"; dress(field); }
    for (const time of document.querySelectorAll("time[data-time]:not([data-shown])")) {
      time.dataset.shown = "yes";
      time.textContent = new Date(time.dataset.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    }
  };
  new MutationObserver(tend).observe(document.documentElement, { childList: true, subtree: true });
  tend();
})();
