import type { TranslationBundle } from '@jupyterlab/translation';

import { make } from '../dom';
import type { Curve } from './curves';

export interface TimeRange {
  seconds: number;
  label: string;
  source: 'fine' | 'coarse';
}

export function timeRanges(trans: TranslationBundle): TimeRange[] {
  return [
    { seconds: 600, label: trans.__('10 min'), source: 'fine' },
    { seconds: 3600, label: trans.__('1 h'), source: 'coarse' },
    { seconds: 86_400, label: trans.__('24 h'), source: 'coarse' }
  ];
}

/** The time range, of which there is one, and the figures, of which there are some. */
export function makeToolbar(
  trans: TranslationBundle,
  ranges: TimeRange[],
  all: Curve[],
  chosen: Set<string>,
  onRange: (range: TimeRange) => void,
  onFigures: () => void
): HTMLElement {
  const rangeGroup = make('div', 'gb-Segments');
  rangeGroup.setAttribute('role', 'group');
  rangeGroup.setAttribute('aria-label', trans.__('Time range'));
  const rangeButtons = ranges.map((range, index) => {
    const button = toggle(range.label, index === 0);
    button.addEventListener('click', () => {
      rangeButtons.forEach(other => other.setAttribute('aria-pressed', String(other === button)));
      onRange(range);
    });
    return button;
  });
  rangeGroup.append(...rangeButtons);

  const figureGroup = make('div', 'gb-Segments');
  figureGroup.setAttribute('role', 'group');
  figureGroup.setAttribute('aria-label', trans.__('Figures'));
  figureGroup.append(
    ...all.map(curve => {
      const button = toggle(curve.label, chosen.has(curve.column));
      button.addEventListener('click', () => {
        if (!chosen.delete(curve.column)) {
          chosen.add(curve.column);
        }
        button.setAttribute('aria-pressed', String(chosen.has(curve.column)));
        onFigures();
      });
      return button;
    })
  );
  return make('div', 'gb-Dashboard-bar', rangeGroup, figureGroup);
}

function toggle(label: string, isPressed: boolean): HTMLButtonElement {
  const button = make('button', 'gb-Segment', label);
  button.type = 'button';
  button.setAttribute('aria-pressed', String(isPressed));
  return button;
}
