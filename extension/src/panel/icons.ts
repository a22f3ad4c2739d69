import { LabIcon } from '@jupyterlab/ui-components';

import chart from '../../style/icons/chart.svg';

export const lineChartIcon = new LabIcon({ name: 'gpubox:chart', svgstr: chart });
