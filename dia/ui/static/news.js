// Asks for news while there is something to hear of: how far the speech is, what runs and waits. What is on the page
// decides whether it asks, not what was answered before, so that no answer that is lost or late can end it.
(() => {
  "use strict";
  const TICK_MS = 500;
  const QUEUE_TICKS = 3;
  const press = (id) => document.getElementById(id)?.click();
  window.diaSpeeches = 0; // counted when Speak is pressed; Stop is for those so far

  function isSpeaking() {
    const player = document.querySelector("#dia-player dia-player");
    const told = document.querySelector("#dia-progress [data-ended]")?.dataset.ended;
    return Boolean(player && player.sound) && told !== "" && told !== player.sound.token;
  }

  let ticks = 0; // since the queue came into view
  setInterval(() => {
    if (document.querySelector(".dia-signed-out")) return;
    if (isSpeaking()) press("dia-follow");
    const queue = document.getElementById("dia-queue");
    const isShown = Boolean(queue && queue.offsetParent);
    if (isShown && ticks % QUEUE_TICKS === 0) press("dia-look");
    ticks = isShown ? ticks + 1 : 0;
  }, TICK_MS);
})();
