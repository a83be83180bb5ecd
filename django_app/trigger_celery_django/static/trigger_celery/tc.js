// What pages gain from script; without it every link, form and figure works.
// No markup is built here and no style text is set: both would need a weaker content security policy.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const say = (text) => {
  const live = document.getElementById("tc-said");
  if (live) live.textContent = text;
};

// Copy an id; the clipboard API is missing on plain http.
const copying = (root) => {
  for (const button of all("[data-copy]", root)) {
    button.addEventListener("click", async () => {
      const text = button.dataset.copy;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        const box = Object.assign(document.createElement("textarea"), { value: text });
        document.body.append(box);
        box.select();
        document.execCommand("copy");
        box.remove();
        button.focus();
      }
      say("Copied");
    });
  }
};

// The trace: a list of links becomes a tree with one tab stop, folding, search, errors only and zoom.
class Trace {
  constructor(root) {
    this.root = root;
    this.rows = all(".row", root);
    this.find = root.querySelector("[data-find]");
    this.errors = root.querySelector("[data-errors]");
    this.list = root.querySelector(".rows");
    this.becomeTree();
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.click(event));
    for (const tool of all("[data-script]", root)) tool.hidden = false;
    this.find.addEventListener("input", () => this.refresh());
    this.errors.setAttribute("aria-pressed", "false");
    this.errors.addEventListener("click", () => {
      this.errors.setAttribute("aria-pressed", String(!this.errorsOnly));
      this.refresh();
    });
    this.zoom(root.querySelector("[data-zoom]"));
  }

  get errorsOnly() {
    return this.errors.getAttribute("aria-pressed") === "true";
  }

  becomeTree() {
    this.list.setAttribute("role", "tree");
    for (const row of this.rows) {
      row.setAttribute("role", "treeitem");
      row.setAttribute("aria-level", row.dataset.l);
      row.setAttribute("aria-selected", String(row.classList.contains("sel")));
      row.tabIndex = -1;
      row.querySelector("a").tabIndex = -1;
      if ("parent" in row.dataset) row.setAttribute("aria-expanded", "true");
    }
    const first = this.rows.find((row) => row.classList.contains("sel")) ?? this.rows[0];
    if (first) first.tabIndex = 0;
  }

  level(row) {
    return Number(row.dataset.l);
  }

  inside(row) {
    const next = this.rows.slice(this.rows.indexOf(row) + 1);
    const end = next.findIndex((each) => this.level(each) <= this.level(row));
    return end < 0 ? next : next.slice(0, end);
  }

  refresh() {
    const words = this.find.value.toLowerCase();
    let shutAt = Infinity;
    for (const row of this.rows) {
      if (this.level(row) <= shutAt) shutAt = Infinity;
      row.hidden = this.level(row) > shutAt;
      if (row.getAttribute("aria-expanded") === "false" && shutAt === Infinity) shutAt = this.level(row);
      const text = row.textContent.toLowerCase();
      const misses = (words && !text.includes(words)) || (this.errorsOnly && !/failed|lost/.test(text));
      row.classList.toggle("dimmed", Boolean(misses));
    }
  }

  open(row, isOpen) {
    row.setAttribute("aria-expanded", String(isOpen));
    row.classList.toggle("shut", !isOpen);
    this.refresh();
  }

  go(row) {
    if (!row) return;
    for (const each of this.rows) each.tabIndex = -1;
    row.tabIndex = 0;
    row.focus();
  }

  key(event) {
    const row = event.target.closest(".row");
    const seen = this.rows.filter((each) => !each.hidden);
    const at = seen.indexOf(row);
    const expanded = row.getAttribute("aria-expanded");
    const parent = () =>
      this.rows.slice(0, this.rows.indexOf(row)).reverse().find((each) => this.level(each) < this.level(row));
    const moves = {
      ArrowDown: () => this.go(seen[at + 1]),
      ArrowUp: () => this.go(seen[at - 1]),
      Home: () => this.go(seen[0]),
      End: () => this.go(seen.at(-1)),
      Enter: () => row.querySelector("a").click(),
      ArrowRight: () => (expanded === "false" ? this.open(row, true) : expanded && this.go(this.inside(row)[0])),
      ArrowLeft: () => (expanded === "true" ? this.open(row, false) : this.go(parent())),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }

  click(event) {
    const row = event.target.closest(".row");
    if (event.target.closest(".tw") && row.hasAttribute("aria-expanded")) {
      event.preventDefault();
      this.open(row, row.getAttribute("aria-expanded") === "false");
    } else if (event.target.closest(".bars")) {
      row.querySelector("a").click();
    }
  }

  zoom(zoom) {
    zoom.hidden = false;
    zoom.querySelector("input").addEventListener("input", (event) => {
      const by = event.target.value;
      zoom.querySelector("output").value = `${by}×`;
      const sheet = this.root.querySelector(".sheet");
      sheet.style.width = `${by * 100}%`;
      sheet.classList.toggle("zoomed", by > 1);
    });
  }
}

// A run that goes on: ask whether its page is out of date, and take over the new one.
const FIRST = 2000;
const LONGEST = 30000;

class LiveRun {
  constructor(page) {
    this.show(page);
    this.wait = FIRST;
    this.later();
  }

  show(page) {
    this.page = page;
    this.word(page.hasAttribute("data-live-run") ? "Live" : "");
  }

  word(text) {
    const live = this.page.querySelector("[data-live]");
    if (!live) return;
    live.hidden = !text;
    live.querySelector("[data-live-word]").textContent = text;
  }

  later() {
    if (this.page.hasAttribute("data-live-run")) setTimeout(() => this.ask(), this.wait);
  }

  async ask() {
    if (!document.hidden) {
      try {
        const url = `${this.page.dataset.poll}?v=${encodeURIComponent(this.page.dataset.version)}`;
        const answer = await fetch(url, { headers: { Accept: "application/json" } });
        if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
        this.wait = FIRST;
        this.word("Live");
        if (answer.status !== 204) await this.take();
      } catch {
        this.wait = Math.min(LONGEST, this.wait * 2);
        this.word(`Connection lost, next try in ${Math.round(this.wait / 1000)} s`);
      }
    }
    this.later();
  }

  async take() {
    const answer = await fetch(location.href);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-run]");
    if (!fresh) throw new Error("the page has no run");
    const focused = document.activeElement?.closest("[data-run] .row")?.querySelector("a").getAttribute("href");
    const words = this.page.querySelector("[data-find]").value;
    this.page.replaceWith(document.adoptNode(fresh));
    this.show(fresh);
    enhance(fresh);
    if (words) {
      const find = fresh.querySelector("[data-find]");
      find.value = words;
      find.dispatchEvent(new Event("input"));
    }
    if (focused) fresh.querySelector(`.row a[href="${CSS.escape(focused)}"]`)?.closest(".row").focus();
    say(fresh.querySelector(".badge").textContent);
  }
}

// Lists: how many are picked, all of the page.
const picking = (root) => {
  for (const form of all("form:has([data-picked])", root)) {
    form.addEventListener("change", (event) => {
      const boxes = all("tbody input[type=checkbox]", form);
      if (event.target.closest("thead")) for (const box of boxes) box.checked = event.target.checked;
      const count = boxes.filter((box) => box.checked).length;
      form.querySelector("[data-picked]").textContent = `${count} selected`;
    });
  }
};

const enhance = (root) => {
  copying(root);
  for (const trace of all("[data-trace]", root)) new Trace(trace);
};

enhance(document);
picking(document);
for (const page of all("[data-live-run]")) new LiveRun(page);

// On a phone the section that is shown is scrolled into sight.
for (const nav of all(".sections")) {
  const now = nav.querySelector("[aria-current]");
  if (now) nav.scrollLeft = now.offsetLeft - nav.offsetLeft - 40;
}

// "/" goes to the search unless something is being typed.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input,textarea,select")) return;
  const field = document.querySelector("[data-slash],[data-find]");
  if (!field) return;
  event.preventDefault();
  field.focus();
});
