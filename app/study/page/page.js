// A rater's page: sends its form until it is stored, keeps what was filled in, and holds the check and the call.
//
// A form has one key from its first sight to its storing, so sending it again is safe. What is filled in lies in the
// browser until then; a reload, a closed window or a server that is away loses nothing.

const AGAIN = 2000; // ms until a form that could not be stored is sent again
const one = (selector, from = document) => from.querySelector(selector);

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// Send until there is an answer that is not "again". `saying` hears why it takes longer.
async function send(to, what, saying = () => {}) {
  for (;;) {
    let said;
    try {
      const answer = await fetch(to, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what) });
      if (answer.status === 429) said = { error: "One moment, please.", again: true };
      else said = await answer.json();
    } catch {
      said = { error: "The study cannot be reached. Your answers are safe on this page; we try again by ourselves.", again: true };
    }
    if (!said.again) return said;
    saying(said.error);
    await wait(AGAIN);
  }
}

function goOn({ next }) {
  location.assign(next);
}

class Draft {
  constructor(form) {
    this.name = `duologue ${form.dataset.form}`;
    const kept = JSON.parse(localStorage.getItem(this.name) ?? "null");
    this.kept = kept ?? { key: [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join(""), values: [], seconds: 0 };
    this.before = this.kept.seconds;
    this.since = performance.now();
    for (const [name, value] of this.kept.values) {
      for (const field of form.elements[name]?.length && !form.elements[name].tagName ? form.elements[name] : [form.elements[name]]) {
        if (!field) continue;
        if (field.type === "radio" || field.type === "checkbox") field.checked ||= field.value === value;
        else field.value = value;
      }
    }
    form.addEventListener("input", () => this.keep(form));
  }

  get seconds() {
    return this.before + (performance.now() - this.since) / 1000;
  }

  keep(form) {
    this.kept.values = [...new FormData(form)];
    this.kept.seconds = this.seconds;
    localStorage.setItem(this.name, JSON.stringify(this.kept));
  }

  drop() {
    localStorage.removeItem(this.name);
  }
}

function read(form, draft) {
  const data = new FormData(form), answers = {};
  for (const [name, value] of data) if (name !== "choices" && name !== "comment") answers[name] = value;
  return { form: form.dataset.form, key: draft.kept.key, seconds: draft.seconds, answers,
    choices: data.getAll("choices"), comment: data.get("comment") ?? "" };
}

function mark(form, missing) {
  for (const set of form.querySelectorAll("fieldset")) set.classList.toggle("missing", missing.includes(set.dataset.question));
  one("fieldset.missing input", form)?.focus();
}

// Show what is going on while a form is sent, and what came of it. True if it was stored.
async function deliver(form, to, what) {
  const error = one(".error", form), status = one(".sending", form);
  const buttons = [...form.querySelectorAll("button")].filter((button) => !button.disabled);
  const show = (words) => { error.textContent = words; error.hidden = !words; };
  show("");
  mark(form, []);
  status.textContent = "Sending";
  for (const button of buttons) button.disabled = true;
  const said = await send(to, what, show);
  status.textContent = "";
  if (said.error) {
    for (const button of buttons) button.disabled = false;
    show(said.error);
    mark(form, said.missing ?? []);
    return undefined;
  }
  return said;
}

for (const form of document.querySelectorAll("form[data-form]:not([data-form=consent], [data-form=devices])")) {
  const draft = new Draft(form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = await deliver(form, form.dataset.to, read(form, draft));
    if (said) { draft.drop(); goOn(said); }
  });
}

for (const form of document.querySelectorAll("form[data-form=consent]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = event.submitter?.value === "yes";
    const said = await deliver(form, form.dataset.to, { ...JSON.parse(form.dataset.sent), given });
    if (said?.next) goOn(said);
    else if (said) one("main").innerHTML = "<h1>You do not take part</h1><p role=status>That is fine. Nothing was stored, and you can close this page.</p>";
  });
}

for (const form of document.querySelectorAll("form[data-problem]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = await deliver(form, "/study/problem", { comment: new FormData(form).get("comment") });
    if (said) goOn(said);
  });
}

const check = one("#check");
if (check) {
  const { mountCheck } = await import("/live/check.js");
  const form = one("form[data-form=devices]"), good = one("[name=good]", form), anyway = one("[name=anyway]", form);
  let poor = 0;
  mountCheck(check, {
    processing: JSON.parse(check.dataset.processing),
    async onDone(result) {
      form.hidden = false;
      const fine = result.quiet && result.ears === result.trials;
      if (!fine) poor++;
      const said = await deliver(form, form.dataset.to, result);
      good.disabled = anyway.disabled = false;
      good.hidden = !fine;
      anyway.hidden = fine || poor < 2;
      if (said && fine) good.focus();
      form.onsubmit = async (event) => {
        event.preventDefault();
        const done = fine ? said : await deliver(form, form.dataset.to, { ...result, anyway: true });
        if (done) goOn(done);
      };
    },
  });
}

const call = one("#call");
if (call) {
  const { mountCall } = await import("/live/call.js");
  mountCall(call, {
    going: JSON.parse(call.dataset.going),
    async invite() {
      const settings = await send("/study/talk", {});
      if (settings.error) throw new Error(settings.error);
      return settings;
    },
    onEnded({ outcome }) {
      if (outcome === "done" || outcome === "voided") location.assign("/study");
    },
  });
}
