/** Tutorials in the launcher: a click copies one to the user's own files, once, and opens the copy. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { PathExt } from '@jupyterlab/coreutils';
import { ILauncher } from '@jupyterlab/launcher';
import type { Contents } from '@jupyterlab/services';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { notebookIcon } from '@jupyterlab/ui-components';

/** Where the image's entry point puts the read-only originals, and where copies go: below the server's root. */
const ORIGINALS = 'tutorials';
const COPIES = 'my-tutorials';
const OPEN = 'gpubox:open-tutorial';

const NAMES: Record<string, string> = { caffe: 'Caffe', gpu: 'GPU', jax: 'JAX', torch7: 'Torch7' };

/** `01-first-gpu-notebook.ipynb` is the first, "First GPU notebook". */
function title(file: string): string {
  const words = PathExt.basename(file, '.ipynb').replace(/^\d+-/, '').split('-');
  const title = words.map(word => NAMES[word] ?? word).join(' ');
  return title.charAt(0).toUpperCase() + title.slice(1);
}

/** What is in a folder. To look for a file by asking for it would write an error into the log. */
async function listing(contents: Contents.IManager, folder: string): Promise<Contents.IModel[]> {
  return (await contents.get(folder, { type: 'directory', content: true })).content as Contents.IModel[];
}

function has(models: Contents.IModel[], name: string): boolean {
  return models.some(model => model.name === name);
}

/** The file names of the tutorials, in their order; none where the server has no such folder. */
async function originals(contents: Contents.IManager): Promise<string[]> {
  if (!has(await listing(contents, ''), ORIGINALS)) {
    return [];
  }
  const notebooks = (await listing(contents, ORIGINALS)).filter(model => model.type === 'notebook');
  return notebooks.map(model => model.name).sort();
}

/** The path of the user's copy, made now if there is none. */
async function copyOf(contents: Contents.IManager, name: string): Promise<string> {
  if (!has(await listing(contents, ''), COPIES)) {
    await contents.save(COPIES, { type: 'directory' });
  }
  if (has(await listing(contents, COPIES), name)) {
    return `${COPIES}/${name}`;
  }
  return (await contents.copy(`${ORIGINALS}/${name}`, COPIES)).path;
}

export const tutorials: JupyterFrontEndPlugin<void> = {
  id: '@gpubox/jupyterlab-gpubox:tutorials',
  description: 'Tutorials in the launcher, where the server has some.',
  autoStart: true,
  requires: [ILauncher],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, launcher: ILauncher, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('jupyterlab_gpubox');
    const { contents } = app.serviceManager;
    app.commands.addCommand(OPEN, {
      label: args => title(args.name as string),
      caption: trans.__('Copies the tutorial to my-tutorials and opens the copy'),
      icon: notebookIcon,
      execute: async args => {
        const path = await copyOf(contents, args.name as string);
        return app.commands.execute('docmanager:open', { path });
      }
    });
    // Not awaited: the page is restored once all plugins are there.
    void app.restored.then(async () => {
      const names = await originals(contents);
      names.forEach((name, rank) =>
        launcher.add({ command: OPEN, args: { name }, category: trans.__('Tutorials'), rank })
      );
    });
  }
};
