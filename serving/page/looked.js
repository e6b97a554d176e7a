// Where the model looked: the picture that it saw, tinted by its attention, with rows and columns as bars beside it.

const FRAME = 28;
const CELL = 8; // canvas pixels of one of the picture's
const MARGIN = 40; // canvas pixels for the bars
const BAR = MARGIN - 8;
const AMBER = [255, 170, 40];

const square = (x, y, size) => Math.floor(y / size) * Math.ceil(FRAME / size) + Math.floor(x / size);

// Which step of a reading a pixel belongs to.
const STEP = {
  rows: (x, y, size) => Math.floor(y / size),
  columns: (x, y, size) => Math.floor(x / size),
  patches: square,
  sweeps: square,
};

/** Draw it. picture: base64 of the pixels; attention: weights by reading, as {rows2: [...], patches7: [...]}. */
export function drawLooked(canvas, picture, attention) {
  const readings = Object.entries(attention).map(reading).filter(Boolean);
  const ink = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
  canvas.width = canvas.height = FRAME * CELL + MARGIN;
  const pen = canvas.getContext("2d");
  for (let i = 0; i < ink.length; i++) {
    const [x, y] = [i % FRAME, Math.floor(i / FRAME)];
    pen.fillStyle = tinted(ink[i], heat(readings, x, y));
    pen.fillRect(x * CELL, y * CELL, CELL, CELL);
  }
  pen.fillStyle = `rgb(${AMBER})`;
  for (const each of readings) drawBars(pen, each);
}

/** It in words: "It looked most at rows 7 to 8 and columns 13 to 14." */
export function lookedAt(attention) {
  const places = Object.entries(attention).map(reading).filter(Boolean).map(place);
  return places.length ? `It looked most at ${new Intl.ListFormat("en").format(places)}.` : "";
}

/** A reading of the attention; null for a kind that this page does not know. */
function reading([name, weights]) {
  const [, kind, size] = /^([a-z]+)(\d+)$/.exec(name) ?? [];
  const most = Math.max(...weights);
  return kind in STEP ? { kind, size: stepSize(kind, Number(size), weights.length), weights, most } : null;
}

/** Pixels a side of a step. A sweep's grid of patches has been halved until so many steps were left. */
function stepSize(kind, size, steps) {
  if (kind !== "sweeps") return size;
  let side = Math.ceil(FRAME / size);
  for (; side ** 2 > steps; size *= 2) side = Math.ceil(side / 2);
  return size;
}

/** How much a pixel was looked at, from 0 to 1: the mean over the readings, each against its own most. */
function heat(readings, x, y) {
  const shares = readings.map(({ kind, size, weights, most }) => weights[STEP[kind](x, y, size)] / most);
  return shares.reduce((sum, share) => sum + share, 0) / (shares.length || 1);
}

function tinted(ink, heat) {
  const paper = 0.55 * heat ** 2;
  const light = AMBER.map((color) => {
    const white = color + (255 - color) * (1 - heat);
    return Math.round((ink / 255) * white + (1 - ink / 255) * color * paper);
  });
  return `rgb(${light})`;
}

/** The weights of rows at the right edge, of columns at the lower one; patches and sweeps show as tint alone. */
function drawBars(pen, { kind, size, weights, most }) {
  const [end, thick] = [FRAME * CELL + 4, size * CELL - 2];
  weights.forEach((weight, step) => {
    const [at, long] = [step * size * CELL + 1, (weight / most) * BAR];
    if (kind === "rows") pen.fillRect(end, at, long, thick);
    if (kind === "columns") pen.fillRect(at, end, thick, long);
  });
}

function place({ kind, size, weights, most }) {
  const step = weights.indexOf(most);
  if (STEP[kind] === square) return `patch ${step + 1} of ${weights.length}`;
  const [first, last] = [step * size + 1, Math.min((step + 1) * size, FRAME)];
  return first === last ? `${kind.slice(0, -1)} ${first}` : `${kind} ${first} to ${last}`;
}
