/* SPDX-License-Identifier: Apache-2.0
   Slice viewers: brainsprite draws the slices; this adds layers, opacity and the structure under the pointer. */
(() => {
  'use strict';
  const tables = JSON.parse(document.getElementById('viewer-tables').textContent);
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const colors = tables.colors.map((hex) => (hex ? rgb(hex) : null));
  const ramp = tables.ramp.map(rgb);
  let count = 0;

  function image(uri) {
    const picture = new Image();
    picture.src = uri;
    return picture.decode().then(() => picture);
  }

  function sheet(root, width, height) {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    canvas.hidden = true;
    canvas.id = `sheet-${++count}`;
    root.append(canvas);
    return canvas;
  }

  /* The first channel of a picture, one byte a pixel. */
  function bytes(picture) {
    const canvas = document.createElement('canvas');
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const values = new Uint8Array(pixels.length / 4);
    for (let i = 0; i < values.length; i++) values[i] = pixels[4 * i];
    return values;
  }

  async function start(root) {
    const volume = JSON.parse(root.querySelector('.volume').textContent);
    const [scan, labelMap, entropyMap] = await Promise.all([volume.scan, volume.labels, volume.uncertainty].map(image));
    const labels = bytes(labelMap);
    const entropy = bytes(entropyMap);
    const [nx, ny, nz] = volume.shape;
    const width = scan.naturalWidth;
    const base = sheet(root, width, scan.naturalHeight);
    base.getContext('2d').drawImage(scan, 0, 0);
    const overlay = sheet(root, width, scan.naturalHeight);
    const canvas = root.querySelector('.slices');
    canvas.id = `viewer-${++count}`;
    const [structures, uncertainty, opacity] = ['.structures', '.uncertainty', '.opacity'].map((x) => root.querySelector(x));
    const readout = root.querySelector('output');
    const stage = root.querySelector('.stage');

    function paint() {
      const context = overlay.getContext('2d');
      const pixels = context.createImageData(overlay.width, overlay.height);
      for (let i = 0; i < labels.length; i++) {
        let color = structures.checked ? colors[labels[i]] : null;
        let alpha = 255;
        // alone, uncertainty is colored as in the figure; over structures, only high uncertainty covers their color
        const value = entropy[i] / 255;
        const weight = uncertainty.checked ? Math.min(1, color ? value / 0.4 : value / 0.08 - 0.25) : 0;
        if (weight > 0) {
          alpha = color ? 255 : 255 * weight;
          color = color ? ramp[entropy[i]].map((x, c) => weight * x + (1 - weight) * color[c]) : ramp[entropy[i]];
        }
        if (color) pixels.data.set([color[0], color[1], color[2], alpha], 4 * i);
      }
      context.putImageData(pixels, 0, 0);
    }

    paint();
    const viewer = brainsprite({
      canvas: canvas.id,
      sprite: base.id,
      nbSlice: { X: nx, Y: ny, Z: nz },
      overlay: { sprite: overlay.id, nbSlice: { X: nx, Y: ny, Z: nz }, opacity: Number(opacity.value) },
      smooth: true,
      crosshair: true,
      colorCrosshair: '#4fd1ff90',
      colorBackground: '#0e1013',
      colorFont: '#e8eaed',
      sizeFont: 0.045,
      onclick: () => report(viewer.numSlice),
    });

    function redraw() {
      viewer.overlay.opacity = Number(opacity.value);
      viewer.init();
      viewer.drawAll();
    }

    const pixel = ({ X, Y, Z }) =>
      (Math.floor(X / volume.columns) * nz + nz - 1 - Z) * width + (X % volume.columns) * ny + Y;

    function describe(at) {
      const i = pixel(at);
      const mm = volume.affine.slice(0, 3).map((row) => row[0] * at.X + row[1] * at.Y + row[2] * at.Z + row[3]);
      const position = ['x', 'y', 'z'].map((axis, c) => `${axis} ${Math.round(mm[c])}`.replace('-', '\u2212'));
      const name = tables.names[labels[i]] || 'no structure';
      return `${name} \u00b7 uncertainty ${(entropy[i] / 255).toFixed(2)} \u00b7 ${position.join(', ')} mm`;
    }

    function report(at) {
      readout.textContent = describe(at);
    }

    /* The voxel under the pointer; the panels are, from the left, sagittal, coronal and axial. */
    function under(event) {
      const frame = canvas.getBoundingClientRect();
      let across = event.clientX - frame.left;
      const down = event.clientY - frame.top;
      const { widthCanvas: w, heightCanvas: h } = viewer;
      const panel = across < w.X ? 'X' : across < w.X + w.Y ? 'Y' : 'Z';
      across -= { X: 0, Y: w.X, Z: w.X + w.Y }[panel];
      const right = across / w[panel];
      const up = ((h.max + h[panel]) / 2 - down) / h[panel];
      if (right < 0 || right >= 1 || up < 0 || up >= 1) return null;
      const at = { ...viewer.numSlice };
      at[panel === 'X' ? 'Y' : 'X'] = Math.round((panel === 'X' ? ny - 1 : nx - 1) * right);
      at[panel === 'Z' ? 'Y' : 'Z'] = Math.round((panel === 'Z' ? ny - 1 : nz - 1) * up);
      return at;
    }

    canvas.addEventListener('mousemove', (event) => {
      const at = under(event);
      canvas.title = at ? tables.names[labels[pixel(at)]] : '';
      report(at || viewer.numSlice);
    });
    canvas.addEventListener('mouseleave', () => report(viewer.numSlice));
    stage.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: ['X', -1], ArrowRight: ['X', 1], PageDown: ['Y', -1], PageUp: ['Y', 1],
        ArrowDown: ['Z', -1], ArrowUp: ['Z', 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const last = { X: nx, Y: ny, Z: nz }[step[0]] - 1;
      viewer.numSlice[step[0]] = Math.min(last, Math.max(0, viewer.numSlice[step[0]] + step[1]));
      redraw();
      report(viewer.numSlice);
    });
    for (const box of [structures, uncertainty]) {
      box.addEventListener('change', () => { paint(); redraw(); report(viewer.numSlice); });
    }
    opacity.addEventListener('input', redraw);
    report(viewer.numSlice);
    root.dataset.ready = 'yes';
  }

  function fail(root, error) {
    root.querySelector('output').textContent = `The viewer failed to start: ${error.message || error}`;
  }

  /* A viewer decodes its images when it comes near the window. */
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      start(target).catch((error) => fail(target, error));
    }
  }, { rootMargin: '600px' });
  document.querySelectorAll('.viewer').forEach((root) => watch.observe(root));
})();
