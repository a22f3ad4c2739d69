/** A terminal in JupyterLab that comes back to the machine's one tmux session, or begins it. */

import type { Context } from '../context';

const COMMAND = 'exec tmux new-session -A -s main\r';

export async function openTmux({ commands, services }: Context): Promise<void> {
  const { name } = await services.terminals.startNew();
  const connection = services.terminals.connectTo({ model: { name } });
  connection.send({ type: 'stdin', content: [COMMAND] });
  await commands.execute('terminal:open', { name });
  connection.dispose();
}
