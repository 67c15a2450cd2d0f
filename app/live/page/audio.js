// The microphone and the audio clock of a page, for the call and for the check of devices.

const RATES = [24000, 44100, 48000];

export const able = () => Boolean(navigator.mediaDevices && window.AudioWorkletNode);

// Ask for the microphone and start a clock at 24 kHz, or at the device's rate where the browser refuses that.
export async function openAudio(processing) {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing, channelCount: 1 },
  });
  for (const options of [{ sampleRate: 24000 }, {}]) {
    let context;
    try {
      context = new AudioContext({ latencyHint: "interactive", ...options });
      if (!RATES.includes(context.sampleRate)) throw new Error(`a sound rate of ${context.sampleRate} Hz`);
      const source = context.createMediaStreamSource(stream); // some browsers refuse 24 kHz only here
      await context.audioWorklet.addModule("/live/worklet.js");
      return { stream, context, source };
    } catch (error) {
      await context?.close();
      if (!options.sampleRate) {
        stream.getTracks().forEach((track) => track.stop());
        throw error;
      }
    }
  }
}

// The worklet between microphone and loudspeaker; `heard` gets its messages.
export function duplexNode({ context, source }, packet, prebuffer, heard) {
  const node = new AudioWorkletNode(context, "duplex", {
    outputChannelCount: [1],
    processorOptions: { packet: Math.round(packet * context.sampleRate), prebuffer: Math.round(prebuffer * context.sampleRate) },
  });
  node.port.onmessage = ({ data }) => heard(data);
  source.connect(node).connect(context.destination);
  return node;
}

export function closeAudio({ stream, context }, node) {
  node.port.postMessage({ end: true });
  node.disconnect();
  stream.getTracks().forEach((track) => track.stop());
  context.close();
}

// Root mean square of 16 bit samples, 0 to 1.
export function loudness(samples) {
  let sum = 0;
  for (const s of samples) sum += s * s;
  return Math.sqrt(sum / samples.length) / 32767;
}

// How far a meter stands for a loudness: -50 dB is 0, full scale 1.
export const onMeter = (level) => Math.max(0, Math.min(1, 1 + (20 * Math.log10(Math.max(level, 1e-4))) / 50));

// What to say when the microphone or the clock could not be had.
export const troubleWords = (error) => error.name === "NotAllowedError"
  ? ["Without the microphone there is no talk.", "Allow it in your browser's address bar, then try again."]
  : error.name === "NotFoundError"
    ? ["No microphone was found.", "Plug one in, then try again."]
    : ["The talk could not start.", String(error.message)];
