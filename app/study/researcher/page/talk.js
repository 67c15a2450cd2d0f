// Click the picture to play from there; a line moves with the sound.
const svg = document.querySelector("svg.talk"), audio = document.querySelector("#heard");
if (svg && audio) {
  const cursor = svg.querySelector(".cursor");
  const [left, span, duration] = ["left", "span", "duration"].map((name) => Number(svg.dataset[name]));
  svg.addEventListener("click", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    audio.currentTime = Math.min(Math.max(0, ((at.x - left) / span) * duration), duration);
    audio.play();
  });
  audio.addEventListener("timeupdate", () => {
    const x = left + (audio.currentTime / duration) * span;
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
  });
}
