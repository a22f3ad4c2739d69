/** What a chart can show: the columns that the server remembers, with their scale and their words. */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { Colours } from '../colours';
import type { Gpu } from '../records';
import { gigabytes } from '../units';

export interface Curve {
  column: string;
  label: string;
  unit: string;
  colour: keyof Colours;
  /** The top of the scale; null where the values decide. */
  top(gpu: Gpu): number | null;
  /** A value as a number in `unit`. */
  words(value: number): string;
  /** Steps between the marks of the scale; undefined for the usual ones. */
  steps?: number[];
}

const GB = [1, 2, 5, 10, 20, 25, 50, 100, 200].map(gigabytes => gigabytes * 1024);
const whole = (value: number) => String(Math.round(value));

export function curves(trans: TranslationBundle): Curve[] {
  const percent = () => 100;
  const limit = (gpu: Gpu) => {
    const watts = gpu.figures['power_limit_watts'];
    return typeof watts === 'number' ? watts : null;
  };
  return [
    {
      column: 'utilisation_percent',
      label: trans.__('Utilisation'),
      unit: '%',
      colour: 'utilisation',
      top: percent,
      words: whole
    },
    {
      column: 'memory_used_mib',
      label: trans.__('Memory'),
      unit: 'GB',
      colour: 'memory',
      top: gpu => gpu.memory_total_mib,
      words: value => gigabytes(value),
      steps: GB
    },
    { column: 'power_watts', label: trans.__('Power'), unit: 'W', colour: 'other', top: limit, words: whole },
    {
      column: 'temperature_celsius',
      label: trans.__('Temperature'),
      unit: '°C',
      colour: 'other',
      top: percent,
      words: whole
    },
    {
      column: 'clock_sm_mhz',
      label: trans.__('Clock'),
      unit: 'MHz',
      colour: 'other',
      top: () => null,
      words: whole
    },
    {
      column: 'memory_utilisation_percent',
      label: trans.__('Memory activity'),
      unit: '%',
      colour: 'other',
      top: percent,
      words: whole
    }
  ];
}
