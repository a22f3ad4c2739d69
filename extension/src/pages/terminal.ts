/** The page "Terminal": one of the server's terminals, the same that JupyterLab shows, without JupyterLab. */

import '@xterm/xterm/css/xterm.css';
import '../../style/page.css';
import '../../style/terminal.css';

import { make } from '../dom';
import { nameOfMachine, place } from './page';
import { TerminalView } from './terminalview';

const view = new TerminalView(place, nameIn(window.location.pathname), name => {
  const path = place.link(`gpubox/terminal/${name}`);
  window.history.replaceState(null, '', path);
  void nameOfMachine().then(machine => {
    document.title = `${machine} · Terminal ${name}`;
  });
});
document.body.append(make('main', 'gt-Page', view.node));
void view.start();

/** The last part of the page's address: the terminal's name, or '' for a new one. */
function nameIn(path: string): string {
  return /\/gpubox\/terminal\/(\w+)$/.exec(path)?.[1] ?? '';
}
