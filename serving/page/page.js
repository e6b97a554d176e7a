// The page: what is drawn is asked about, what is answered is shown, what is corrected is sent.

import { Asker } from "./asker.js";
import { Client, Problem } from "./client.js";
import { drawLooked, lookedAt } from "./looked.js";
import { Paper } from "./paper.js";

const REST_MS = 1_500; // after this long without the pen a drawing counts as finished
const FIRST_WORDS = "Draw a digit, or drop, paste or choose a picture of one.";

const find = (id) => document.getElementById(id);
const client = new Client((reached) => (find("gone").hidden = reached), askForKey);
const asker = new Asker(async (keep, signal) => client.predict(await paper.question(), keep, signal), tell, refuse);
const paper = new Paper(find("paper"), changed);
const digits = Array.from({ length: 10 }, (_, digit) => digitButton(digit));

let answer = null; // the latest about this sheet, with `kept`: whether the server may know it later
let correction = null; // the digit that the person says it is, until it is sent
let rest = 0; // the timer that runs while the pen rests
let sent = Promise.resolve(); // comes to its end once all corrections are sent

// --- from the paper to an answer

// Half a digit is nobody's handwriting: the server is asked to keep a drawing only once the pen rests.
function changed() {
  clearTimeout(rest);
  if (paper.isEmpty) return forget();
  if (answer) answer.kept = false; // that was about less
  if (paper.photograph) return asker.soon(mayKeep());
  asker.soon(false);
  if (mayKeep() && !paper.isBeingDrawn) rest = setTimeout(() => asker.soon(true), REST_MS);
}

function tell(latest, kept) {
  answer = { ...latest, kept };
  show(answer);
  if (correction !== null && kept) sendCorrection();
  else if (!paper.isBeingDrawn) say(sentence(answer));
}

function refuse(problem) {
  showNothing();
  say(problem instanceof Problem ? problem.message : "Something went wrong here; reload the page.", true);
  if (!(problem instanceof Problem)) console.error(problem);
}

function forget() {
  asker.drop();
  showNothing();
  say(FIRST_WORDS);
}

function mayKeep() {
  return !find("opt-out").checked;
}

// --- corrections

function correct(digit) {
  if (!answer) return;
  if (!mayKeep()) return say("What you draw is not kept, so there is nothing to correct.");
  correction = digit;
  if (answer.kept) return sendCorrection();
  clearTimeout(rest);
  asker.soon(true);
}

function sendCorrection() {
  const [digit, about] = [correction, answer];
  correction = null;
  sent = sent.then(() => send(digit, about)); // one after the other: the last one counts
}

async function send(digit, about) {
  try {
    await client.correct(about.prediction_id, digit);
    if (answer !== about) return; // the paper shows something else by now
    digits.forEach((button, each) => button.setAttribute("aria-pressed", each === digit));
    say(`Thank you: ${itIs(digit)}.`);
  } catch (problem) {
    say(problem.message, true);
  }
}

// --- what is shown

function show({ label, probabilities, picture, attention, model_version }) {
  find("digit").textContent = label;
  digits.forEach((button, digit) => {
    showShare(button, digit, probabilities[digit]);
    button.classList.toggle("best", digit === label);
    button.setAttribute("aria-pressed", false);
  });
  find("looked").hidden = !picture;
  if (picture) drawLooked(find("looked"), picture, attention);
  find("looked-at").textContent = picture ? lookedAt(attention) : "";
  if (model_version !== find("model").dataset.version) showModel({ model_version });
}

function showNothing() {
  answer = correction = null;
  find("digit").textContent = "";
  find("looked").hidden = true;
  find("looked-at").textContent = "";
  digits.forEach((button, digit) => {
    showShare(button, digit, null);
    button.classList.remove("best");
    button.setAttribute("aria-pressed", false);
  });
}

function showShare(button, digit, share) {
  button.setAttribute("aria-disabled", share === null); // not `disabled`, which would take the focus away
  button.style.setProperty("--share", share ?? 0);
  button.querySelector(".share").textContent = share === null ? "" : percent(share);
  button.setAttribute("aria-label", share === null ? `${digit}` : `${digit}: ${percent(share)}; say that ${itIs(digit)}`);
}

function sentence({ label, probabilities }) {
  const share = percent(probabilities[label]);
  return `I think ${itIs(label)}: ${share} sure. Not so? Tap the right digit, or press its key.`;
}

function itIs(digit) {
  return `it is ${digit === 8 ? "an" : "a"} ${digit}`;
}

function percent(share) {
  if (share > 0.995 && share < 1) return ">99%";
  return `${Math.round(100 * share)}%`;
}

function say(words, isProblem = false) {
  const status = find("status");
  if (status.textContent !== words) status.textContent = words; // said again, it would be read out again
  status.classList.toggle("problem", isProblem);
}

function showModel({ model_version, kind }) {
  find("model").dataset.version = model_version;
  find("model").textContent = `Model ${model_version}${kind ? ` (${kind})` : ""}`;
}

function digitButton(digit) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-keyshortcuts", digit);
  for (const [name, text] of [["name", digit], ["bar", ""], ["share", ""]]) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    button.append(part);
  }
  button.addEventListener("click", () => correct(digit));
  find("digits").append(button);
  return button;
}

// --- the API key

function askForKey(why) {
  const dialog = find("key");
  find("key-why").textContent = why;
  find("key-text").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) =>
    dialog.addEventListener("close", () => done(dialog.returnValue && find("key-text").value.trim()), { once: true }),
  );
}

// --- pictures

async function showPicture(file) {
  if (!file) return;
  try {
    await paper.show(file);
  } catch {
    say("This file is no picture that the browser can read; choose a PNG or a JPEG.", true);
  }
}

for (const [button, input] of [["choose", "file"], ["photograph", "camera"]]) {
  find(button).addEventListener("click", () => find(input).click());
  find(input).addEventListener("change", ({ target }) => {
    showPicture(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
}
addEventListener("paste", (event) => showPicture(event.clipboardData.files[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  showPicture(event.dataTransfer.files[0]);
});

// --- buttons and keys

find("undo").addEventListener("click", () => paper.undo());
find("clear").addEventListener("click", () => paper.clear());
find("opt-out").checked = sessionStorage.getItem("opt-out") === "yes";
find("opt-out").addEventListener("change", ({ target }) => {
  sessionStorage.setItem("opt-out", target.checked ? "yes" : "no");
  asker.drop(); // what waits to be sent says what was wanted before
  correction = null;
  changed();
});
addEventListener("keydown", (event) => {
  if (find("key").open || event.altKey) return;
  const control = event.ctrlKey || event.metaKey;
  if (control && event.key === "z") paper.undo();
  else if (!control && event.key === "Escape") paper.clear();
  else if (!control && /^[0-9]$/.test(event.key)) correct(Number(event.key));
  else return;
  event.preventDefault();
});

showNothing();
showModel(await client.model());
