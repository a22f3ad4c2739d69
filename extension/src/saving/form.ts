import { Dialog, showDialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import type { Context } from '../context';
import { make, setWords } from '../dom';
import type { Templates } from '../records';
import { fileSize } from '../units';

export interface Wanted {
  name: string;
  note: string;
}

const LONGEST_NAME = 40;
const LONGEST_NOTE = 500;
const NEW = '';

/** What the template is to be called; null where nothing is to be saved. */
export async function askWhat(context: Context, before: Wanted, templates: Templates, refusal: string): Promise<Wanted | null> {
  const { trans } = context;
  const form = new SaveForm(context, before, templates, refusal);
  const answer = await showDialog<Wanted>({
    title: trans.__('Save as template'),
    body: form,
    focusNodeSelector: '[data-first]',
    buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Save') })]
  });
  return answer.button.accept ? answer.value : null;
}

/** A new template, or the next version of one of the user's own; its name and note. */
class SaveForm extends Widget {
  constructor(
    private readonly _context: Context,
    before: Wanted,
    private readonly _told: Templates,
    refusal: string
  ) {
    super({ node: make('div', 'gb-Save') });
    const { trans } = _context;
    this._name.value = before.name;
    this._note.value = before.note;
    this._name.maxLength = LONGEST_NAME;
    this._note.maxLength = LONGEST_NOTE;
    this._name.placeholder = trans.__('such as torch-lab');
    this._note.placeholder = trans.__('What it is for');
    this._name.autocomplete = this._note.autocomplete = 'off';
    this._name.spellcheck = false;
    this._hint.id = 'gb-save-hint';
    this._name.setAttribute('aria-describedby', this._hint.id);
    const said = make('p', 'gb-Save-refusal', refusal);
    said.setAttribute('role', 'alert');
    said.hidden = !refusal;
    this.node.append(
      make('p', '', trans.__('What was installed and changed on this machine outside your home is kept, to start from again and to share. Notebooks go on meanwhile. Homes, temporary files, logs and the hub’s tokens are not in it.')),
      said,
      ...this._choice(before),
      this._named,
      labelled(trans.__('Note'), this._note),
      make('p', 'gb-Save-room', this._room())
    );
    this._name.addEventListener('input', () => this._show());
    this._show();
  }

  getValue(): Wanted {
    return { name: this._as.value || this._name.value.trim(), note: this._note.value.trim() };
  }

  /** Whether it is new; nothing to choose for those who have none. */
  private _choice(before: Wanted): HTMLElement[] {
    const { trans } = this._context;
    this._named.append(make('span', '', trans.__('Name')), this._name, this._hint);
    const { templates } = this._told;
    (templates.length ? this._as : this._name).setAttribute('data-first', '');
    if (!templates.length) {
      return [];
    }
    this._as.append(option(NEW, trans.__('A new template')));
    for (const one of templates) {
      this._as.append(option(one.name, trans.__('Version %1 of %2', one.version + 1, one.name)));
    }
    this._as.value = templates.some(one => one.name === before.name) ? before.name : NEW;
    this._as.addEventListener('change', () => {
      const chosen = templates.find(one => one.name === this._as.value);
      this._note.value = chosen?.note ?? '';
      this._show();
      chosen || this._name.focus();
    });
    return [labelled(trans.__('Save as'), this._as)];
  }

  private _show(): void {
    const { trans } = this._context;
    this._named.hidden = this._as.value !== NEW;
    const same = this._told.templates.find(one => one.name === this._name.value.trim());
    setWords(
      this._hint,
      same
        ? trans.__('You have %1 already: this becomes its version %2.', same.name, same.version + 1)
        : trans.__('Lower-case letters, digits, “-”, “.” and “_”.')
    );
  }

  private _room(): string {
    const { trans } = this._context;
    const { used_bytes: used, limit_bytes: limit } = this._told;
    return limit === null ? '' : trans.__('Your templates take %1 of %2.', fileSize(used), fileSize(limit));
  }

  private readonly _as = make('select');
  private readonly _name = make('input');
  private readonly _note = make('input');
  private readonly _hint = make('small', 'gb-Save-hint');
  private readonly _named = make('label', 'gb-Save-field');
}

function labelled(words: string, field: HTMLElement): HTMLLabelElement {
  return make('label', 'gb-Save-field', make('span', '', words), field);
}

function option(value: string, words: string): HTMLOptionElement {
  const node = make('option', '', words);
  node.value = value;
  return node;
}
