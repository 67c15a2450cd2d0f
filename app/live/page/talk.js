// One talk on the page's side: sound from the worklet to the server and back, and what the server says of it.
//
// When the socket breaks, the worklet goes on, packets, marks and the wish to end are kept, and a new socket sends what
// the server has not got. A page that was loaded anew does not know where the talk is; the server tells it where to
// begin. Draws nothing: `view` is told what happens.

import { closeAudio, duplexNode, loudness } from "/live/audio.js";

const KEEP = 30; // seconds of packets that can be sent again
const PATIENCE = 30_000; // ms without a connection before the page gives up
const REGULAR = 0.25; // seconds the microphone must have run before a talk begins
const QUIET = 0.4; // seconds of silence after which the other side is not talking

export class Talk {
  constructor(settings, audio, view) {
    this.token = settings.token;
    this.view = view;
    this.audio = audio;
    this.rate = audio.context.sampleRate;
    this.packet = Math.round(settings.packet * this.rate);
    this.kept = []; // packets
    this.marks = []; // not yet noted by the server
    this.next = null; // number of the next packet; null: the server knows
    this.idle = 0;
    this.live = this.ended = this.ending = false;
    this.node = duplexNode(audio, settings.packet, settings.prebuffer, (data) => (data.mic ? this.made(data) : this.waited(data)));
  }

  waited({ idle, level }) { // the microphone runs, the talk does not
    if (this.ended) return;
    this.view.level(level);
    this.idle += idle;
    if (!this.socket && this.idle > REGULAR * this.rate) this.connect();
  }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live/ws`);
    this.socket = socket;
    this.live = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      const settings = this.audio.stream.getAudioTracks()[0].getSettings();
      const plain = Object.entries(settings).filter(([key, value]) => typeof value !== "object" && !/Id$/.test(key));
      this.say({
        type: "hello", token: this.token, rate: this.rate, packet: this.packet, number: this.next,
        settings: Object.fromEntries(plain),
      });
      this.pings = setInterval(() => this.say({ type: "ping", at: performance.now() }), 1000);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.told(JSON.parse(data)) : this.arrived(data));
    socket.onclose = () => this.lost();
  }

  say(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  told(message) {
    ({
      waiting: () => { this.away = undefined; this.view.waiting(message.position); },
      ready: () => this.ready(message),
      pong: () => this.view.trip(Math.round(performance.now() - message.at)),
      noted: () => this.noted(message),
      over: () => this.over(message.outcome, message.reason),
      refused: () => this.over("refused", message.reason),
      moved: () => this.over("moved", ""),
    })[message.type]();
  }

  ready({ expects, position, token, limit }) {
    this.token = token;
    this.view.token(token);
    this.live = true;
    this.away = undefined;
    if (this.next === null) {
      this.next = expects;
      this.node.port.postMessage({ begin: { number: expects, position } });
    }
    this.until = expects * this.packet / this.rate + limit;
    this.kept = this.kept.filter((packet) => packet.number >= expects);
    for (const { data } of this.kept) this.socket.send(data);
    for (const mark of this.marks) this.say({ type: "mark", ...mark });
    if (this.ending) this.say({ type: "end" });
    else this.view.listening();
  }

  made({ number, position, dropped, missed, frame, mic, heard }) {
    if (this.ended || this.ending) return;
    const data = new ArrayBuffer(16 + 4 * this.packet), head = new DataView(data);
    [number, position, dropped, missed].forEach((value, k) => head.setUint32(4 * k, value, true));
    new Int16Array(data, 16, this.packet).set(mic);
    new Int16Array(data, 16 + 2 * this.packet, this.packet).set(heard);
    this.next = number + 1;
    this.zero = frame - this.next * this.packet; // the audio clock at sample 0
    this.kept.push({ number, data });
    if (this.kept.length * this.packet > KEEP * this.rate) this.kept.shift();
    if (this.live && this.socket.readyState === WebSocket.OPEN) this.socket.send(data);
    this.show(loudness(mic), loudness(heard));
  }

  show(mic, heard) {
    this.view.level(mic);
    if (!this.live) return;
    if (heard > 0.01) this.spoke = this.next;
    const speaking = this.spoke !== undefined && (this.next - this.spoke) * this.packet < QUIET * this.rate;
    this.view.going(speaking, Math.max(0, this.until - this.next * this.packet / this.rate));
  }

  arrived(data) {
    const position = new DataView(data).getUint32(4, true);
    this.node.port.postMessage({ samples: new Int16Array(data.slice(8)), position });
  }

  // Mark this moment: the sample that is being recorded now.
  mark(kind) {
    if (this.zero === undefined || this.ended || this.ending) return;
    const sample = Math.max(0, Math.round(this.audio.context.currentTime * this.rate) - this.zero);
    this.marks.push({ sample, kind });
    if (this.live) this.say({ type: "mark", sample, kind });
  }

  noted({ sample, kind }) {
    this.marks = this.marks.filter((mark) => mark.sample !== sample || mark.kind !== kind);
    this.view.noted(kind);
  }

  end() { // by the person; the server says when it is so
    if (this.next === null) return this.over("left", "");
    this.ending = true;
    this.view.ending();
    this.say({ type: "end" });
  }

  lost() {
    clearInterval(this.pings);
    this.live = false;
    if (this.ended) return;
    this.away ??= performance.now();
    if (performance.now() - this.away > PATIENCE) return this.over("voided", "the connection was lost");
    this.view.away();
    setTimeout(() => this.ended || this.connect(), 500);
  }

  over(outcome, reason) {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.pings);
    closeAudio(this.audio, this.node);
    this.socket?.close();
    this.view.over(outcome, reason);
  }
}
