/** The theme's colours for a canvas, which knows no CSS variables; read once a theme. */

export interface Colours {
  utilisation: string;
  memory: string;
  other: string;
  grid: string;
  text: string;
}

export function readColours(node: Element): Colours {
  const style = getComputedStyle(node);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return {
    utilisation: read('--gb-utilisation'),
    memory: read('--gb-memory'),
    other: read('--gb-other'),
    grid: read('--gb-faint'),
    text: read('--jp-ui-font-color2')
  };
}
