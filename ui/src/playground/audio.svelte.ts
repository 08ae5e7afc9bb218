/** The states of the Speech and Transcription tabs. */
import { call, getJson } from '../api/http';
import { Pref } from '../state/prefs.svelte';
import { sessionId } from '../state/session.svelte';
import { Job } from './job.svelte';

export const defaultVoices = ['alloy', 'ash', 'coral', 'echo', 'fable', 'nova', 'shimmer'];
export const audioFormats = ['mp3', 'wav', 'opus', 'flac', 'aac'];

class Speech {
  readonly model = new Pref('speech.model', '');
  readonly voice = new Pref('speech.voice', 'alloy');
  readonly format = new Pref('speech.format', '');
  readonly autoplay = new Pref('speech.autoplay', false);
  readonly known = new Pref<Record<string, string[]>>('speech.voices', {});
  text = $state('');
  speed = $state(1);
  instructions = $state('');
  result = $state.raw<{ url: string; type: string; blob: Blob } | null>(null);
  readonly job = new Job();

  get voices(): string[] {
    const known = this.known.value[this.model.value];
    return known !== undefined && known.length > 0 ? known : defaultVoices;
  }

  /** Lists of strings and lists of objects are both in use; without an answer the defaults stay. */
  async refreshVoices(): Promise<void> {
    const answer = await getJson<unknown>(`/v1/audio/voices?model=${encodeURIComponent(this.model.value)}`);
    const list = Array.isArray(answer) ? answer : ((answer as { voices?: unknown[] })?.voices ?? []);
    const names = list
      .map((entry) => (typeof entry === 'string' ? entry : ((entry as { id?: string; name?: string })?.id ?? (entry as { name?: string })?.name ?? '')))
      .filter((name) => name !== '');
    if (names.length === 0) throw new Error('the answer names no voices');
    this.known.value = { ...this.known.value, [this.model.value]: names };
    if (!names.includes(this.voice.value)) this.voice.value = names[0] ?? 'alloy';
  }

  run(): Promise<void> {
    return this.job.run(async (signal) => {
      const answer = await call('/v1/audio/speech', {
        method: 'POST',
        signal,
        headers: { 'Content-Type': 'application/json', 'X-Session-ID': sessionId },
        body: JSON.stringify({
          model: this.model.value,
          input: this.text,
          voice: this.voice.value,
          ...(this.speed === 1 ? {} : { speed: this.speed }),
          ...(this.format.value === '' ? {} : { response_format: this.format.value }),
          ...(this.instructions.trim() === '' ? {} : { instructions: this.instructions.trim() }),
        }),
      });
      const blob = await answer.blob();
      if (this.result !== null) URL.revokeObjectURL(this.result.url);
      this.result = { url: URL.createObjectURL(blob), type: blob.type || 'audio/mpeg', blob };
    });
  }
}

export const audioInputs = ['mp3', 'wav', 'ogg', 'oga', 'opus', 'm4a', 'mp4', 'mpeg', 'mpga', 'flac', 'webm', 'aac'];

class Transcription {
  readonly model = new Pref('transcription.model', '');
  readonly format = new Pref('transcription.format', 'json');
  language = $state('');
  prompt = $state('');
  file = $state.raw<File | null>(null);
  url = $state('');
  refused = $state('');
  text = $state('');
  recording = $state(false);
  private recorder: MediaRecorder | null = null;
  readonly job = new Job();

  take(file: File | undefined): void {
    if (file === undefined) return;
    const end = file.name.split('.').pop()?.toLowerCase() ?? '';
    if (!audioInputs.includes(end) && !file.type.startsWith('audio/')) {
      this.refused = `${file.name}: not an audio format that is taken (${audioInputs.join(', ')})`;
      return;
    }
    this.refused = '';
    if (this.url !== '') URL.revokeObjectURL(this.url);
    this.file = file;
    this.url = URL.createObjectURL(file);
  }

  async record(): Promise<void> {
    if (this.recorder !== null) {
      this.recorder.stop();
      return;
    }
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const recorder = new MediaRecorder(stream);
    const parts: Blob[] = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      for (const track of stream.getTracks()) track.stop();
      this.recorder = null;
      this.recording = false;
      const type = recorder.mimeType.split(';')[0] ?? 'audio/webm';
      this.take(new File(parts, `recording.${type.includes('mp4') ? 'm4a' : type.includes('ogg') ? 'ogg' : 'webm'}`, { type }));
    };
    this.recorder = recorder;
    this.recording = true;
    recorder.start();
  }

  run(): Promise<void> {
    return this.job.run(async (signal) => {
      if (this.file === null) return;
      const form = new FormData();
      form.set('model', this.model.value);
      form.set('file', this.file, this.file.name);
      if (this.language.trim() !== '') form.set('language', this.language.trim());
      if (this.prompt.trim() !== '') form.set('prompt', this.prompt.trim());
      if (this.format.value !== 'json') form.set('response_format', this.format.value);
      const answer = await call('/v1/audio/transcriptions', { method: 'POST', signal, headers: { 'X-Session-ID': sessionId }, body: form });
      const text = await answer.text();
      this.text = this.format.value === 'json' ? textOf(text) : this.format.value === 'verbose_json' ? pretty(text) : text;
    });
  }
}

function textOf(body: string): string {
  try {
    return (JSON.parse(body) as { text?: string }).text ?? body;
  } catch {
    return body;
  }
}

function pretty(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

export const speech = new Speech();
export const transcription = new Transcription();
