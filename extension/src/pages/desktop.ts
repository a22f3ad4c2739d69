/** The page "Desktop". */

import '../../style/page.css';

import { Viewer } from '../viewer/viewer';
import { nameOfMachine, place } from './page';

const isViewOnly = new URLSearchParams(window.location.search).get('view') === '1';
const viewer = new Viewer(place, isViewOnly);
document.body.append(viewer.node);
viewer.start();
void nameOfMachine().then(name => {
  document.title = `${name} · Desktop`;
});
