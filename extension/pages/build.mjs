/** Bundles the standalone pages, from what tsc wrote to lib/, into the server extension: names with hashes. */

import { rspack } from '@rspack/core';
import { fileURLToPath } from 'node:url';

const here = path => fileURLToPath(new URL(path, import.meta.url));
const banner = '/* Of gpubox (BSD-3-Clause), noVNC (MPL-2.0, github.com/novnc/noVNC) and xterm.js (MIT). */';

/** A page: its HTML names its script and style relative to where the server serves it. */
const page = (name, publicPath) =>
  new rspack.HtmlRspackPlugin({
    template: here(`${name}.html`),
    filename: `${name}.html`,
    chunks: [name],
    publicPath,
    inject: 'head',
    scriptLoading: 'defer'
  });

const compiler = rspack({
  mode: 'production',
  context: here('..'),
  entry: { desktop: './lib/pages/desktop.js', terminal: './lib/pages/terminal.js' },
  output: {
    path: here('../jupyterlab_gpubox/desktop/static'),
    filename: '[name].[contenthash:16].js',
    chunkFilename: '[name].[contenthash:16].js',
    cssFilename: '[name].[contenthash:16].css',
    cssChunkFilename: '[name].[contenthash:16].css',
    assetModuleFilename: '[name].[hash:16][ext]',
    clean: true
  },
  module: {
    rules: [
      { test: /\.css$/, type: 'css' },
      { test: /\.svg$/, type: 'asset/source' }
    ]
  },
  plugins: [
    page('desktop', 'desktop/static/'),
    page('terminal', '../desktop/static/'),
    new rspack.BannerPlugin({ banner, raw: true, test: /\.js$/, stage: rspack.Compilation.PROCESS_ASSETS_STAGE_REPORT })
  ],
  // noVNC and xterm.js are big for a page, and small for what they do.
  performance: false,
  devtool: false
});

compiler.run((error, stats) => {
  if (error || stats.hasErrors()) {
    console.error(error ?? stats.toString('errors-only'));
    process.exitCode = 1;
  }
  compiler.close(() => undefined);
});
