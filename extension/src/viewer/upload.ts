/** Files dropped on the desktop go into the home, through Jupyter's Contents API, a piece at a time. */

import { make, setWords } from '../dom';
import { button } from './parts';
import { sentenceOf, type Place } from './place';
import type { Toasts } from './toasts';

const CHUNK_BYTES = 4 * 1024 * 1024;

interface Model {
  content: { name: string }[] | null;
}

export class Uploads {
  constructor(
    private readonly _place: Place,
    private readonly _toasts: Toasts
  ) {}

  /** Take what is dropped on an element. */
  listen(target: HTMLElement): void {
    const stop = (event: DragEvent): void => {
      if (event.dataTransfer?.types.includes('Files')) {
        event.preventDefault();
        target.classList.toggle('gd-mod-drop', event.type === 'dragover');
      }
    };
    target.addEventListener('dragover', stop);
    target.addEventListener('dragleave', stop);
    target.addEventListener('drop', event => {
      stop(event);
      void this.add(filesOf(event.dataTransfer, () => this._refuseFolder()));
    });
  }

  /** One after the other. */
  async add(files: File[]): Promise<void> {
    for (const file of files) {
      await this._upload(file);
    }
  }

  private _refuseFolder(): void {
    this._toasts.complain(this._place.trans.__('A folder cannot be dropped here: pack it into one file first, such as a zip.'));
  }

  private async _upload(file: File): Promise<void> {
    const { trans } = this._place;
    const abort = new AbortController();
    const meter = make('progress', 'gd-Progress');
    meter.max = Math.max(1, file.size);
    meter.value = 0;
    meter.setAttribute('aria-label', trans.__('Upload of %1', file.name));
    const words = make('span', 'gd-Toast-words', file.name);
    const cancel = button(trans.__('Cancel'), () => abort.abort());
    const row = this._toasts.add('gd-Upload', words, meter, cancel);
    let path = '';
    try {
      path = await this._freeName(file.name);
      await this._send(file, path, abort.signal, sent => {
        meter.value = sent;
        setWords(words, `${path} · ${Math.round((100 * sent) / Math.max(1, file.size))} %`);
      });
      row.remove();
      this._toasts.say(trans.__('%1 is in your home.', path));
    } catch (error) {
      row.remove();
      if (path) {
        await this._place.ask(`api/contents/${encodeURIComponent(path)}`, { method: 'DELETE' }).catch(() => undefined);
      }
      if (!abort.signal.aborted) {
        const why = error instanceof TypeError ? trans.__('the connection is gone.') : (error as Error).message;
        this._toasts.complain(trans.__('%1 was not uploaded: %2', file.name, why));
      }
    }
  }

  /** A name that nothing in the home has yet: `picture.png`, `picture (1).png`. */
  private async _freeName(name: string): Promise<string> {
    const answer = await this._place.ask('api/contents/?type=directory&content=1', { cache: 'no-store' });
    if (!answer.ok) {
      throw new Error(await this._reason(answer));
    }
    const taken = new Set(((await answer.json()) as Model).content?.map(model => model.name));
    const [, stem = name, suffix = ''] = /^(.+?)((?:\.tar)?\.[^.]+)?$/.exec(name) ?? [];
    let free = name;
    for (let number = 1; taken.has(free); number += 1) {
      free = `${stem} (${number})${suffix}`;
    }
    return free;
  }

  private async _send(file: File, path: string, signal: AbortSignal, progress: (sent: number) => void): Promise<void> {
    const count = Math.max(1, Math.ceil(file.size / CHUNK_BYTES));
    for (let index = 0; index < count; index += 1) {
      const begin = index * CHUNK_BYTES;
      const content = await base64(file.slice(begin, begin + CHUNK_BYTES));
      // The last piece is number -1: Jupyter then closes the file. One alone is no chunk.
      const chunk = count === 1 ? {} : { chunk: index === count - 1 ? -1 : index + 1 };
      const answer = await this._place.ask(`api/contents/${encodeURIComponent(path)}`, {
        method: 'PUT',
        body: JSON.stringify({ type: 'file', format: 'base64', content, ...chunk }),
        signal
      });
      if (!answer.ok) {
        throw new Error(await this._reason(answer));
      }
      progress(Math.min(file.size, begin + CHUNK_BYTES));
    }
  }

  private async _reason(answer: Response): Promise<string> {
    const { trans } = this._place;
    const sentence = await sentenceOf(answer);
    if (/No space left|Errno 28|quota/i.test(sentence)) {
      return trans.__('the disk of your home is full.');
    }
    if (answer.status === 413) {
      return trans.__('it is too large for the server.');
    }
    if (answer.status === 401 || (answer.status === 403 && !sentence)) {
      return trans.__('you are not logged in any more.');
    }
    return sentence || trans.__('the server answered %1.', answer.status);
  }
}

/** The files of a drop; a folder is none. */
function filesOf(data: DataTransfer | null, refuseFolder: () => void): File[] {
  const items = [...(data?.items ?? [])].filter(item => item.kind === 'file');
  const isFolder = (item: DataTransferItem): boolean => item.webkitGetAsEntry()?.isDirectory ?? false;
  if (items.some(isFolder)) {
    refuseFolder();
  }
  return items.filter(item => !isFolder(item)).flatMap(item => item.getAsFile() ?? []);
}

function base64(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener('load', () => resolve((reader.result as string).split(',', 2)[1] ?? ''));
    reader.addEventListener('error', () => reject(new Error('The file could not be read.')));
    reader.readAsDataURL(blob);
  });
}
