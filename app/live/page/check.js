// The check of devices before a talk: is the microphone heard, are both ears right, does sound come back.
//
//   mountCheck(element, { processing, onDone }) -> { unmount }
//
// processing      as in the call: the browser's own echo cancellation, noise suppression and gain control
// onDone(result)  level_db: the loud parts of the person's voice; ears: right answers of `trials`; echo_db and echo_delay:
//                 what came back of the loudspeaker (null: nothing stood out); quiet: no echo above ECHO_LIMIT
//
// The echo is measured by the server, with the same rule as that of a talk. Whether a result is good enough to go on is
// the caller's to decide; the check only says what to do about it, and can be done again.

import { able, closeAudio, duplexNode, loudness, onMeter, openAudio, troubleWords } from "/live/audio.js";

const LOUD = 0.01; // of full scale, -40 dB: a voice
const VOICE = 0.6; // seconds of voice that are enough
const TRIALS = 3; // ears
const TONE = 0.8; // seconds
const SWEEP = 1.5; // seconds
const AFTER = 0.5; // seconds of recording after the sweep
const ECHO_LIMIT = -30; // dB
const PACKET = 0.02;
const TEMPLATE = `
  <div class="ring" aria-hidden="true"><span></span></div>
  <p data-part="state" role="status"></p>
  <div data-part="choices" role="group" aria-label="Your answer" hidden></div>
  <button data-part="button" class="main" type="button"></button>
  <p data-part="note" role="alert"></p>`;

export function mountCheck(element, { processing = true, onDone = () => {} }) {
  element.classList.add("check");
  element.innerHTML = TEMPLATE;
  const find = (name) => element.querySelector(`[data-part=${name}]`);
  const button = find("button"), note = find("note"), choices = find("choices");
  let audio, node, listen = () => {}, gone = false;

  function show(name, words, hint = "") {
    element.dataset.state = name;
    find("state").textContent = words;
    note.textContent = hint;
  }

  const pressed = (words) => new Promise((resolve) => {
    button.textContent = words;
    button.hidden = false;
    button.onclick = () => { button.hidden = true; resolve(); };
  });

  const chosen = (words) => new Promise((resolve) => {
    choices.replaceChildren(...words.map((word, k) => {
      const choice = document.createElement("button");
      choice.type = "button";
      choice.textContent = word;
      choice.onclick = () => { choices.hidden = true; resolve(k); };
      return choice;
    }));
    choices.hidden = false;
  });

  async function microphone() { // the level in dB of what was loud enough for a voice
    show("microphone", "Say a few words.");
    const loud = [];
    const slow = setTimeout(() => { note.textContent = "Nothing is heard yet. Is the right microphone chosen, and not muted?"; }, 6000);
    await new Promise((resolve) => {
      let seconds = 0;
      listen = ({ idle, level }) => {
        element.style.setProperty("--level", onMeter(level).toFixed(3));
        if (level < LOUD) return;
        loud.push(level);
        seconds += idle / audio.context.sampleRate;
        if (seconds > VOICE) resolve();
      };
    });
    clearTimeout(slow);
    show("heard", "You are heard well.");
    await pressed("Next");
    loud.sort((a, b) => a - b);
    return 20 * Math.log10(loud[loud.length >> 1]);
  }

  function tone(ear) {
    const { context } = audio, sound = context.createOscillator(), soft = context.createGain();
    const sides = context.createChannelMerger(2), begin = context.currentTime + 0.1;
    sound.frequency.value = 440;
    soft.gain.setValueAtTime(0, begin);
    soft.gain.linearRampToValueAtTime(0.2, begin + 0.05);
    soft.gain.setValueAtTime(0.2, begin + TONE - 0.05);
    soft.gain.linearRampToValueAtTime(0, begin + TONE);
    sound.connect(soft).connect(sides, 0, ear);
    sides.connect(context.destination);
    sound.start(begin);
    sound.stop(begin + TONE);
  }

  async function headphones() { // how many of the trials were answered right
    let right = 0;
    for (let trial = 1; trial <= TRIALS; trial++) {
      const ear = Math.random() < 0.5 ? 0 : 1;
      let answer = 3;
      while (answer === 3) {
        show("ears", `In which ear is the tone? (${trial} of ${TRIALS})`);
        tone(ear);
        answer = await chosen(["Left", "Right", "Both, or none", "Play it again"]);
      }
      if (answer === ear) right++;
    }
    return right;
  }

  // A sweep from 300 to 6,000 Hz, at a third of full scale.
  function sweep(rate) {
    const n = Math.round(SWEEP * rate), octaves = Math.log(6000 / 300);
    return Int16Array.from({ length: n }, (_, k) => {
      const turns = 300 * SWEEP / octaves * (Math.exp(octaves * k / n) - 1);
      return 10922 * Math.min(1, k / 480, (n - k) / 480) * Math.sin(2 * Math.PI * turns);
    });
  }

  async function echo() {
    show("echo", "Stay silent for a moment, please. You will hear a rising tone.");
    const { sampleRate: rate } = audio.context, heard = [], mic = [];
    await new Promise((resolve) => {
      listen = (data) => {
        if (!data.mic) return;
        element.style.setProperty("--level", onMeter(loudness(data.mic)).toFixed(3));
        heard.push(data.heard);
        mic.push(data.mic);
        if (heard.length * PACKET > SWEEP + AFTER) resolve();
      };
      node.port.postMessage({ begin: { number: 0, position: 0 } });
      node.port.postMessage({ samples: sweep(rate), position: 0 });
    });
    node.port.postMessage({ end: true });
    const answer = await fetch(`/live/echo?rate=${rate}`, { method: "POST", body: new Blob([...heard, ...mic]) });
    if (!answer.ok) throw new Error("the sound could not be examined; please try again");
    return answer.json();
  }

  async function check() {
    show("opening", "Please allow the microphone");
    audio = await openAudio(processing);
    node = duplexNode(audio, PACKET, 0, (data) => listen(data));
    const level_db = await microphone();
    const ears = await headphones();
    const { level_db: echo_db, delay: echo_delay } = await echo();
    return { level_db, ears, trials: TRIALS, echo_db, echo_delay, quiet: echo_db === null || echo_db <= ECHO_LIMIT, rate: audio.context.sampleRate };
  }

  function release() {
    if (audio && node) closeAudio(audio, node);
    audio = node = undefined;
    element.style.setProperty("--level", 0);
  }

  function advice({ ears, quiet }) {
    if (!quiet) return ["Your microphone hears the loudspeaker.", "Please use headphones, then check again."];
    if (ears < TRIALS) return ["An ear was not told right.", "Are the headphones on the right way round? Please check again."];
    return ["Everything works.", ""];
  }

  async function run() {
    for (let again = ""; !gone; again = " again") {
      await pressed(`Check${again || " microphone and headphones"}`);
      try {
        const result = await check();
        release();
        if (gone) return;
        const [words, help] = advice(result);
        show(help ? "poor" : "good", words, help);
        onDone(result);
      } catch (error) {
        release();
        show("refused", ...troubleWords(error));
      }
    }
  }

  if (able()) {
    show("idle", "Put on headphones, and find a quiet place.");
    run();
  } else {
    button.hidden = true;
    show("refused", "This browser cannot hold a talk.", "Please use a current Chrome, Edge or Firefox on a computer.");
  }
  return {
    unmount() {
      gone = true;
      release();
      element.replaceChildren();
    },
  };
}
