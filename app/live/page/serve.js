// The page of `duologue serve`. Runs inside gr.HTML (element and trigger are Gradio's), once per page. The next token
// lies in the tab's own storage, so that a reload goes on with the talk and another tab begins its own.

import("/live/call.js").then(({ mountCall }) => {
  const kept = sessionStorage.getItem("talk");
  let settings = kept && JSON.parse(kept);
  mountCall(element.querySelector("[data-part=call]"), {
    going: Boolean(settings),
    async invite() {
      if (!settings) {
        const answer = await fetch("/live/invitation", { method: "POST" });
        if (!answer.ok) throw new Error("no talk is free for you at the moment");
        settings = await answer.json();
      }
      return settings;
    },
    onToken(token) {
      settings = { ...settings, token };
      sessionStorage.setItem("talk", JSON.stringify(settings));
    },
    onEnded({ outcome }) {
      settings = undefined;
      sessionStorage.removeItem("talk");
      trigger("ended", { outcome });
    },
  });
});
