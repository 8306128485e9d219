// The search field of every page. The index is loaded when the field gets the focus for the first time.
// Keys: `/` goes to the field, arrows go through the results, Enter opens the first, Escape closes.
"use strict";

(() => {
  const MOST = 12;
  const AROUND = 70; // characters of a section's text on each side of the first word found
  const FUZZY = (term) => (term.length > 4 ? 0.2 : false);
  // All words; all words or words like them; any of them. The first that finds something is shown.
  const WAYS = [{ combineWith: "AND" }, { combineWith: "AND", fuzzy: FUZZY }, { combineWith: "OR", fuzzy: FUZZY }];
  const form = document.querySelector("form.search");
  const field = form.querySelector("input");
  const status = form.querySelector("[role=status]");
  const list = form.querySelector("ul");
  const folder = new URL(".", document.currentScript.src);
  let engine = null;

  const loaded = (name) =>
    new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = new URL(name, folder);
      script.onload = done;
      script.onerror = () => failed(new Error(`${name} cannot be loaded`));
      document.head.append(script);
    });

  const load = () => {
    engine ??= Promise.all([loaded("minisearch.js"), loaded("search-index.js")]).then(() =>
      MiniSearch.loadJS(window.searchIndex.index, window.searchIndex.options),
    );
    return engine;
  };

  /** Sections, best first; those with the words just as they were typed before others. */
  const find = (search, words) => {
    const typed = words.toLowerCase();
    const has = (section) => `${section.heading} ${section.text}`.toLowerCase().includes(typed);
    const how = { prefix: true, boost: { heading: 4, page: 2 }, boostDocument: (_, __, section) => (has(section) ? 4 : 1) };
    for (const way of WAYS) {
      const found = search.search(words, { ...how, ...way });
      if (found.length) return found.slice(0, MOST);
    }
    return [];
  };

  /** Text with the words that were found marked in it. */
  const marked = (tag, name, text, terms) => {
    const element = document.createElement(tag);
    element.className = name;
    const any = terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    text.split(new RegExp(`(${any})`, "giu")).forEach((part, number) => {
      const node = number % 2 ? document.createElement("mark") : document.createTextNode("");
      node.textContent = part;
      element.append(node);
    });
    return element;
  };

  /** The part of a text around the first of the words. */
  const around = (text, terms) => {
    const places = terms.map((term) => text.toLowerCase().indexOf(term)).filter((place) => place >= 0);
    const begin = Math.max(0, Math.min(...(places.length ? places : [0])) - AROUND);
    const end = begin + 2 * AROUND;
    return (begin ? "… " : "") + text.slice(begin, end).trim() + (end < text.length ? " …" : "");
  };

  const item = (found) => {
    const link = document.createElement("a");
    link.href = new URL(`../${found.url}`, folder);
    const place = found.heading === found.page ? "" : found.page;
    link.append(marked("b", "heading", found.heading, found.terms), " ");
    link.append(marked("span", "page", place, found.terms));
    link.append(marked("span", "text", around(found.text, found.terms), found.terms));
    const row = document.createElement("li");
    row.append(link);
    return row;
  };

  const close = () => {
    list.replaceChildren();
    status.textContent = "";
    form.classList.remove("open");
  };

  const show = async () => {
    const words = field.value.trim();
    if (!words) return close();
    let results;
    try {
      results = find(await load(), words);
    } catch (error) {
      form.classList.add("open");
      status.textContent = `The search does not work: ${error.message}.`;
      return;
    }
    if (words !== field.value.trim()) return; // typed on meanwhile
    list.replaceChildren(...results.map(item));
    const count = results.length === MOST ? `The ${MOST} best results` : `${results.length} results`;
    status.textContent = results.length ? (results.length === 1 ? "1 result" : count) : `No results for “${words}”.`;
    form.classList.add("open");
  };

  /** The focus goes to the next place of field and results, or to the one before. */
  const step = (by) => {
    const places = [field, ...list.querySelectorAll("a")];
    const next = places[places.indexOf(document.activeElement) + by];
    if (next) next.focus();
  };

  form.hidden = false;
  field.addEventListener("focus", () => load().catch(() => {}));
  field.addEventListener("input", show);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await show();
    list.querySelector("a")?.click();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      step(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Escape") {
      close();
      field.value = "";
      field.focus();
    }
  });
  form.addEventListener("click", (event) => {
    if (event.target.closest("a")) close(); // a heading of this page loads nothing anew
  });
  document.addEventListener("click", (event) => {
    if (!form.contains(event.target)) close();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    event.preventDefault();
    field.focus();
  });
})();
