/** Files that people drop, paste or choose: what is taken, what is refused and why. */

export const imageTypes = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];
const maxBytes = 20 * 1024 * 1024;
export const maxImages = 5;

/** Why an image is not taken; null when it is. */
export function refusal(file: { name: string; type: string; size: number }, already: number): string | null {
  const name = file.name || 'the image';
  if (!imageTypes.includes(file.type)) return `${name}: only JPEG, PNG, GIF and WebP are taken`;
  if (file.size > maxBytes) return `${name}: larger than 20 MB`;
  return already >= maxImages ? `${name}: at most ${maxImages} images in a message` : null;
}

export function dataUrl(file: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error('the file cannot be read'));
    reader.readAsDataURL(file);
  });
}

/** A file extension for a media type as servers send it. */
export function extension(type: string): string {
  const known: Record<string, string> = {
    'audio/mpeg': 'mp3', 'audio/mp3': 'mp3', 'audio/wav': 'wav', 'audio/x-wav': 'wav', 'audio/wave': 'wav', 'audio/vnd.wave': 'wav',
    'audio/ogg': 'ogg', 'audio/opus': 'opus', 'audio/flac': 'flac', 'audio/x-flac': 'flac', 'audio/aac': 'aac', 'audio/mp4': 'm4a', 'audio/webm': 'webm', 'audio/pcm': 'pcm',
    'image/png': 'png', 'image/jpeg': 'jpg', 'image/webp': 'webp',
  };
  return known[(type.split(';')[0] ?? '').trim().toLowerCase()] ?? 'bin';
}
