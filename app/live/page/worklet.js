// The page's audio clock: every sample of the microphone beside the sample that was played with it.
//
// The agent's frames wait in a queue. Playing starts `prebuffer` samples after the first one arrived, so a frame may be
// that late without being missed. What a hiccup leaves in the queue beyond that is lag; it is thrown away where the
// agent is silent, and after two seconds of constant speech with a short cross-fade. Nothing is lost unseen: the position
// on the agent's stream and the counts of dropped and missed samples go with every packet.

const SILENT = 100; // of 32767: below -50 dB
const PATIENCE = 2; // seconds of speech before lag is cut out of it
const HISTORY = 12; // frames, about a second: the least slack of these is what the queue could do without
const QUANTUM = 128;

class Duplex extends AudioWorkletProcessor {
  constructor({ processorOptions: { packet, prebuffer } }) {
    super();
    this.packet = packet;
    this.prebuffer = prebuffer;
    this.running = false;
    this.reset({ number: 0, position: 0 });
    this.port.onmessage = ({ data }) => {
      if (data.begin) { this.reset(data.begin); this.running = true; }
      else if (data.end) this.running = false;
      else this.arrive(data.samples, data.position);
    };
  }

  reset({ number, position }) {
    this.number = number;
    this.position = position;
    this.dropped = 0;
    this.missed = 0;
    this.restart();
    this.queue = [];
    this.offset = 0; // into queue[0]
    this.queued = 0;
    this.open();
  }

  restart() { // the queue has run dry, or never held anything
    this.countdown = -1; // samples until playing starts; -1: nothing has arrived
    this.slack = []; // samples still queued when each of the last frames arrived
    this.excess = 0;
    this.crowded = 0; // samples played since there was an excess
  }

  open() {
    this.mic = new Int16Array(this.packet);
    this.heard = new Int16Array(this.packet);
    this.at = 0;
  }

  arrive(samples, position) {
    if (this.queued === 0) {
      this.position = position;
      if (this.countdown < 0) this.countdown = this.prebuffer;
    }
    if (this.countdown === 0) {
      this.slack.push(this.queued);
      if (this.slack.length > HISTORY) this.slack.shift();
      const least = this.slack.length === HISTORY ? Math.min(...this.slack) : 0;
      this.excess = Math.max(0, least - this.prebuffer);
      if (this.excess < 2 * QUANTUM) { this.excess = 0; this.crowded = 0; }
    }
    this.queue.push(samples);
    this.queued += samples.length;
  }

  take() {
    const value = this.queue[0][this.offset++];
    if (this.offset === this.queue[0].length) { this.queue.shift(); this.offset = 0; }
    this.queued--;
    this.position++;
    return value;
  }

  drop(n) {
    for (let k = 0; k < n; k++) this.take();
    this.dropped += n;
    this.excess = Math.max(0, this.excess - n);
    this.slack = this.slack.map((s) => s - n);
  }

  silentAhead() {
    if (this.queued < 2 * QUANTUM) return false;
    let offset = this.offset, block = 0;
    for (let k = 0; k < QUANTUM; k++) {
      if (Math.abs(this.queue[block][offset++]) > SILENT) return false;
      if (offset === this.queue[block].length) { block++; offset = 0; }
    }
    return true;
  }

  next(n) { // what is played in the next n samples
    const out = new Int16Array(n);
    while (this.excess >= QUANTUM && this.silentAhead()) this.drop(QUANTUM);
    this.crowded = this.excess >= QUANTUM ? this.crowded + n : 0;
    const cut = this.crowded > PATIENCE * sampleRate && this.queued > this.excess + 2 * n;
    for (let k = 0; k < n; k++) {
      if (this.countdown > 0) this.countdown--;
      else if (this.countdown === 0 && this.queued > 0) { out[k] = this.take(); continue; }
      else if (this.countdown === 0) this.restart();
      if (this.position > 0) this.missed++;
    }
    if (cut) {
      this.drop(Math.floor(this.excess));
      for (let k = 0; k < n; k++) out[k] = Math.round((out[k] * (n - k) + this.take() * k) / n);
      this.dropped += n;
      this.crowded = 0;
    }
    return out;
  }

  process([input], [output]) {
    const speaker = output[0], microphone = input[0], n = speaker.length;
    if (!this.running) { this.port.postMessage({ idle: n, level: level(microphone) }); return true; }
    for (let k = 0; k < n; ) {
      const played = this.next(Math.min(n - k, this.packet - this.at)); // a packet ends where it ends, inside a quantum
      for (const value of played) {
        speaker[k] = value / 32767;
        this.heard[this.at] = value;
        this.mic[this.at] = microphone ? Math.round(Math.max(-1, Math.min(1, microphone[k])) * 32767) : 0;
        this.at++;
        k++;
      }
      if (this.at === this.packet) this.close(currentFrame + k);
    }
    return true;
  }

  close(frame) { // frame: of the audio clock, at the packet's end
    const { number, position, dropped, missed, mic, heard } = this;
    this.port.postMessage({ number, position, dropped, missed, frame, mic, heard }, [mic.buffer, heard.buffer]);
    this.number++;
    this.open();
  }
}

function level(samples) {
  if (!samples) return 0;
  let sum = 0;
  for (const s of samples) sum += s * s;
  return Math.sqrt(sum / samples.length);
}

registerProcessor("duplex", Duplex);
