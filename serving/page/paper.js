// The paper: strokes of a pen, a finger or the mouse, or a photograph laid on it.

const SIDE = 280; // units of the paper's side, in which strokes are sent
const PEN = 18; // units
const NEAR = 2; // units: a point closer to the last one says nothing new
const LONGEST_SIDE = 1024; // pixels of a photograph that is sent; the model sees 28

export class Paper {
  /** onChange is called after each change. */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.strokes = []; // each a list of [x, y, milliseconds]
    this.photograph = null; // a canvas, and the type of file it came from
    this.pointer = null; // the one that draws now
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#up(event));
    new ResizeObserver(() => this.#paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  get isEmpty() {
    return !this.photograph && this.strokes.length === 0;
  }

  get isBeingDrawn() {
    return this.pointer !== null;
  }

  /** The request that asks what is on the paper: path, content type and body. */
  async question() {
    if (this.photograph) {
      const { canvas, type } = this.photograph;
      return { path: "predict", type, body: await new Promise((done) => canvas.toBlob(done, type, 0.92)) };
    }
    return { path: "predict/strokes", type: "application/json", body: JSON.stringify({ strokes: this.strokes }) };
  }

  undo() {
    if (this.photograph || this.strokes.length < 2) return this.clear();
    this.strokes.pop();
    this.pointer = null;
    this.#changed();
  }

  clear() {
    this.strokes = [];
    this.photograph = null;
    this.pointer = null;
    this.#changed();
  }

  /** Lay a picture file on the paper. Throws if the browser cannot read it. */
  async show(file) {
    const picture = await createImageBitmap(file);
    this.clear();
    // Redrawn, any kind of picture becomes one that the server takes, small, and without the place where it was taken.
    this.photograph = { canvas: redrawn(picture), type: file.type === "image/png" ? "image/png" : "image/jpeg" };
    this.#changed();
  }

  #down(event) {
    if (this.isBeingDrawn || event.button !== 0) return; // the palm beside the pen, the menu button
    if (this.photograph) this.clear();
    if (this.isEmpty) this.begun = event.timeStamp;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.strokes.push([this.#point(event)]);
    this.#changed();
  }

  #move(event) {
    if (event.pointerId !== this.pointer) return;
    const stroke = this.strokes.at(-1);
    const before = stroke.length;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    for (const each of coalesced.length ? coalesced : [event]) {
      const [x, y, time] = this.#point(each);
      const [lastX, lastY] = stroke.at(-1);
      if (Math.hypot(x - lastX, y - lastY) >= NEAR) stroke.push([x, y, time]);
    }
    if (stroke.length > before) this.#changed();
  }

  #up(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.#changed();
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const units = (pixels) => Math.round((pixels / box.width) * SIDE * 10) / 10;
    return [units(event.clientX - box.left), units(event.clientY - box.top), Math.round(event.timeStamp - this.begun)];
  }

  #changed() {
    this.#paint();
    this.onChange();
  }

  #paint() {
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    this.canvas.width = this.canvas.height = side; // which also wipes it
    const pen = this.canvas.getContext("2d");
    pen.scale(side / SIDE, side / SIDE);
    if (this.photograph) lay(pen, this.photograph.canvas);
    pen.strokeStyle = getComputedStyle(this.canvas).color;
    pen.lineWidth = PEN;
    pen.lineCap = pen.lineJoin = "round";
    for (const stroke of this.strokes) trace(pen, stroke);
  }
}

/** Draw the points as one smooth line: a curve from middle to middle, bent toward each point. */
function trace(pen, points) {
  pen.beginPath();
  pen.moveTo(...points[0]);
  for (let i = 1; i < points.length - 1; i++) {
    const [[x, y], [nextX, nextY]] = [points[i], points[i + 1]];
    pen.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  const [x, y] = points.at(-1);
  pen.lineTo(x, y);
  pen.stroke();
}

/** Draw the picture as large as it fits, in the middle. */
function lay(pen, picture) {
  const scale = SIDE / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  pen.drawImage(picture, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
}

/** A canvas with the picture on white, no larger than it needs to be. */
function redrawn(picture) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}
