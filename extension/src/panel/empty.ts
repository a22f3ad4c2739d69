/** What the panel says where it has no GPU to show. */

import type { Context } from '../context';

export interface Words {
  title: string;
  sentence: string;
}

/** null where there are GPUs, or a driver in trouble says enough. */
export function wordsForNothing({ store, trans }: Context): Words | null {
  const { drivers } = store;
  if (store.gpus.length || drivers.some(driver => driver.state === 'trouble')) {
    return null;
  }
  if (store.isMissing) {
    return {
      title: trans.__('The server part is missing'),
      sentence: trans.__(
        'The Jupyter server runs without gpubox’s extension. ' +
          'Enable it with "jupyter server extension enable jupyterlab_gpubox", then restart the server.'
      )
    };
  }
  if (!drivers.length) {
    return store.connection === 'down'
      ? { title: trans.__('No connection'), sentence: store.message || trans.__('The server is asked again soon.') }
      : { title: trans.__('Looking for GPUs…'), sentence: '' };
  }
  if (drivers.some(driver => driver.state === 'asleep')) {
    return { title: trans.__('The GPU is waking up…'), sentence: '' };
  }
  return {
    title: trans.__('No GPU here'),
    sentence: store.box
      ? trans.__('This machine was started without a GPU. Stop it, and choose one with a GPU on the hub’s page.')
      : trans.__(
          'This machine has no GPU, or its driver is not installed. ' +
            'Where there is one, "nvidia-smi" in a terminal lists it.'
        )
  };
}
