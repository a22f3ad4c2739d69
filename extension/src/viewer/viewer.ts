/** The desktop in a browser: picture, toolbar, panels, and the words in their place while there is no picture. */

import '../../style/viewer.css';

import { make, setWords } from '../dom';
import { Clipboard, write } from './clipboard';
import type { Condition } from './condition';
import { Cover } from './cover';
import { FastLane } from './fastlane';
import { Files } from './files';
import { keysPanel, touchKeyboard } from './keyboard';
import { button, check, choice } from './parts';
import type { Place } from './place';
import { Preferences } from './preferences';
import type { Desktop, Role } from './records';
import { Screen } from './screen';
import { Session } from './session';
import { Toasts } from './toasts';
import { badge, Toolbar } from './toolbar';
import { Uploads } from './upload';

interface KeyboardLock {
  lock?(): Promise<void>;
}

export class Viewer {
  constructor(
    private readonly _place: Place,
    private readonly _isViewOnly = false
  ) {
    const { trans } = _place;
    this._toasts = new Toasts(trans);
    this._screen = new Screen(this._preferences, _isViewOnly, {
      drawn: () => this._session.drawn(),
      copied: text => void this._clipboard.copied(text)
    });
    this._clipboard = new Clipboard(_place, this._screen, _isViewOnly);
    this._cover = new Cover(_place, {
      restart: () => void this._session.restart(),
      connect: () => this._session.connect()
    });
    const query = `viewer=page-${window.crypto.getRandomValues(new Uint32Array(4)).join('-')}${_isViewOnly ? '&view=1' : ''}`;
    this._session = new Session(
      _place,
      this._screen,
      query,
      {
        state: desktop => this._showState(desktop),
        role: role => this._showRole(role),
        open: what => this._offer(what)
      },
      condition => this._showCondition(condition)
    );
    this._toolbar = new Toolbar(trans, this._preferences, () => this._screen.focus());
    this._fastLane = new FastLane(_place);
    this._take = button(trans.__('Take control'), () => this._session.control.takeControl(), 'gd-Button gd-mod-main');
    this._take.hidden = true;
    this._fill();
    this.node.append(this._screen.node, this._cover.node, this._toolbar.node, this._toasts.node, this._touch);
    // JupyterLab's own shortcuts are the desktop's here.
    this.node.setAttribute('data-lm-suppress-shortcuts', 'true');
    this.node.addEventListener('keydown', this._onKey, true);
  }

  readonly node = make('div', 'gd-Viewer');

  /** Connect: the node is in the document. */
  start(): void {
    this._session.connect();
  }

  focus(): void {
    this._screen.focus();
  }

  dispose(): void {
    this._session.dispose();
    this._clipboard.dispose();
  }

  private _fill(): void {
    const { trans } = this._place;
    const bar = this._toolbar;
    bar.add(this._status);
    if (this._isViewOnly) {
      bar.add(badge('gd-mod-view', trans.__('View only')));
    } else {
      bar.add(this._take);
    }
    bar.addPanel('clipboard', trans.__('Clipboard'), this._clipboard.panel, () => void this._clipboard.show());
    if (!this._isViewOnly) {
      const uploads = new Uploads(this._place, this._toasts);
      uploads.listen(this.node);
      const files = new Files(this._place, uploads);
      bar.addPanel('keys', trans.__('Keys'), keysPanel(this._place, this._screen));
      bar.addPanel('files', trans.__('Files'), files.panel, () => void files.show());
      bar.add(this._fastLane.node);
      bar.addButton('touch', trans.__('On-screen keyboard'), () => this._touch.focus()).classList.add('gd-mod-touch');
    }
    bar.addPanel('settings', trans.__('Settings'), this._settings());
    bar.addButton('link', trans.__('Copy a link to watch'), () => void this._copyLink());
    bar.addButton('full', trans.__('Full screen'), () => void this._toggleFull());
    if (this._place.isPage) {
      bar.add(this._labLink('gd-IconButton'));
    }
    bar.addHide();
  }

  private _settings(): HTMLElement {
    const { trans } = this._place;
    const preferences = this._preferences;
    const qualities = [
      ['low', trans.__('Low: for slow lines')],
      ['medium', trans.__('Medium')],
      ['high', trans.__('High')]
    ] as const;
    const scalings = [
      ['fit', trans.__('Fit the window')],
      ['actual', trans.__('Actual size')]
    ] as const;
    return make(
      'div',
      'gd-Stack',
      choice(trans.__('Picture'), qualities, preferences.quality, quality => preferences.set({ quality })),
      choice(trans.__('Size'), scalings, preferences.scaling, scaling => preferences.set({ scaling })),
      check(trans.__('Keep the toolbar'), preferences.isPinned, isPinned => preferences.set({ isPinned })),
      this._renderer
    );
  }

  private _showCondition(condition: Condition): void {
    const isLive = condition.phase === 'live';
    this._cover.show(condition);
    this._toolbar.node.hidden = !isLive;
    this.node.dataset.phase = condition.phase;
    if (isLive) {
      this._toolbar.show();
      this._screen.focus();
    }
  }

  private _showState(desktop: Desktop): void {
    const { trans } = this._place;
    const { renderer, state } = desktop;
    this._screen.stands = state === 'on';
    this._fastLane.show(desktop);
    const kind = renderer?.is_hardware ? trans.__('hardware') : trans.__('software');
    setWords(this._renderer, renderer ? trans.__('3-D: %1 (%2)', renderer.name, kind) : '');
  }

  private _showRole(role: Role): void {
    const { trans } = this._place;
    this._screen.controls = role.controls;
    this._take.hidden = role.controls;
    this._take.title = role.controller ? trans.__('%1 controls this desktop; its size is theirs', role.controller) : '';
    const isAlone = role.viewers < 2;
    const who = role.controls ? trans.__('you control') : role.controller && trans.__('%1 controls', role.controller);
    setWords(this._status, isAlone ? '' : `${trans.__('%1 watch', role.viewers)}${who ? ` · ${who}` : ''}`);
    this._status.hidden = isAlone;
    this._toolbar.show();
  }

  /** The desktop's own icon for JupyterLab was clicked: a browser opens pages only for a click in it. */
  private _offer(what: string): void {
    if (what === 'lab' && this._place.isPage && !this._isViewOnly) {
      const link = this._labLink('gd-Button gd-mod-main');
      link.textContent = this._place.trans.__('Open JupyterLab');
      this._toasts.say(this._place.trans.__('JupyterLab is a page of its own.'), link);
    }
  }

  private _labLink(className: string): HTMLAnchorElement {
    const { trans } = this._place;
    const link = make('a', className, 'Lab');
    link.href = this._place.link('lab');
    link.target = '_blank';
    link.rel = 'noopener';
    link.title = trans.__('JupyterLab');
    return link;
  }

  private async _copyLink(): Promise<void> {
    const { trans } = this._place;
    const link = new URL(this._place.link('gpubox/desktop?view=1'), window.location.href).href;
    if (await write(link)) {
      this._toasts.say(trans.__('The link is copied. Who may use this server can watch with it, and not touch.'));
    } else {
      const field = make('input', 'gd-Input');
      field.value = link;
      field.readOnly = true;
      field.setAttribute('aria-label', trans.__('Link to watch'));
      this._toasts.say(trans.__('The link to watch:'), field);
    }
  }

  private async _toggleFull(): Promise<void> {
    if (document.fullscreenElement) {
      await document.exitFullscreen();
      return;
    }
    try {
      await this.node.requestFullscreen();
      // Then Alt+Tab, Esc and the like go to the desktop, too; held down, Esc leaves.
      await (navigator as Navigator & { keyboard?: KeyboardLock }).keyboard?.lock?.();
    } catch {
      this._toasts.complain(this._place.trans.__('This browser does not allow full screen here.'));
    }
    this._screen.focus();
  }

  /** Ctrl+Alt+Shift, no matter in which order, leads to the toolbar. */
  private readonly _onKey = (event: KeyboardEvent): void => {
    const isModifier = ['Control', 'Alt', 'Shift'].includes(event.key);
    if (isModifier && event.ctrlKey && event.altKey && event.shiftKey && !this._toolbar.node.hidden) {
      event.stopPropagation();
      this._toolbar.show(true);
    }
  };

  private readonly _preferences = new Preferences();
  private readonly _toasts: Toasts;
  private readonly _screen: Screen;
  private readonly _clipboard: Clipboard;
  private readonly _cover: Cover;
  private readonly _session: Session;
  private readonly _toolbar: Toolbar;
  private readonly _fastLane: FastLane;
  private readonly _take: HTMLButtonElement;
  private readonly _status = badge('gd-mod-status', '');
  private readonly _renderer = make('p', 'gd-Note');
  private get _touch(): HTMLTextAreaElement {
    return (this._field ??= touchKeyboard(this._place, this._screen));
  }
  private _field: HTMLTextAreaElement | null = null;
}
