/** Numbers, times and sizes as people read them. */

const dash = '–';
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

export function count(value: number | null | undefined): string {
  return value === null || value === undefined || Number.isNaN(value) ? dash : whole.format(value);
}

/** Token counts where nothing is a dash. */
export function tokens(value: number): string {
  return value <= 0 ? dash : whole.format(value);
}

/** Tokens per second; negative is unknown. */
export function speed(value: number | null | undefined): string {
  if (value === null || value === undefined || value < 0 || !Number.isFinite(value)) return 'unknown';
  return `${value >= 1000 ? whole.format(value) : value >= 100 ? value.toFixed(0) : value.toFixed(1)} t/s`;
}

/** Milliseconds in the unit that fits. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return dash;
  if (ms < 1) return '0 ms';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${pad(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${pad(Math.floor((seconds % 3600) / 60))}m`;
  return `${Math.floor(seconds / 86_400)}d ${pad(Math.floor((seconds % 86_400) / 3600))}h`;
}

/** A running time: whole seconds only, so that it does not flicker. */
export function elapsed(ms: number): string {
  return ms < 60_000 ? `${Math.max(0, Math.floor(ms / 1000))} s` : duration(ms);
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}

export function clockTime(at: number): string {
  const date = new Date(at);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** Local YYYY-MM-DD HH:mm:ss. */
export function stamp(at: number): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clockTime(at)}`;
}

/** How long ago `at` was; from a day on the date itself. */
export function ago(ms: number, at: number): string {
  if (ms < 5000) return 'now';
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ago`;
  return stamp(at);
}

/** Bytes in base 1024. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return dash;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let size = value;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  const digits = unit < 2 ? 0 : size < 10 ? 2 : size < 100 ? 1 : 0;
  return `${size.toFixed(digits)} ${units[unit]}`;
}

/** 131072 → 131K. */
export function context(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toFixed(1))}M`;
  return value >= 1000 ? `${Math.floor(value / 1000)}K` : String(value);
}

export function percent(part: number, total: number): string {
  return total > 0 ? `${((100 * part) / total).toFixed(1)}%` : dash;
}

export function drafted(accepted: number, total: number): string {
  return total > 0 ? `${percent(accepted, total)} (${accepted}/${total})` : dash;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${whole.format(value)} ${value === 1 ? one : many}`;
}

/** A Prometheus-style short number for axes: 12, 1.2K, 3M. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toFixed(1))}M`;
  if (size >= 1e4) return `${Math.round(value / 1e3)}K`;
  if (size >= 1e3) return `${Number((value / 1e3).toFixed(1))}K`;
  return size >= 10 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}
