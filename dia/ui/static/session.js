// Where the page is behind a key: the way out, and a word where the server no longer knows who sits here.
(() => {
  "use strict";
  // The script that somebody has written stays: signing in happens in another tab, and this one goes on.
  function tellSignedOut() {
    if (document.querySelector(".dia-signed-out")) return;
    const bar = document.createElement("p");
    bar.className = "dia-signed-out";
    bar.setAttribute("role", "alert");
    bar.innerHTML = 'You are no longer signed in. <a href="login" target="_blank">Sign in</a> in a new tab, then go on here.';
    document.body.append(bar);
  }

  const ask = window.fetch.bind(window);
  window.fetch = async (...given) => {
    const answer = await ask(...given);
    const isOurs = new URL(answer.url || location.href, location.href).origin === location.origin;
    if (answer.status === 401 && isOurs) tellSignedOut();
    else if (answer.ok && isOurs) document.querySelector(".dia-signed-out")?.remove();
    return answer;
  };

  document.addEventListener("click", async (event) => {
    if (!event.target.closest("[data-sign-out]")) return;
    await ask("logout", { method: "POST" });
    sessionStorage.clear();
    location.reload();
  });
})();
