import { setChildren, make, setWords } from '../dom';
import type { Context } from '../context';
import type { Others, Process } from '../records';
import { memory } from '../units';
import { ProcessRow } from './processrow';

/** The processes on one GPU, those of one kernel or terminal as one row; other users' as a sum. */
export class ProcessList {
  constructor(private readonly _context: Context) {
    this.node.setAttribute('aria-label', _context.trans.__('Processes'));
  }

  readonly node = make('ul', 'gb-Processes');

  show(processes: Process[], others: Others | undefined): void {
    const groups = new Map<string, Process[]>();
    for (const process of processes) {
      const { kind, id } = process.owner;
      const key = id ? `${kind} ${id}` : `pid ${process.pid}`;
      groups.set(key, [...(groups.get(key) ?? []), process]);
    }
    // Rows stay while what they name stays, so that a click or the focus never meets another process.
    this._rows = new Map(
      [...groups].map(([key, group]) => {
        const row = this._rows.get(key) ?? new ProcessRow(this._context, group[0]!.owner);
        row.show(group);
        return [key, row];
      })
    );
    const nodes: Node[] = [...this._rows.values()].map(row => row.node);
    if (others?.count) {
      nodes.push(this._showOthers(others));
    }
    if (!nodes.length) {
      setWords(this._nobody, this._context.trans.__('Nothing runs here'));
      nodes.push(this._nobody);
    }
    setChildren(this.node, nodes);
  }

  private _showOthers(others: Others): Node {
    const { trans } = this._context;
    const words = trans._n('%1 process of others', '%1 processes of others', others.count);
    setWords(this._othersName, words);
    setWords(this._othersMemory, memory(others.memory_mib));
    return this._others;
  }

  private _rows = new Map<string, ProcessRow>();
  private readonly _nobody = make('li', 'gb-Process gb-mod-faint');
  private readonly _othersName = make('span', 'gb-Process-name');
  private readonly _othersMemory = make('span', 'gb-Process-memory');
  private readonly _others = make('li', 'gb-Process gb-mod-faint', this._othersName, this._othersMemory);
}
