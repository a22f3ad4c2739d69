/** Figures as people read them. A thin space would be right before a unit; no-break keeps it on its line. */

import type { Gpu } from './records';

const MIB_PER_GB = 1024;

export const NOT_AVAILABLE = 'n/a';

export function gigabytes(mib: number): string {
  const value = mib / MIB_PER_GB;
  return value < 100 ? value.toFixed(1) : value.toFixed(0);
}

/** Such as "12.3 GB", and "512 MB" where it is little. */
export function memory(mib: number | null): string {
  if (mib === null) {
    return NOT_AVAILABLE;
  }
  return mib < MIB_PER_GB ? `${Math.round(mib)}\u00a0MB` : `${gigabytes(mib)}\u00a0GB`;
}

/** Such as "40.3 / 79.6 GB". */
export function memoryOf(used: number, total: number): string {
  return `${gigabytes(used)}\u00a0/\u00a0${gigabytes(total)}\u00a0GB`;
}

/** Such as "1.4 GB", "12 MB": of files, as the hub writes it. */
export function fileSize(bytes: number): string {
  return bytes < 1e9 ? `${bytes ? Math.max(1, Math.round(bytes / 1e6)) : 0}\u00a0MB` : `${(bytes / 1e9).toFixed(1)}\u00a0GB`;
}

/** Such as "45 s", "12 min", "2 h 05 min", "3 d 4 h". */
export function duration(seconds: number): string {
  if (seconds < 90) {
    return `${Math.max(0, Math.round(seconds))}\u00a0s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes}\u00a0min`;
  }
  const hours = Math.floor(minutes / 60);
  if (hours < 48) {
    return `${hours}\u00a0h\u00a0${String(minutes % 60).padStart(2, '0')}\u00a0min`;
  }
  return `${Math.floor(hours / 24)}\u00a0d\u00a0${hours % 24}\u00a0h`;
}

/** What is left, to the second: "29 min 05 s", "41 s". */
export function precisely(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const rest = whole % 60;
  return whole < 60 ? `${rest}\u00a0s` : `${Math.floor(whole / 60)}\u00a0min\u00a0${String(rest).padStart(2, '0')}\u00a0s`;
}

/** The share of a GPU's memory in use, in percent; null where it is not known. */
export function memoryPercent(gpu: Gpu): number | null {
  const used = gpu.figures['memory_used_mib'];
  return typeof used === 'number' && gpu.memory_total_mib ? (100 * used) / gpu.memory_total_mib : null;
}

/** What to call a GPU where there are several: "GPU 0", a slice "1g.10gb". */
export function shortName(gpu: Gpu): string {
  return gpu.mig_profile ? `GPU ${gpu.index} (${gpu.mig_profile})` : `GPU ${gpu.index}`;
}
