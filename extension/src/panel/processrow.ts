import {
  closeIcon,
  consoleIcon,
  type LabIcon,
  notebookIcon,
  runningIcon,
  stopIcon,
  terminalIcon
} from '@jupyterlab/ui-components';

import { COMMANDS, type Context } from '../context';
import { make, setWords } from '../dom';
import type { Owner, Process } from '../records';
import { memory } from '../units';

/** One notebook, terminal or other owner of processes on a GPU, with what can be done about it. */
export class ProcessRow {
  constructor(
    private readonly _context: Context,
    private readonly _owner: Owner
  ) {
    const canOpen = (_owner.kind === 'kernel' && _owner.path) || _owner.kind === 'terminal';
    this._name = canOpen ? this._openButton() : make('span', 'gb-Process-name');
    this.node = make(
      'li',
      'gb-Process',
      icon(_owner).element({ tag: 'span', className: 'gb-Process-icon', width: '14px', height: '14px' }),
      make('span', 'gb-Process-words', this._name, this._estimated),
      this._memory
    );
    if (_owner.kind === 'kernel' && _owner.id) {
      this.node.append(...this._kernelButtons());
    }
  }

  readonly node: HTMLLIElement;

  show(processes: Process[]): void {
    const { trans } = this._context;
    const pids = processes.map(process => `${process.name} (pid ${process.pid})`).join(', ');
    const first = processes[0];
    setWords(this._name, this._owner.name || (first ? `${first.name}, pid ${first.pid}` : ''));
    this._name.title = [this._owner.path, pids].filter(Boolean).join('\n');
    const known = processes.map(process => process.memory_mib).filter(mib => mib !== null);
    setWords(this._memory, memory(known.length ? known.reduce((sum, mib) => sum + mib, 0) : null));
    const isEstimated = processes.some(process => process.is_estimated);
    setWords(this._estimated, isEstimated ? trans.__('estimated') : '');
    this._estimated.title = trans.__('The driver does not say whose this process is; it is inferred.');
    this._estimated.hidden = !isEstimated;
  }

  private _openButton(): HTMLButtonElement {
    const { commands } = this._context;
    const button = make('button', 'gb-Process-name gb-Link');
    button.type = 'button';
    button.addEventListener('click', () => void commands.execute(COMMANDS.openOwner, { ...this._owner }));
    return button;
  }

  private _kernelButtons(): HTMLButtonElement[] {
    const { trans } = this._context;
    const { id, name } = this._owner;
    const button = (sign: LabIcon, label: string, command: string) => {
      const node = make('button', 'gb-IconButton', sign.element({ tag: 'span', width: '14px', height: '14px' }));
      node.type = 'button';
      node.title = label;
      node.setAttribute('aria-label', label);
      node.addEventListener('click', () => void this._context.commands.execute(command, { id, name }));
      return node;
    };
    return [
      button(stopIcon, trans.__('Interrupt the kernel of %1', name), COMMANDS.interruptKernel),
      button(closeIcon, trans.__('Shut down the kernel of %1', name), COMMANDS.shutDownKernel)
    ];
  }

  private readonly _name: HTMLElement;
  private readonly _estimated = make('span', 'gb-Process-estimated');
  private readonly _memory = make('span', 'gb-Process-memory');
}

function icon(owner: Owner): LabIcon {
  if (owner.kind === 'terminal') {
    return terminalIcon;
  }
  if (owner.kind !== 'kernel') {
    return runningIcon;
  }
  return owner.name.endsWith('.ipynb') ? notebookIcon : consoleIcon;
}
