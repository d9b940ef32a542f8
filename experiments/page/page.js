"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const words = (text) => text.toLowerCase().match(/[a-z0-9+.]+/g) || [];
  const common = new Set("a an and are as at be by can do does for from how i in is it many of on or run the to under use what when which who why with".split(" "));

  // What can be found: its words weigh more in the title, and the rarer they are.
  const entries = [...document.querySelectorAll("[data-kind]")].map((element) => {
    const title = new Set(words(element.dataset.title.replace(/[_.:]/g, " ")));
    const text = new Set([...title, ...words(element.dataset.text)]);
    return { element, title, text };
  });
  const frequency = new Map();
  for (const entry of entries) for (const word of entry.text) frequency.set(word, (frequency.get(word) || 0) + 1);
  const weight = (word) => Math.log(1 + entries.length / (frequency.get(word) || 0.5));
  const same = (wanted, word) => word === wanted || (wanted.length > 3 && word.startsWith(wanted));
  const kinds = { question: 1.3, paper: 1.1, function: 1, namespace: 0.6 };

  function score(entry, wanted) {
    let sum = 0;
    for (const word of wanted) {
      if ([...entry.title].some((other) => same(word, other))) sum += 1.5 * weight(word);
      else if ([...entry.text].some((other) => same(word, other))) sum += weight(word);
    }
    return sum * kinds[entry.element.dataset.kind];
  }

  const most = 40;
  function search() {
    const all = words(by("query").value.replace(/_/g, " "));
    const telling = all.filter((word) => !common.has(word));
    const wanted = telling.length ? telling : all;
    by("found-section").hidden = !wanted.length;
    by("found").replaceChildren();
    if (!wanted.length) { by("found-count").textContent = ""; return; }
    const best = wanted.reduce((sum, word) => sum + weight(word), 0);
    const ranked = entries.map((entry) => [score(entry, wanted), entry]).filter(([value]) => value > 0.3 * best);
    ranked.sort(([a], [b]) => b - a);
    for (const [, { element }] of ranked.slice(0, most)) {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = "#" + element.id;
      link.textContent = element.dataset.title;
      const sentence = element.querySelector(".sentence");
      item.append(element.dataset.kind + ": ", link, " ", sentence ? sentence.textContent : "");
      by("found").append(item);
    }
    const more = ranked.length > most ? `, the best ${most} shown` : "";
    by("found-count").textContent = ranked.length ? `${ranked.length} found${more}` : "Nothing found";
  }

  // A link into a closed part of the page opens it.
  function open() {
    const target = by(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
      target.querySelector("summary").focus({ preventScroll: true });
    }
  }

  const rows = [...by("claim-table").tBodies[0].rows];
  const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  function filter() {
    const wanted = by("claim-words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [verdict, paper, question] = ["verdict", "paper", "question"].map((name) => by("claim-" + name).value);
    const method = by("claim-method").value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const { dataset } = row;
      const shown = wanted.every((word) => text.get(row).includes(word))
        && (!verdict || dataset.verdict === verdict) && (!paper || dataset.paper === paper)
        && (!question || dataset.question === question)
        && (!method || dataset.methods.toLowerCase().includes(method));
      row.hidden = !shown;
      count += shown;
    }
    by("claim-count").textContent = count === rows.length ? `${count} claims` : `${count} of ${rows.length} claims`;
  }

  by("search").addEventListener("submit", (event) => event.preventDefault());
  by("query").addEventListener("input", search);
  by("claim-filters").addEventListener("submit", (event) => event.preventDefault());
  by("claim-filters").addEventListener("input", filter);
  by("claim-filters").addEventListener("reset", () => setTimeout(filter));
  window.addEventListener("hashchange", open);
  search();
  filter();
  open();
})();
