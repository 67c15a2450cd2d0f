// A talk's player: click the picture or a turn's time to play from there; a line moves with the sound; one side per ear,
// or both in both. Tells a form how much of the talk was played.
const svg = document.querySelector("svg.talk"), audio = document.querySelector("#heard");

function play(from) {
  audio.currentTime = Math.min(Math.max(0, from), audio.duration || from);
  audio.play();
}

function follow() {
  const cursor = svg.querySelector(".cursor");
  const [left, span, duration] = ["left", "span", "duration"].map((name) => Number(svg.dataset[name]));
  svg.addEventListener("click", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    play(((at.x - left) / span) * duration);
  });
  const box = svg.closest(".scroll"), width = svg.viewBox.baseVal.width;
  const draw = () => {
    const x = left + (audio.currentTime / duration) * span;
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
    if (!audio.paused) box.scrollLeft = (x / width) * svg.getBoundingClientRect().width - box.clientWidth / 2;
    if (!audio.paused) requestAnimationFrame(draw);
  };
  for (const name of ["play", "seeked", "timeupdate"]) audio.addEventListener(name, draw);
}

// Both channels into one where the ears are to hear the same. Made at the first play, as browsers want it.
function ears(choice) {
  let mixer;
  const set = () => {
    if (mixer) mixer.channelCount = choice.querySelector(":checked").value === "mixed" ? 1 : 2;
  };
  choice.addEventListener("change", set);
  audio.addEventListener("play", () => {
    if (mixer) return;
    const context = new AudioContext();
    mixer = new GainNode(context, { channelCount: 2, channelCountMode: "explicit", channelInterpretation: "speakers" });
    context.createMediaElementSource(audio).connect(mixer).connect(context.destination);
    audio.addEventListener("play", () => context.resume());
    set();
  });
}

// The share of the talk that has been played, here or before this page was loaded anew.
function count(field) {
  audio.addEventListener("timeupdate", () => {
    let seconds = 0;
    for (let i = 0; i < audio.played.length; i++) seconds += audio.played.end(i) - audio.played.start(i);
    const share = Math.min(1, seconds / audio.duration);
    if (!(share > Number(field.value))) return;
    field.value = share.toFixed(3);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

if (svg && audio) {
  const choice = document.querySelector("[data-ears]"), field = document.querySelector("[name=played]");
  follow();
  if (choice) ears(choice);
  if (field) count(field);
  for (const button of document.querySelectorAll("[data-at]")) {
    button.addEventListener("click", () => play(Number(button.dataset.at)));
  }
}
