/** What to type to get into this machine from elsewhere. Loaded when it is asked for. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';
import '../style/box.css';
import '../style/ssh.css';

import type { Context } from './context';
import { make, safeUrl, setWords } from './dom';
import type { Box } from './records';

export async function showSsh(context: Context): Promise<void> {
  const { store, trans } = context;
  const box = store.box;
  if (!box?.ssh) {
    await showDialog({ title: trans.__('SSH'), body: trans.__('The hub of this machine has no SSH gateway.'), buttons: [Dialog.okButton()] });
    return;
  }
  const body = new Widget({ node: describe(context, box, box.ssh) });
  await showDialog({ title: trans.__('SSH'), body, buttons: [Dialog.okButton({ label: trans.__('Close') })] });
}

function describe({ trans }: Context, box: Box, ssh: NonNullable<Box['ssh']>): HTMLElement {
  const host = ssh.host || window.location.hostname;
  const port = ssh.port === 22 ? '' : `-p ${ssh.port} `;
  const user = /[\s"#]/.test(ssh.user) ? JSON.stringify(ssh.user) : ssh.user;
  const config = `Host gpubox\n    HostName ${host}\n    Port ${ssh.port}\n    User ${user}\n    ServerAliveInterval 60`;
  const keys = make('a', '', trans.__('Your SSH keys'));
  keys.href = safeUrl(box.hub_url.replace(/hub\/home$/, 'services/gpubox/keys'));
  keys.target = '_blank';
  keys.rel = 'noopener';
  return make(
    'div',
    'gb-Ssh',
    make('p', '', trans.__('In a terminal of your own computer:')),
    code(trans, `ssh ${port}${quoted(`${ssh.user}@${host}`)}`),
    make('p', '', trans.__('For scp, rsync, git and VS Code, put this into ~/.ssh/config; then: ssh gpubox')),
    code(trans, config),
    make('p', '', keys, ' ', trans.__('let you in; so does a token of the hub, as the password.'))
  );
}

/** Words to copy, with a button that does it. */
function code(trans: Context['trans'], words: string): HTMLElement {
  const node = make('code', '', words);
  const button = make('button', 'gb-Button', trans.__('Copy'));
  button.type = 'button';
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(words);
      setWords(button, trans.__('Copied'));
    } catch {
      // Without HTTPS a page may not copy: what is marked can be, with the keyboard.
      window.getSelection()?.selectAllChildren(node);
      setWords(button, trans.__('Marked'));
    }
    window.setTimeout(() => setWords(button, trans.__('Copy')), 2000);
  });
  return make('div', 'gb-Ssh-code', make('pre', '', node), button);
}

/** For a shell, where it would not take the word as it is. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
