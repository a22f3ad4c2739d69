/** The panel "Files": what is in the home, to be downloaded; and a button for who cannot drop files. */

import { make, setWords } from '../dom';
import { icon } from './icons';
import { button } from './parts';
import { sentenceOf, type Place } from './place';
import type { Uploads } from './upload';

interface Model {
  name: string;
  path: string;
  type: 'directory' | 'file' | 'notebook';
  size: number | null;
  content: Model[] | null;
}

export class Files {
  constructor(
    private readonly _place: Place,
    uploads: Uploads | null
  ) {
    const { trans } = _place;
    this._list.setAttribute('aria-label', trans.__('Files of your home'));
    this._note.setAttribute('role', 'status');
    this.panel.append(this._where, this._list, this._note);
    if (uploads) {
      const picker = make('input');
      picker.type = 'file';
      picker.multiple = true;
      picker.hidden = true;
      picker.addEventListener('change', () => {
        void uploads.add([...(picker.files ?? [])]).then(() => this.show(this._path));
        picker.value = '';
      });
      this.panel.append(
        make('p', 'gd-Note', trans.__('Files dropped on the desktop go into your home.')),
        button(trans.__('Upload…'), () => picker.click()),
        picker
      );
    }
  }

  readonly panel = make('div', 'gd-Stack');

  async show(path = ''): Promise<void> {
    const { trans } = this._place;
    this._path = path;
    setWords(this._where, `~/${path}`);
    try {
      const answer = await this._place.ask(`api/contents/${quoted(path)}?type=directory&content=1`, { cache: 'no-store' });
      if (!answer.ok) {
        throw new Error(await sentenceOf(answer));
      }
      const models = ((await answer.json()) as Model).content ?? [];
      const order = (model: Model): string => (model.type === 'directory' ? '0' : '1') + model.name.toLowerCase();
      models.sort((one, other) => order(one).localeCompare(order(other)));
      const up = path ? [this._folder('..', path.split('/').slice(0, -1).join('/'))] : [];
      this._list.replaceChildren(...up, ...models.map(model => this._row(model)));
      setWords(this._note, models.length ? '' : trans.__('There is nothing here.'));
    } catch (error) {
      setWords(this._note, trans.__('The files could not be listed: %1', (error as Error).message));
    }
  }

  private _row(model: Model): HTMLElement {
    if (model.type === 'directory') {
      return this._folder(model.name, model.path);
    }
    const link = make('a', 'gd-File', icon('file'), make('span', 'gd-File-name', model.name));
    link.append(make('span', 'gd-File-size', size(model.size)));
    link.href = this._place.link(`files/${quoted(model.path)}?download=1`);
    link.download = model.name;
    link.title = this._place.trans.__('Download %1', model.name);
    return make('li', '', link);
  }

  private _folder(name: string, path: string): HTMLElement {
    const node = button('', () => void this.show(path), 'gd-File');
    node.append(icon('folder'), make('span', 'gd-File-name', name));
    return make('li', '', node);
  }

  private readonly _where = make('p', 'gd-Note');
  private readonly _list = make('ul', 'gd-Files');
  private readonly _note = make('p', 'gd-Note');
  private _path = '';
}

function quoted(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function size(bytes: number | null): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes ?? 0;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return bytes === null ? '' : `${value.toFixed(unit && value < 10 ? 1 : 0)} ${units[unit]}`;
}
