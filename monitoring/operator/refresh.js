// Shows what is new every 15 seconds, unless someone is about to do something.
history.replaceState(null, "", location.href.replace(/([?&])done=[a-z]*&?/, "$1").replace(/[?&]$/, ""));
if (document.body.dataset.refresh === "yes") {
  setInterval(() => {
    if (!document.hidden && !document.querySelector("details.action[open]")) location.reload();
  }, 15_000);
}
