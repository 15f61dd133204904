// <dia-player>: plays 16-bit samples while they arrive, draws them in the colours of the speakers, marks the turns.
// The server sends them from `dia/audio/TOKEN`; `?about` gives the marks as they came out, `?format=` a file.
(() => {
  "use strict";
  const LEAD_S = 0.25; // sound gathered before it begins, so that a slow start does not stutter
  const AHEAD_S = 3; // scheduled in advance; a page in the background is woken only once a second
  const BLOCK = 256; // samples behind one point of the drawing
  const FORMATS = ["wav", "mp3", "opus"];
  const STYLE = `
    .box { display: grid; grid-template-columns: 44px 1fr; gap: 2px 12px; align-items: center; padding: 12px; }
    .play { width: 44px; height: 44px; padding: 0; border: 0; border-radius: 50%; background: var(--dia-c1); cursor: pointer; }
    .play::before {
      content: ""; display: block; width: 0; height: 0; margin: 0 auto; transform: translateX(2px);
      border-style: solid; border-width: 8px 0 8px 13px; border-color: transparent transparent transparent var(--dia-card);
    }
    .play[data-verb="Pause"]::before { width: 12px; height: 14px; box-sizing: border-box; transform: none; border-width: 0 4px; border-color: var(--dia-card); }
    canvas { display: block; width: 100%; height: 72px; cursor: pointer; touch-action: manipulation; }
    .time, .files { grid-row: 2; grid-column: 2; font-size: 12px; }
    .time { font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued); }
    .files { justify-self: end; display: flex; gap: 10px; }
    .files a { padding: 2px; color: var(--dia-c1); }
    .turn { grid-column: 1 / -1; margin: 4px 0 0; min-height: 1.5em; font-size: 15px; line-height: 1.5; overflow-wrap: anywhere; }
    .small { padding: 6px 0; grid-template-columns: 34px 1fr; }
    .small canvas { height: 36px; }
    .small .play { width: 34px; height: 34px; }
    .small .turn { display: none; }
    :focus-visible { outline: 2px solid var(--dia-c1); outline-offset: 2px; }
    @media (max-width: 640px) { .box:not(.small) canvas { height: 60px; } }
  `;
  const sounds = new Map(); // by token, so that a player that is drawn again has its sound at once
  const MOST_SOUNDS = 24;
  let context = null;
  let playing = null;

  const root = () => ((window.gradio_config && window.gradio_config.root) || "").replace(/\/$/, "");
  const address = (token, query = "") => `${root()}/dia/audio/${encodeURIComponent(token)}${query}`;
  const shown = (seconds) => {
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  };

  function audio(rate) {
    if (!context || context.sampleRate !== rate) {
      if (context) context.close();
      context = new AudioContext({ sampleRate: rate });
    }
    if (context.state === "suspended") context.resume();
    return context;
  }
  // Browsers let sound begin only after a gesture; a click on Speak is one.
  const unlock = () => { if (context && context.state === "suspended") context.resume(); };
  document.addEventListener("pointerdown", unlock, true);
  document.addEventListener("keydown", unlock, true);
  // Stop is for everything that sounds: the model stops by the server, what has arrived stops here. Escape presses it.
  document.addEventListener("click", (event) => {
    if (playing && event.target.closest("#dia-stop")) playing.pause();
  });

  // The samples of one token, as they arrive. Tells its listeners of every piece.
  class Sound extends EventTarget {
    constructor(token) {
      super();
      this.token = token;
      this.rate = 44100;
      this.samples = new Float32Array(1 << 18);
      this.length = 0;
      this.peaks = [];
      this.isDone = false;
      this.problem = "";
      this.marks = null;
      this.read();
    }
    async read() {
      try {
        const answer = await fetch(address(this.token));
        if (!answer.ok) throw new Error(await answer.text());
        this.rate = Number(answer.headers.get("X-Sample-Rate")) || this.rate;
        const reader = answer.body.getReader();
        let odd = null;
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          odd = this.add(value, odd);
        }
        const about = await fetch(address(this.token, "?about"));
        if (about.ok) this.marks = (await about.json()).marks || null;
      } catch (error) {
        this.problem = String(error.message || error);
        sounds.delete(this.token);
      }
      this.isDone = true;
      this.dispatchEvent(new Event("more"));
    }
    add(bytes, odd) {
      let data = bytes;
      if (odd !== null) {
        data = new Uint8Array(bytes.length + 1);
        data[0] = odd;
        data.set(bytes, 1);
      }
      const count = data.length >> 1;
      const view = new DataView(data.buffer, data.byteOffset, count * 2);
      if (this.length + count > this.samples.length) {
        const larger = new Float32Array(Math.max(2 * this.samples.length, this.length + count));
        larger.set(this.samples.subarray(0, this.length));
        this.samples = larger;
      }
      for (let i = 0; i < count; i++) {
        const sample = view.getInt16(2 * i, true) / 32768;
        const block = Math.floor((this.length + i) / BLOCK);
        this.samples[this.length + i] = sample;
        this.peaks[block] = Math.max(this.peaks[block] || 0, Math.abs(sample));
      }
      this.length += count;
      this.dispatchEvent(new Event("more"));
      return data.length & 1 ? data[data.length - 1] : null;
    }
    get seconds() { return this.length / this.rate; }
  }

  function soundOf(token) {
    if (!sounds.has(token)) {
      sounds.set(token, new Sound(token));
      if (sounds.size > MOST_SOUNDS) sounds.delete(sounds.keys().next().value);
    }
    return sounds.get(token);
  }

  // Gradio keeps the element and changes its attributes one after the other when a new value comes. All facts of a sound
  // stand in one attribute, so that none of the sound before is ever read; what is inside lives in a shadow root, where
  // Gradio does not look.
  class DiaPlayer extends HTMLElement {
    static observedAttributes = ["data-sound"];

    connectedCallback() {
      if (!this.shadowRoot) this.build();
      this.take();
    }
    disconnectedCallback() { this.leave(); }
    attributeChangedCallback(name, old) {
      if (old !== null && this.isConnected && this.shadowRoot) { this.leave(); this.take(); }
    }
    take() {
      const facts = JSON.parse(this.dataset.sound);
      this.sound = soundOf(facts.token);
      this.marks = facts.marks;
      this.label = facts.label;
      this.expected_s = facts.estimated_s;
      this.position = 0; // samples; where it stands while it is not playing
      this.sources = [];
      this.parts = [];
      this.box.className = facts.small ? "box small" : "box";
      this.files.innerHTML = "";
      this.canvas.setAttribute("aria-label", `position in ${this.label}`);
      this.button.dataset.verb = "";
      this.watch();
      if (facts.autoplay) this.play();
      else this.draw();
    }
    leave() {
      this.pause();
      this.sound.removeEventListener("more", this.onMore);
      this.resizer.disconnect();
    }
    build() {
      const shadow = this.attachShadow({ mode: "open" });
      shadow.innerHTML =
        `<style>${STYLE}</style><div class="box"><button type="button" class="play"></button>` +
        '<canvas tabindex="0" role="slider" aria-valuemin="0"></canvas>' +
        '<span class="time"></span><span class="files"></span><p class="turn" aria-hidden="true"></p></div>';
      const part = (name) => shadow.querySelector(name);
      this.box = part(".box");
      this.button = part(".play");
      this.canvas = part("canvas");
      this.time = part(".time");
      this.files = part(".files");
      this.line = part(".turn");
      this.button.addEventListener("click", () => (this.isPlaying ? this.pause() : this.play()));
      this.canvas.addEventListener("pointerdown", (event) => {
        const area = this.canvas.getBoundingClientRect();
        this.seek(((event.clientX - area.left) / area.width) * this.span);
      });
      this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    }
    watch() {
      this.onMore = () => { if (this.isPlaying) this.pump(); this.draw(); };
      this.sound.addEventListener("more", this.onMore);
      this.resizer = new ResizeObserver(() => this.draw());
      this.resizer.observe(this);
    }
    onKey(event) {
      const step = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
      if (step) this.seek(this.at + step);
      else if (event.key === " " || event.key === "Enter") { if (this.isPlaying) this.pause(); else this.play(); }
      else if (event.key === "Home") this.seek(0);
      else return;
      event.preventDefault();
    }
    // Seconds that the drawing spans: what is expected while it is made, what there is once it is done.
    get span() {
      const expected = this.sound.isDone ? 0 : this.expected_s || 1;
      return Math.max(this.sound.seconds, expected, 0.1);
    }
    get at() {
      if (!this.isPlaying || !this.parts.length) return this.position / this.sound.rate;
      const now = context.currentTime;
      let part = this.parts[0];
      for (const next of this.parts) if (next.time <= now) part = next;
      const into = Math.min(Math.max(now - part.time, 0), part.length / this.sound.rate);
      return part.start / this.sound.rate + into;
    }
    play() {
      if (playing && playing !== this) playing.pause();
      playing = this;
      if (this.sound.isDone && this.position >= this.sound.length) this.position = 0;
      this.isPlaying = true;
      this.parts = [];
      this.scheduled = this.position;
      this.timer = setInterval(() => this.pump(), 100);
      this.pump();
      const frame = () => { if (this.isPlaying) { this.draw(); requestAnimationFrame(frame); } };
      frame();
    }
    pause() {
      if (!this.isPlaying) return;
      this.position = Math.round(this.at * this.sound.rate);
      this.isPlaying = false;
      clearInterval(this.timer);
      for (const source of this.sources) { source.onended = null; source.stop(); }
      this.sources = [];
      this.draw();
    }
    seek(seconds) {
      const was = this.isPlaying;
      this.pause();
      this.position = Math.round(Math.min(Math.max(seconds, 0), this.sound.seconds) * this.sound.rate);
      if (was) this.play(); else this.draw();
    }
    // Hands what has arrived to the sound card, up to AHEAD_S in advance.
    pump() {
      const sound = this.sound;
      const waiting = sound.length - this.scheduled;
      if (!sound.isDone && !this.parts.length && waiting < LEAD_S * sound.rate) return;
      if (waiting > 0) {
        const player = audio(sound.rate);
        while (this.scheduled < sound.length) {
          const last = this.parts[this.parts.length - 1];
          let time = last ? last.time + last.length / sound.rate : 0;
          if (time > player.currentTime + AHEAD_S) break;
          time = Math.max(time, player.currentTime + (last ? 0.02 : 0.05));
          const length = Math.min(sound.length - this.scheduled, sound.rate >> 1);
          const buffer = player.createBuffer(1, length, sound.rate);
          buffer.copyToChannel(sound.samples.subarray(this.scheduled, this.scheduled + length), 0);
          const source = player.createBufferSource();
          source.buffer = buffer;
          source.connect(player.destination);
          source.onended = () => { this.sources = this.sources.filter((other) => other !== source); };
          source.start(time);
          this.sources.push(source);
          this.parts.push({ time, start: this.scheduled, length });
          this.scheduled += length;
        }
      }
      const last = this.parts[this.parts.length - 1];
      const isOver = !last || context.currentTime >= last.time + last.length / sound.rate;
      if (sound.isDone && this.scheduled >= sound.length && isOver) {
        this.pause();
        this.position = sound.length;
        this.draw();
      }
    }
    get turns() { return this.sound.marks || this.marks; }
    turnAt(seconds) {
      let found = null;
      for (const mark of this.turns) if (mark.start_s <= seconds + 1e-6) found = mark;
      return found;
    }
    draw() {
      const sound = this.sound;
      const at = this.at;
      const facts = this.box.dataset;
      facts.state = this.isPlaying ? (this.parts.length ? "playing" : "buffering") : sound.isDone ? "ready" : "arriving";
      facts.received = sound.length;
      facts.done = sound.isDone;
      const verb = this.isPlaying ? "Pause" : "Play";
      if (this.button.dataset.verb !== verb) {
        this.button.dataset.verb = verb;
        this.button.setAttribute("aria-label", `${verb} ${this.label}`);
      }
      const end = sound.isDone ? sound.seconds : Math.max(sound.seconds, this.expected_s);
      this.time.textContent = sound.problem || `${shown(at)} / ${sound.isDone ? "" : "~"}${shown(end)}`;
      this.canvas.setAttribute("aria-valuemax", end.toFixed(1));
      this.canvas.setAttribute("aria-valuenow", at.toFixed(1));
      this.canvas.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${end.toFixed(1)} seconds`);
      const turn = this.turnAt(at);
      const words = turn ? turn.text : "";
      if (this.line.textContent !== words) this.line.textContent = words;
      this.line.style.color = turn ? `var(--dia-c${turn.colour})` : "";
      if (sound.isDone && sound.length && !this.files.firstChild) this.offerFiles();
      this.paint(at);
    }
    offerFiles() {
      this.files.innerHTML = FORMATS.map((name) => {
        const file = address(this.sound.token, `?format=${name}`);
        return `<a href="${file}" download aria-label="download ${name}">${name}</a>`;
      }).join("");
    }
    paint(at) {
      const box = this.canvas.getBoundingClientRect();
      if (!box.width) return;
      const scale = window.devicePixelRatio || 1;
      const width = Math.round(box.width * scale);
      const height = Math.round(box.height * scale);
      if (this.canvas.width !== width) this.canvas.width = width;
      if (this.canvas.height !== height) this.canvas.height = height;
      const pen = this.canvas.getContext("2d");
      const style = getComputedStyle(this);
      const colours = [1, 2, 3, 4].map((n) => style.getPropertyValue(`--dia-c${n}`).trim());
      const faint = style.getPropertyValue("--dia-faint").trim();
      pen.clearRect(0, 0, width, height);
      const span = this.span;
      const bar = 3 * scale;
      const perBar = (span * this.sound.rate * bar) / width / BLOCK;
      for (let x = 0; x < width; x += bar) {
        const from = Math.floor((x / bar) * perBar);
        const to = Math.max(from + 1, Math.floor((x / bar + 1) * perBar));
        const seconds = (x / width) * span;
        let peak = 0;
        for (let i = from; i < to && i < this.sound.peaks.length; i++) peak = Math.max(peak, this.sound.peaks[i]);
        const turn = this.turnAt(seconds);
        const isThere = from < this.sound.peaks.length;
        const tall = isThere ? Math.max(Math.sqrt(peak) * height * 0.9, 2 * scale) : 2 * scale;
        pen.globalAlpha = isThere ? (seconds <= at ? 1 : 0.5) : 1;
        pen.fillStyle = isThere ? colours[turn ? turn.colour - 1 : 0] : faint;
        pen.fillRect(x, (height - tall) / 2, bar - scale, tall);
      }
      pen.globalAlpha = 1;
      for (const mark of this.turns) {
        if (!mark.begins_turn) continue;
        pen.fillStyle = colours[mark.colour - 1];
        pen.fillRect((mark.start_s / span) * width, 0, scale, height);
        pen.fillRect((mark.start_s / span) * width, 0, 6 * scale, 3 * scale);
      }
      pen.fillStyle = style.color;
      pen.fillRect(Math.min((at / span) * width, width - 2 * scale), 0, 2 * scale, height);
    }
  }
  customElements.define("dia-player", DiaPlayer);
})();
