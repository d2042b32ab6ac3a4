/* The few things OCCM's pages do by themselves: show the fields that apply, lists with one input
   per value, dialogs before an action, and parts that keep themselves up to date. No framework. */
"use strict";

const LIVE_EVERY_MS = 3000;

/* Fields that apply: data-when='{"field": "key_algorithm", "values": ["RSA"]}' on a field's row. */
function followFields(form) {
  const rows = [...form.querySelectorAll("[data-when]")];
  if (!rows.length) return;
  const rules = new Map(rows.map((row) => [row.dataset.field, JSON.parse(row.dataset.when)]));
  const value = (name) => {
    const input = form.elements[name];
    if (!input) return null;
    return input.type === "checkbox" ? (input.checked ? "True" : "False") : input.value;
  };
  const applies = (name) => {
    const rule = rules.get(name);
    return !rule || (rule.values.includes(value(rule.field)) && applies(rule.field));
  };
  const show = () => rows.forEach((row) => { row.hidden = !applies(row.dataset.field); });
  form.addEventListener("change", show);
  show();
}

/* Lists: the buttons of occm/list_widget.html. */
document.addEventListener("click", (event) => {
  const add = event.target.closest("[data-list-add]");
  const remove = event.target.closest("[data-list-remove]");
  if (add) {
    const list = add.closest("[data-list]");
    const row = list.querySelector("template").content.cloneNode(true);
    list.querySelector(".oc-list-rows").append(row);
    list.querySelector(".oc-list-row:last-child input").focus();
  }
  if (remove) {
    const list = remove.closest("[data-list]");
    remove.closest(".oc-list-row").remove();
    list.querySelector("[data-list-add]").focus();
  }
});
document.addEventListener("keydown", (event) => {
  const input = event.target;
  if (event.key === "Enter" && input.matches && input.matches("[data-list] input")) {
    event.preventDefault(); // the next value, not the whole form
    input.closest("[data-list]").querySelector("[data-list-add]").click();
  }
});

/* Dialogs: a button with data-dialog="id" opens <dialog id="id">, whose form asks by POST. */
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog).showModal();
  const closer = event.target.closest("[data-dialog-close]");
  if (closer) closer.closest("dialog").close();
});

/* Times: <time datetime="…" data-countdown> shows how long until then. */
function until(moment) {
  const left = Math.round((new Date(moment) - Date.now()) / 1000);
  if (left <= 0) return "now";
  if (left < 100) return `in ${left} s`;
  if (left < 6000) return `in ${Math.round(left / 60)} min`;
  if (left < 172800) return `in ${Math.round(left / 3600)} h`;
  return `in ${Math.round(left / 86400)} days`;
}
function tick() {
  document.querySelectorAll("time[data-countdown]").forEach((time) => {
    const text = until(time.dateTime);
    if (time.textContent !== text) time.textContent = text;
  });
}

/* Live parts: data-live="address" is fetched again and again, and replaced when it differs. */
function keepLive(part) {
  const every = Number(part.dataset.every || LIVE_EVERY_MS);
  let shown = part.innerHTML;
  const look = async () => {
    if (!document.hidden && !document.querySelector("dialog[open]") && !selecting(part)) {
      try {
        const answer = await fetch(part.dataset.live || location.href, {
          headers: { "X-Occm-Live": "1" },
          credentials: "same-origin",
        });
        if (answer.redirected || answer.status === 403 || answer.status === 404) return; // no more
        part.toggleAttribute("data-stale", !answer.ok);
        if (answer.ok) shown = replace(part, shown, await answer.text());
      } catch {
        part.setAttribute("data-stale", ""); // the server is away: say so, and go on asking
      }
    }
    setTimeout(look, every);
  };
  setTimeout(look, every);
}
function replace(part, shown, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  if (fresh.innerHTML === shown) return shown;
  const focus = part.contains(document.activeElement) ? name(document.activeElement) : null;
  part.innerHTML = html;
  if (focus) [...part.querySelectorAll("a, button")].find((one) => name(one) === focus)?.focus();
  tick();
  return fresh.innerHTML;
}
function name(element) {
  return element.dataset.dialog || element.getAttribute("href");
}
function selecting(part) {
  const selection = getSelection();
  return !selection.isCollapsed && part.contains(selection.anchorNode);
}

/* What unfold's templates leave out for those who listen: the main part, and icons without words. */
function forListeners() {
  document.getElementById("main")?.setAttribute("role", "main");
  document.querySelectorAll(".material-symbols-outlined").forEach((icon) => {
    if (icon.parentElement.textContent.trim() !== icon.textContent.trim()) icon.ariaHidden = "true";
  });
}

document.addEventListener("DOMContentLoaded", () => {
  forListeners();
  document.querySelectorAll("form").forEach(followFields);
  document.querySelectorAll("[data-live]").forEach(keepLive);
  tick();
  setInterval(tick, 1000);
});
