/** The toolbar's icons: strokes on a square of 16. */

const PATHS = {
  control: 'M3 8.5 6.5 2v8l2-2.5L11 14',
  clipboard: 'M5 3H3.5v11h9V3H11M5.5 2h5v2.5h-5zM6 8h4M6 10.5h4',
  keys: 'M1.5 4h13v8.5h-13zM4 6.5h.5M7 6.5h.5M10 6.5h.5M4 10h8M12.5 6.5h.1',
  files: 'M1.5 3.5h4l1.5 2h7.5v8h-13zM8 12V8M6 9.8 8 8l2 1.8',
  touch: 'M1.5 3h13v7h-13zM4 5.5h8M4 7.5h8M6.5 12.5 8 14l1.5-1.5',
  settings: 'M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M9 3v3h3V3zM4 10v3h3v-3z',
  link: 'M6.5 9.5l3-3M7 5l2-2a2.8 2.8 0 0 1 4 4l-2 2M9 11l-2 2a2.8 2.8 0 0 1-4-4l2-2',
  full: 'M2 6V2h4M14 6V2h-4M2 10v4h4M14 10v4h-4',
  lab: 'M3 2h10v12H3zM5.5 2v12M8 5.5h3M8 8h3',
  hide: 'M4 10l4-4 4 4',
  show: 'M4 6l4 4 4-4',
  folder: 'M1.5 3.5h4l1.5 2h7.5v8h-13z',
  file: 'M4 1.5h5l3 3v10H4zM9 1.5v3h3',
  pin: 'M8 10v4.5M4.5 10h7L10 7V2H6v5z'
} as const;

export type IconName = keyof typeof PATHS;

export function icon(name: IconName): SVGSVGElement {
  const node = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  node.setAttribute('viewBox', '0 0 16 16');
  node.setAttribute('aria-hidden', 'true');
  node.classList.add('gd-Icon');
  path.setAttribute('d', PATHS[name]);
  node.append(path);
  return node;
}
