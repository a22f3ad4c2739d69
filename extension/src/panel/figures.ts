/** The figures of a card, in their order: what each is called, and how it is told. */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { Gpu } from '../records';
import { NOT_AVAILABLE, memory, memoryOf, memoryPercent } from '../units';

const NOT_YET = '\u2026';
const KIB_PER_MB = 1024;
const KIB_PER_GB = 1024 * 1024;

export interface Figure {
  /** As the settings name it. */
  name: string;
  label: string;
  /** What it is made of, in the server's words. */
  columns: string[];
  words(gpu: Gpu): string;
  /** For those that are drawn as a meter; null where there is no such figure. */
  percent?(gpu: Gpu): number | null;
}

export function meters(trans: TranslationBundle): Figure[] {
  return [
    {
      name: 'utilisation',
      label: trans.__('Utilisation'),
      columns: ['utilisation_percent'],
      words: gpu => told(gpu, 'utilisation_percent', '%'),
      percent: gpu => number(gpu, 'utilisation_percent')
    },
    {
      name: 'memory',
      label: trans.__('Memory'),
      columns: ['memory_used_mib'],
      words: gpu => {
        const used = number(gpu, 'memory_used_mib');
        if (used === null) {
          return told(gpu, 'memory_used_mib', '');
        }
        return gpu.memory_total_mib ? memoryOf(used, gpu.memory_total_mib) : memory(used);
      },
      percent: memoryPercent
    }
  ];
}

export function cells(trans: TranslationBundle): Figure[] {
  const plain = (name: string, label: string, column: string, unit: string): Figure => ({
    name,
    label,
    columns: [column],
    words: gpu => told(gpu, column, unit)
  });
  const link = (name: string, key: string): Figure => ({
    name,
    label: trans.__('%1 out / in', name),
    columns: [`${key}_tx_kib_per_second`, `${key}_rx_kib_per_second`],
    words: gpu => [rate(gpu, `${key}_tx_kib_per_second`), rate(gpu, `${key}_rx_kib_per_second`)].join(' / ')
  });
  return [
    {
      name: 'power',
      label: trans.__('Power'),
      columns: ['power_watts', 'power_limit_watts'],
      words: gpu => {
        const limit = number(gpu, 'power_limit_watts');
        const watts = number(gpu, 'power_watts');
        return watts !== null && limit !== null
          ? `${Math.round(watts)}\u00a0/\u00a0${Math.round(limit)}\u00a0W`
          : told(gpu, 'power_watts', 'W');
      }
    },
    plain('temperature', trans.__('Temp.'), 'temperature_celsius', '°C'),
    plain('clock', trans.__('Clock'), 'clock_sm_mhz', 'MHz'),
    plain('memory clock', trans.__('Memory clock'), 'clock_memory_mhz', 'MHz'),
    plain('memory activity', trans.__('Memory activity'), 'memory_utilisation_percent', '%'),
    link('PCIe', 'pcie'),
    link('NVLink', 'nvlink')
  ];
}

/** The age in seconds of a figure that could not be read anew; null where it is fresh. */
export function age(figure: Figure, gpu: Gpu): number | null {
  const ages = figure.columns.map(column => gpu.stale[column]).filter(seconds => seconds !== undefined);
  return ages.length ? Math.max(...ages) : null;
}

/** What is wrong or held back, one short phrase each; the second word says how bad it is. */
export function troubles(gpu: Gpu, trans: TranslationBundle): { words: string; isBad: boolean }[] {
  const found: { words: string; isBad: boolean }[] = [];
  const { throttle_reasons: reasons } = gpu.figures;
  if (Array.isArray(reasons)) {
    found.push(...reasons.map(reason => ({ words: trans.__('Slowed down: %1', reason), isBad: false })));
  }
  const count = (column: string, words: string, isBad: boolean) => {
    const value = number(gpu, column);
    if (value) {
      found.push({ words: `${words}: ${value}`, isBad });
    }
  };
  count('ecc_uncorrected', trans.__('ECC errors'), true);
  count('ecc_corrected', trans.__('ECC corrected'), false);
  count('retired_pages', trans.__('Retired pages'), false);
  count('xid', 'Xid', true);
  return found;
}

function number(gpu: Gpu, column: string): number | null {
  const value = gpu.figures[column];
  return typeof value === 'number' ? value : null;
}

function told(gpu: Gpu, column: string, unit: string): string {
  const value = gpu.figures[column];
  if (value === undefined) {
    return NOT_YET;
  }
  return typeof value === 'number' ? `${Math.round(value)}\u00a0${unit}` : NOT_AVAILABLE;
}

function rate(gpu: Gpu, column: string): string {
  const kib = number(gpu, column);
  if (kib === null) {
    return told(gpu, column, '');
  }
  return kib < KIB_PER_GB
    ? `${(kib / KIB_PER_MB).toFixed(kib < 10 * KIB_PER_MB ? 1 : 0)}\u00a0MB/s`
    : `${(kib / KIB_PER_GB).toFixed(1)}\u00a0GB/s`;
}
