// The call as one person sees it: one button, the state in plain words, a ring that moves with the voice, and, where
// the caller names them, buttons that mark a moment.
//
//   mountCall(element, { invite, going, onToken, onEnded }) -> { unmount }
//
// invite()        a promise of what `call_settings` on the server made: token, packet, prebuffer, processing, moments
// going           true: the talk has begun already (the page was loaded anew), so the button goes on with it
// onToken(token)  opens the talk's next connection: whoever keeps it can go on after a reload
// onEnded({outcome, reason})  outcome: done, voided, refused (nothing began), moved (to another tab), left (the line)
//
// Asks nobody but this server for anything and says nothing of the system. Its looks are in call.css.

import { able, onMeter, openAudio, troubleWords } from "/live/audio.js";
import { Talk } from "/live/talk.js";

const ENDINGS = {
  done: "The talk is over. Thank you.",
  voided: "This talk does not count, and that is not your fault. You can start it again.",
  refused: "The talk could not start.",
  moved: "This talk goes on in another tab.",
  left: "You have left the line.",
};
const TEMPLATE = `
  <div class="ring" aria-hidden="true"><span></span></div>
  <p data-part="state" role="status">One moment</p>
  <p class="facts"><span data-part="clock"></span> <span data-part="trip"></span></p>
  <button data-part="button" class="main" type="button" disabled>Start the talk</button>
  <div data-part="moments" role="group" aria-label="Mark this moment" hidden></div>
  <p data-part="note" role="alert"></p>`;

export function mountCall(element, { invite, going = false, onToken = () => {}, onEnded = () => {} }) {
  element.classList.add("call");
  element.innerHTML = TEMPLATE;
  const find = (name) => element.querySelector(`[data-part=${name}]`);
  const button = find("button"), note = find("note"), moments = find("moments");
  const keys = new Map();
  let talk;

  function show(name, words) {
    element.dataset.state = name;
    if (find("state").textContent !== words) find("state").textContent = words; // a screen reader says each change
  }

  function showMoments(list) {
    moments.replaceChildren(...list.map(({ kind, words, key }) => {
      const mark = document.createElement("button");
      mark.type = "button";
      mark.dataset.kind = kind;
      mark.append(words);
      if (key) {
        keys.set(key, kind);
        mark.setAttribute("aria-keyshortcuts", key);
        const hint = document.createElement("kbd");
        hint.textContent = key;
        mark.append(hint);
      }
      mark.addEventListener("click", () => talk?.mark(kind));
      return mark;
    }));
  }

  const view = {
    level: (level) => element.style.setProperty("--level", onMeter(level).toFixed(3)),
    waiting: (position) => show("waiting", position === 1 ? "Please wait: you are next." : `Please wait: ${position - 1} before you.`),
    token: onToken,
    trip: (ms) => { find("trip").textContent = `${ms} ms`; },
    listening() {
      moments.hidden = !moments.childElementCount;
      show("listening", "Listening");
    },
    going(speaking, left) {
      show(speaking ? "speaking" : "listening", speaking ? "The other side is talking" : "Listening");
      find("clock").textContent = `${Math.floor(left / 60)}:${String(Math.floor(left % 60)).padStart(2, "0")} left`;
    },
    noted(kind) {
      const mark = moments.querySelector(`[data-kind="${CSS.escape(kind)}"]`);
      mark?.classList.add("noted");
      setTimeout(() => mark?.classList.remove("noted"), 1200);
      note.textContent = `Noted: ${mark?.firstChild.textContent}`;
    },
    away: () => show("away", "Reconnecting, your talk is safe"),
    ending() {
      button.disabled = true;
      moments.hidden = true;
      show("ending", "One moment, your talk is being kept");
    },
    over(outcome, reason) {
      talk = undefined;
      show(outcome, ENDINGS[outcome]);
      note.textContent = reason && outcome !== "done" ? `What happened: ${reason}.` : "";
      find("clock").textContent = find("trip").textContent = "";
      moments.hidden = true;
      view.level(0);
      button.textContent = "Talk again";
      button.disabled = false;
      button.hidden = outcome === "moved";
      onEnded({ outcome, reason });
    },
  };

  async function start() {
    button.disabled = true;
    note.textContent = "";
    show("opening", "Please allow the microphone");
    try {
      const settings = await invite();
      const audio = await openAudio(settings.processing);
      show("opening", "Connecting");
      showMoments(settings.moments);
      talk = new Talk(settings, audio, view);
      button.textContent = "End the talk";
    } catch (error) {
      const [words, help] = troubleWords(error);
      show("refused", words);
      note.textContent = help;
      button.textContent = "Try again";
    }
    button.disabled = false;
  }

  function pressed(event) {
    const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
    if (!talk || typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (keys.has(event.key)) talk.mark(keys.get(event.key));
  }

  button.addEventListener("click", () => (talk ? talk.end() : start()));
  document.addEventListener("keydown", pressed);
  if (!able()) {
    show("refused", "This browser cannot hold a talk. Please use a current Chrome, Edge or Firefox on a computer.");
  } else {
    button.disabled = false;
    if (going) button.textContent = "Go on with the talk";
    show("idle", going ? "Your talk is still going on." : "Put on headphones, then start when you like.");
  }
  return {
    unmount() {
      document.removeEventListener("keydown", pressed);
      talk?.over("left", "");
      element.replaceChildren();
    },
  };
}
