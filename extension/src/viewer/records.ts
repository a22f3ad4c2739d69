/** What the server tells: docs/panel-api.md. */

export interface Renderer {
  name: string;
  is_hardware: boolean;
}

export interface Desktop {
  state: 'off' | 'starting' | 'on' | 'failed' | 'missing';
  /** A sentence where something is wrong, else empty. */
  message: string;
  /** What is being done while it starts. */
  phase: string;
  renderer: Renderer | null;
  viewers: number;
  /** Whether the image has the second viewer, fastlane.ts. */
  fast_lane: boolean;
}

export interface Role {
  controls: boolean;
  /** Who does control. */
  controller: string;
  viewers: number;
}

/** The close codes of the stream of pictures. */
export const CLOSED = { ended: 1001, missing: 4404, failed: 4500 } as const;
