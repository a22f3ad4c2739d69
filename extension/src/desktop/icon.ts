import { LabIcon } from '@jupyterlab/ui-components';

import desktop from '../../style/icons/desktop.svg';

export const desktopIcon = new LabIcon({ name: 'gpubox:desktop', svgstr: desktop });
