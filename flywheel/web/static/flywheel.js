// What the pages can do beyond plain forms: the keyboard, no reload, the next item fetched ahead.
// Every action here is a form or a link of the page, sent by fetch instead of by the browser.
"use strict";

(() => {
  const HEARTBEAT_MS = 60_000;
  const DIFF_AFTER_MS = 250;
  // Longer text is compared when it is saved, not at each pause.
  const DIFF_UP_TO = 200_000;
  const KEEPALIVE_UP_TO = 30_000;
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  let ahead = null; // {after, until, url, page} of the next item, already claimed
  let saving = Promise.resolve(); // decisions under way, one after the other
  let heartbeat = 0;
  let diffTimer = 0;
  let shownAt = Date.now();
  let shownUrl = location.pathname + location.search;
  const leafed = []; // pages that were left for the next item
  const drafts = localStorage;
  const saved = new Map(); // what was saved from this page, in case it is taken back

  const itemMain = () => $("main[data-item-id]");
  const itemId = () => itemMain()?.dataset.itemId;
  const isTyping = (element) => element.matches?.("textarea, select, input:not([type=radio], [type=checkbox])");

  function say(text) {
    const said = $("#said");
    said.textContent = text;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { said.textContent = ""; }, 4000);
  }

  // --- Pages without a reload

  async function fetchPage(url, options = {}) {
    const answer = await fetch(url, {
      ...options,
      headers: { "X-Flywheel-Script": "1", ...options.headers },
    });
    if (new URL(answer.url).pathname === "/login" && itemMain()) location.assign(answer.url);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    return { ok: answer.ok, status: answer.status, url: answer.url, page };
  }

  const sentence = (page) => $(".notice, main p", page)?.textContent.trim() || "That did not work.";

  function show(page, url, keepHistory = false) {
    const fresh = $("main", page);
    if (!fresh) { location.assign(url); return; }
    $("main").replaceWith(document.adoptNode(fresh));
    for (const selector of [".keys", "dialog"]) {
      const [old, made] = [$(selector), $(selector, page)];
      if (old && made) old.replaceWith(document.adoptNode(made));
      else if (old) old.remove();
      else if (made) document.body.append(document.adoptNode(made));
    }
    document.title = page.title;
    if (page.body.dataset.csrf) document.body.dataset.csrf = page.body.dataset.csrf;
    if (!keepHistory) history.pushState(null, "", url);
    shownUrl = location.pathname + location.search;
    setUp();
  }

  async function visit(url) {
    const got = await fetchPage(url);
    show(got.page, got.url);
  }

  // --- One item

  function setUp() {
    clearInterval(heartbeat);
    const main = $("main");
    shownAt = Date.now();
    if (!itemId()) { window.scrollTo(0, 0); return; }
    restoreDraft();
    const flagged = $(".is-flagged, .is-target", main);
    const target = location.hash.startsWith("#m") ? document.getElementById(location.hash.slice(1)) : flagged;
    window.scrollTo(0, 0);
    const isBelow = target && target.getBoundingClientRect().bottom > window.innerHeight - 80;
    if (isBelow) target.scrollIntoView({ block: "center" });
    main.focus({ preventScroll: true });
    if (main.dataset.held) {
      beat();
      heartbeat = setInterval(beat, HEARTBEAT_MS);
      lookAhead();
    }
  }

  async function beat() {
    if (document.hidden || !itemId()) return;
    const answer = await post(`/items/${itemId()}/heartbeat`).catch(() => null);
    if (answer?.status === 409) say("Your hold on this item ran out and somebody else has it now.");
  }

  function post(url, fields = {}) {
    const body = new URLSearchParams({ csrf: document.body.dataset.csrf, ...fields });
    return fetch(url, { method: "POST", body, headers: { "X-Flywheel-Script": "1" } });
  }

  async function lookAhead() {
    const main = itemMain();
    if (!main?.dataset.next || ahead?.after === main.dataset.itemId) return;
    ahead = null;
    const after = main.dataset.itemId;
    const got = await fetchPage(main.dataset.next).catch(() => null);
    // Nobody holds it by a heartbeat: after half the lease it is asked for again.
    const until = Date.now() + 500 * Number(main.dataset.lease);
    if (got?.ok && itemId() === after) ahead = { after, until, url: got.url, page: got.page };
  }

  const isReady = () => ahead && ahead.after === itemId() && Date.now() < ahead.until;

  async function goOn(next) {
    const ready = isReady() ? ahead : null;
    ahead = null;
    if (ready) show(ready.page, ready.url);
    else await visit(next);
  }

  // What is typed outlives a lost hold, a stopped server, a wrong key and a closed tab, until it is
  // saved or somebody signs out.
  const draftKey = () => `draft ${itemId()}`;
  const isOfEditor = (name) => name.startsWith("call_") || name.startsWith("corrected_");

  function keepDraft() {
    const form = $("#decide");
    if (!form) return;
    const said = [...new FormData(form)].filter(([name]) => name !== "csrf" && name !== "then");
    drafts.setItem(draftKey(), JSON.stringify(said));
  }

  function restoreDraft() {
    const form = $("#decide");
    const isDecided = $("#decide input[name=perceived_error][checked]");
    const before = isDecided ? null : saved.get(draftKey());
    const kept = JSON.parse(drafts.getItem(draftKey()) ?? before ?? "[]");
    if (!form) { showDraft(kept); return; }
    const said = Object.fromEntries(kept);
    const isSameAnswer = said.corrected_turn === form.elements.namedItem("corrected_turn")?.value;
    for (const [name, value] of kept) {
      const field = form.elements.namedItem(name);
      if (!field || field.value === value || (isOfEditor(name) && !isSameAnswer)) continue;
      field.value = value;
      const editor = field.closest?.("details");
      if (editor) editor.open = true;
    }
  }

  // Where nothing can be decided any more, what was written can still be read and copied.
  function showDraft(kept) {
    const written = kept.filter(([name, value]) => value.trim() && /^(reason$|corrected_text|call_arg)/.test(name));
    if (!written.length) return;
    const [notice, label, text] = ["div", "label", "textarea"].map((tag) => document.createElement(tag));
    notice.className = "notice field";
    label.htmlFor = text.id = "draft";
    label.textContent = "What you wrote here, and nobody saved";
    text.readOnly = true;
    text.value = written.map(([, value]) => value).join("\n\n");
    notice.append(label, text);
    $("main").prepend(notice);
  }

  // The next item is shown at once; what the server says of this one comes after, and brings it back
  // where it was refused.
  async function decide(form) {
    if (form.dataset.sent) return; // a key that was pressed twice
    form.dataset.sent = "yes";
    const here = location.pathname + location.search;
    const main = itemMain();
    const draft = draftKey();
    const fields = new FormData(form);
    fields.set("seconds", String(Math.round((Date.now() - shownAt) / 100) / 10));
    // Sent to its end though the tab be closed, where it is short enough for that.
    const length = [...fields.values()].reduce((sum, value) => sum + value.length, 0);
    const keepalive = length < KEEPALIVE_UP_TO / 2;
    const sent = saving.then(() => fetchPage(form.action, { method: "POST", body: fields, keepalive }));
    saving = sent.catch(() => null);
    const isAhead = isReady();
    if (isAhead) await goOn(main.dataset.next);
    let got;
    try {
      got = await sent;
    } catch {
      // The page cannot be asked for again, and what was sent is still here.
      delete form.dataset.sent;
      if (!main.isConnected) { $("main").replaceWith(main); history.replaceState(null, "", here); setUp(); }
      say("The server did not answer; nothing was saved. Your words are still here.");
      return;
    }
    if (!got.ok) { await visit(here); say(sentence(got.page)); return; }
    saved.set(draft, drafts.getItem(draft) ?? "[]");
    drafts.removeItem(draft);
    if (isAhead) say("Saved.");
    else { ahead = null; show(got.page, got.url); }
  }

  async function act(form) {
    say("");
    await saving;
    const got = await fetchPage(form.action, { method: "POST", body: new FormData(form) });
    if (!got.ok) { say(sentence(got.page)); return; }
    ahead = null;
    show(got.page, got.url);
  }

  async function skip(form) {
    say("");
    await saving;
    const main = itemMain();
    const got = await fetchPage(form.action, { method: "POST", body: new FormData(form) });
    if (got.ok) await goOn(main.dataset.next);
    else say(sentence(got.page));
  }

  async function liveDiff() {
    const main = itemMain();
    const shown = $(".diff");
    if (!main || !shown) return;
    const fields = new FormData($("#decide"));
    if ((fields.get("corrected_text") ?? "").length > DIFF_UP_TO) {
      shown.textContent = "This text is compared when it is saved.";
      return;
    }
    const answer = await fetch(`/items/${main.dataset.itemId}/diff`, {
      method: "POST", body: fields, headers: { "X-Flywheel-Script": "1" },
    });
    if (answer.ok) shown.innerHTML = await answer.text();
  }

  // --- Events, all of them on the document: pages come and go

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const how = form.dataset.live;
    if (form.action.endsWith("/logout")) drafts.clear();
    if (!how) return;
    event.preventDefault();
    if (how === "decide") decide(form);
    else if (how === "skip") skip(form);
    else act(form);
  });

  document.addEventListener("input", (event) => {
    if (!event.target.matches("textarea, input[type=text]") || !itemId()) return;
    keepDraft();
    if (event.target.closest(".editor")) {
      clearTimeout(diffTimer);
      diffTimer = setTimeout(liveDiff, DIFF_AFTER_MS);
    }
  });

  document.addEventListener("change", (event) => {
    const field = event.target;
    if (field.form?.id === "decide") keepDraft();
    if (field.closest("form[data-filter]")) field.form.requestSubmit();
    if (field.matches("input[data-all]")) {
      for (const box of $$("input[name=item_ids]")) box.checked = field.checked;
    }
  });

  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-into]");
    const opener = event.target.closest("[data-opens]");
    if (opener) { event.preventDefault(); $(opener.dataset.opens).showModal(); }
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const got = await fetchPage(link.href);
    if (!got.ok) { say(sentence(got.page)); return; }
    if (link.dataset.into === "body") {
      link.closest(".message").querySelector(".body").replaceWith(document.adoptNode($(".body", got.page)));
      link.remove();
      return;
    }
    const list = $("ol.messages");
    const messages = $$("ol.messages > li", got.page).filter((li) => !document.getElementById(li.id));
    const further = $(`a[data-into=${link.dataset.into}]`, got.page)?.parentElement;
    if (link.dataset.into === "before") {
      const anchor = list.firstElementChild;
      const top = anchor.getBoundingClientRect().top;
      list.prepend(...messages);
      window.scrollBy(0, anchor.getBoundingClientRect().top - top);
    } else {
      list.append(...messages);
    }
    if (further) link.parentElement.replaceWith(document.adoptNode(further));
    else link.parentElement.remove();
  });

  const CODES = "123456";
  const keys = {
    y: () => choose("yes"),
    n: () => { if (choose("no")) saveAtOnce(); },
    e: () => openEditor(),
    E: () => editBefore(),
    s: () => $("#skip")?.requestSubmit(),
    d: () => $("#decline")?.requestSubmit(),
    u: () => $("#undo")?.requestSubmit(),
    c: () => focusOn("#comment-text"),
    j: () => follow("#next"),
    ArrowRight: () => follow("#next"),
    k: () => follow("#previous"),
    ArrowLeft: () => follow("#previous"),
    "?": () => $("#help")?.showModal(),
  };

  function choose(value) {
    const radio = $(`#decide input[name=perceived_error][value=${value}]`);
    if (!radio) return false;
    radio.checked = true;
    radio.focus({ preventScroll: true });
    return true;
  }

  function chooseCode(number) {
    if (!$("#decide input[value=yes]:checked")) return;
    const radio = $$("#decide input[name=reason_code][data-key]")[number];
    if (!radio) return;
    radio.checked = true;
    saveAtOnce();
  }

  // Who is writing may not have come to the end.
  function saveAtOnce() {
    const isWriting = $(".editor[open]") || $("#decide textarea[name=reason]").value.trim();
    if (isWriting) { keepDraft(); say("Ctrl + Enter saves it, with what you wrote."); }
    else $("#decide").requestSubmit();
  }

  function openEditor() {
    const editor = $(".editor");
    if (!editor) return;
    editor.open = true;
    editor.scrollIntoView({ block: "center" });
    $("textarea, input[type=text]", editor)?.focus({ preventScroll: true });
  }

  // The editor of the answer before the one that is being edited; the page brings it open.
  async function editBefore() {
    const here = $(".editor")?.closest(".message");
    const links = $$("a[data-correct]");
    const before = links.filter((link) => here && link.compareDocumentPosition(here) & Node.DOCUMENT_POSITION_FOLLOWING);
    const link = before.at(-1) ?? links.at(-1);
    if (!link) return;
    await visit(link.href);
    openEditor();
  }

  function focusOn(selector) {
    const field = $(selector);
    const fold = field?.closest("details");
    if (fold) fold.open = true;
    field?.focus();
  }

  async function follow(selector) {
    const link = $(selector);
    if (!link) return;
    say("");
    await saving;
    if (selector === "#next") {
      leafed.push(location.pathname + location.search);
      await goOn(link.href);
    } else {
      ahead = null;
      await visit(leafed.pop() ?? link.href);
    }
  }

  document.addEventListener("keydown", (event) => {
    if (!itemMain() && !$("#undo")) return;
    const isSave = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    // A key that is held down would decide on items that nobody has seen.
    if (event.repeat && (isSave || !isTyping(event.target))) return;
    if (isSave) {
      event.preventDefault();
      (event.target.closest("form:not(#decide)") || $("#decide"))?.requestSubmit();
      return;
    }
    if (event.key === "Escape" && isTyping(event.target)) { event.target.blur(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || $("dialog[open]")) return;
    if (CODES.includes(event.key)) { chooseCode(Number(event.key) - 1); return; }
    const action = keys[event.key];
    // Arrows within a group of radio buttons choose among them.
    if (!action || (event.key.startsWith("Arrow") && event.target.type === "radio")) return;
    event.preventDefault();
    action();
  });

  document.addEventListener("visibilitychange", () => { if (itemMain()?.dataset.held) beat(); });
  window.addEventListener("unhandledrejection", () => say("The server did not answer; try again."));
  window.addEventListener("popstate", async () => {
    // A place on the same page.
    if (location.pathname + location.search === shownUrl) return;
    const got = await fetchPage(location.href);
    show(got.page, got.url, true);
  });

  setUp();
})();
