/* SPDX-License-Identifier: Apache-2.0
   Slice viewers: sagittal, coronal and axial slices of a scan with its structures and their uncertainty. */
(() => {
  'use strict';
  const tables = JSON.parse(document.getElementById('viewer-tables').textContent);
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const colors = tables.colors.map((hex) => (hex ? rgb(hex) : null));
  const ramp = tables.ramp.map(rgb);
  const GAP = 6;
  const NARROW = 560; // CSS pixels below which panels stand below each other
  const CROSS = 'rgba(79, 209, 255, 0.6)';
  // axis across, axis up, marks at the sides of each panel, neurological
  const PLANES = [
    { axis: 0, across: 1, up: 2, marks: ['P', 'A', 'I', 'S'] },
    { axis: 1, across: 0, up: 2, marks: ['L', 'R', 'I', 'S'] },
    { axis: 2, across: 0, up: 1, marks: ['L', 'R', 'P', 'A'] },
  ];
  const KEYS = {
    ArrowLeft: [0, -1], ArrowRight: [0, 1], PageDown: [1, -1], PageUp: [1, 1], ArrowDown: [2, -1], ArrowUp: [2, 1],
  };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const digits = (value) => Number(value.toPrecision(3)).toString().replace('-', '\u2212');

  function image(uri) {
    const picture = new Image();
    picture.src = uri;
    return picture.decode().then(() => picture);
  }

  /* The voxels of a mosaic of sagittal slices, x slowest, one byte each. */
  function voxels(picture, { shape: [nx, ny, nz], columns }) {
    const canvas = document.createElement('canvas');
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const values = new Uint8Array(nx * ny * nz);
    for (let x = 0, n = 0; x < nx; x++) {
      const left = (x % columns) * ny;
      const bottom = Math.floor(x / columns) * nz + nz - 1;
      for (let y = 0; y < ny; y++) {
        for (let z = 0; z < nz; z++) values[n++] = pixels[4 * ((bottom - z) * canvas.width + left + y)];
      }
    }
    return values;
  }

  /* What each byte of the scan stands for. */
  function meanings(knots) {
    return Float64Array.from({ length: 256 }, (_, byte) => {
      let place = knots.findIndex((knot) => knot[0] >= byte);
      place = clamp(place < 0 ? knots.length - 1 : place, 1, knots.length - 1);
      const [[from, low], [to, high]] = [knots[place - 1], knots[place]];
      return low + ((byte - from) / (to - from)) * (high - low);
    });
  }

  async function start(root) {
    const volume = JSON.parse(root.querySelector('.volume').textContent);
    const [scan, labels, doubt] = (await Promise.all([volume.scan, volume.labels, volume.uncertainty].map(image)))
      .map((picture) => voxels(picture, volume));
    const size = volume.shape;
    const stride = [size[1] * size[2], size[2], 1];
    const value = meanings(volume.intensities);
    const [find, canvas, stage] = [(x) => root.querySelector(x), root.querySelector('canvas'), root.querySelector('.stage')];
    const [structures, uncertainty, opacity, readout] = ['.structures', '.uncertainty', '.opacity', 'output'].map(find);
    const [radiological, low, high] = ['.radiological', '.low', '.high'].map(find);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const shown = tables.names.map(() => true);
    const at = size.map((n) => n >> 1);
    const gray = new Uint8Array(256);
    let zoom = 1;
    let shift = PLANES.map(() => [0, 0]); // of the slice in its panel, CSS pixels
    let panels = [];
    const sheets = PLANES.map(({ across, up }) => {
      const sheet = document.createElement('canvas');
      [sheet.width, sheet.height] = [size[across], size[up]];
      return sheet;
    });

    function setWindow(from, to) {
      const span = Math.max(to - from, 1e-6 * Math.abs(to) || 1e-6);
      value.forEach((x, byte) => { gray[byte] = clamp(Math.round((255 * (x - from)) / span), 0, 255); });
      [low.value, high.value] = [from, from + span].map((x) => Number(x.toPrecision(3)));
    }

    /* Where the panels stand: side by side, or below each other where that would make them small. */
    function layOut() {
      const width = stage.clientWidth;
      const lengths = PLANES.map(({ across, up }) => [size[across], size[up]]);
      const below = width < NARROW;
      const scale = below
        ? Math.min(...lengths.map(([w]) => width / w))
        : (width - 2 * GAP) / lengths.reduce((sum, [w]) => sum + w, 0);
      const tallest = Math.max(...lengths.map(([, h]) => h * scale));
      let [x, y] = [0, 0];
      panels = lengths.map(([w, h]) => {
        const panel = { x, y, w: below ? width : w * scale, h: below ? h * scale : tallest, scale };
        if (below) y += panel.h + GAP; else x += panel.w + GAP;
        return panel;
      });
      const ratio = window.devicePixelRatio || 1;
      const [w, h] = [width, below ? y - GAP : tallest];
      Object.assign(canvas.style, { width: `${w}px`, height: `${h}px` });
      [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
    }

    /* Radiologists look from the feet and from the front: left is on the right, and the nose on the left. */
    const turned = () => radiological.checked;

    function paint(n) {
      const { axis, across, up } = PLANES[n];
      const sheet = sheets[n].getContext('2d');
      const [w, h] = [size[across], size[up]];
      const pixels = sheet.createImageData(w, h);
      const alpha = Number(opacity.value);
      for (let row = 0, p = 0; row < h; row++) {
        for (let column = 0; column < w; column++, p += 4) {
          const a = turned() ? w - 1 - column : column;
          const i = at[axis] * stride[axis] + a * stride[across] + (h - 1 - row) * stride[up];
          const tint = structures.checked && shown[labels[i]] ? colors[labels[i]] : null;
          const weight = uncertainty.checked ? 0.85 * tables.weights[doubt[i]] : 0;
          for (let c = 0; c < 3; c++) {
            let x = gray[scan[i]];
            if (tint) x += alpha * (tint[c] - x);
            if (weight) x += weight * (ramp[doubt[i]][c] - x);
            pixels.data[p + c] = x;
          }
          pixels.data[p + 3] = 255;
        }
      }
      sheet.putImageData(pixels, 0, 0);
    }

    /* The place of a slice in its panel: left, top and CSS pixels a voxel. */
    function frame(n) {
      const { x, y, w, h, scale } = panels[n];
      const [across, up] = [size[PLANES[n].across], size[PLANES[n].up]];
      const each = scale * zoom;
      return {
        each, left: x + (w - across * each) / 2 + shift[n][0], top: y + (h - up * each) / 2 + shift[n][1],
      };
    }

    /* Where the cross stands in a panel, CSS pixels. */
    function crossing(n) {
      const { across, up } = PLANES[n];
      const { left, top, each } = frame(n);
      const column = turned() ? size[across] - 1 - at[across] : at[across];
      return [left + (column + 0.5) * each, top + (size[up] - 0.5 - at[up]) * each];
    }

    function draw() {
      context.fillStyle = '#0e1013';
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.font = '600 12px system-ui, sans-serif';
      PLANES.forEach(({ across, up, marks }, n) => {
        paint(n);
        const { x, y, w, h } = panels[n];
        const { left, top, each } = frame(n);
        context.save();
        context.beginPath();
        context.rect(x, y, w, h);
        context.clip();
        context.imageSmoothingEnabled = each < 4;
        context.drawImage(sheets[n], left, top, size[across] * each, size[up] * each);
        const [cx, cy] = crossing(n);
        context.strokeStyle = CROSS;
        context.lineWidth = 1;
        context.beginPath();
        context.moveTo(cx, y);
        context.lineTo(cx, y + h);
        context.moveTo(x, cy);
        context.lineTo(x + w, cy);
        context.stroke();
        context.fillStyle = '#e8eaed';
        context.strokeStyle = '#0e1013';
        context.lineWidth = 3;
        const [near, far] = turned() ? [marks[1], marks[0]] : marks;
        [[near, x + 5, y + h / 2], [far, x + w - 14, y + h / 2], [marks[3], x + w / 2 - 4, y + 14],
          [marks[2], x + w / 2 - 4, y + h - 6]].forEach(([text, tx, ty]) => {
          context.strokeText(text, tx, ty);
          context.fillText(text, tx, ty);
        });
        context.restore();
      });
    }

    const index = (where) => where.reduce((sum, n, axis) => sum + n * stride[axis], 0);

    function describe(where) {
      const i = index(where);
      const mm = volume.affine.slice(0, 3).map((row) => row[0] * where[0] + row[1] * where[1] + row[2] * where[2] + row[3]);
      const position = ['x', 'y', 'z'].map((axis, c) => `${axis} ${Math.round(mm[c])}`.replace('-', '\u2212'));
      return [
        tables.names[labels[i]] || 'no structure', `uncertainty ${(doubt[i] / volume.unit).toFixed(1)} \u00d7 usual`,
        `intensity ${digits(value[scan[i]])}`, `${position.join(', ')} mm`,
      ].join(' \u00b7 ');
    }

    const report = (where) => { readout.textContent = describe(where); };
    const update = () => { draw(); report(at); };

    /* The panel and the voxel under the pointer. */
    function under(event) {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      const n = panels.findIndex((p) => x >= p.x && x < p.x + p.w && y >= p.y && y < p.y + p.h);
      if (n < 0) return null;
      const { across, up } = PLANES[n];
      const { left, top, each } = frame(n);
      let right = Math.floor((x - left) / each);
      const above = size[up] - 1 - Math.floor((y - top) / each);
      const inside = right >= 0 && right < size[across] && above >= 0 && above < size[up];
      if (turned()) right = size[across] - 1 - right;
      const where = [...at];
      where[across] = clamp(right, 0, size[across] - 1);
      where[up] = clamp(above, 0, size[up] - 1);
      return { n, where, inside, x, y };
    }

    function step(axis, by) {
      at[axis] = clamp(at[axis] + by, 0, size[axis] - 1);
      update();
    }

    /* Zoom all panels; what is under the pointer stays there, in the other panels what is under the cross. */
    function magnify(factor, hit) {
      const next = clamp(zoom * factor, 1, 12);
      const ratio = next / zoom;
      shift = PLANES.map((_, n) => {
        if (next === 1) return [0, 0];
        const { x, y, w, h } = panels[n];
        const [px, py] = hit && hit.n === n ? [hit.x, hit.y] : crossing(n);
        const [dx, dy] = [px - x - w / 2, py - y - h / 2];
        return [dx - (dx - shift[n][0]) * ratio, dy - (dy - shift[n][1]) * ratio];
      });
      zoom = next;
      update();
    }

    function reset() {
      zoom = 1;
      shift = PLANES.map(() => [0, 0]);
      setWindow(...volume.window);
      update();
    }

    let drag = null;
    canvas.addEventListener('pointerdown', (event) => {
      const hit = under(event);
      if (!hit) return;
      const kind = event.button === 2 ? 'window' : event.button === 1 || event.shiftKey ? 'pan' : 'move';
      drag = { kind, hit, x: event.clientX, y: event.clientY };
      if (event.button === 1) event.preventDefault();
      if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
      stage.focus({ preventScroll: true });
      if (kind === 'move') { hit.where.forEach((n, axis) => { at[axis] = n; }); update(); }
    });
    canvas.addEventListener('pointermove', (event) => {
      const hit = under(event);
      if (!drag) {
        canvas.title = hit && hit.inside ? tables.names[labels[index(hit.where)]] : '';
        report(hit && hit.inside ? hit.where : at);
        return;
      }
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      [drag.x, drag.y] = [event.clientX, event.clientY];
      if (drag.kind === 'pan') {
        shift[drag.hit.n] = [shift[drag.hit.n][0] + dx, shift[drag.hit.n][1] + dy];
        draw();
      } else if (drag.kind === 'window') {
        const [from, to] = [Number(low.value), Number(high.value)];
        const span = (to - from) * Math.exp(dx / 200);
        const middle = (from + to) / 2 + (dy / 300) * (to - from);
        setWindow(middle - span / 2, middle + span / 2);
        draw();
      } else if (hit && hit.n === drag.hit.n) {
        hit.where.forEach((n, axis) => { at[axis] = n; });
        update();
      }
    });
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => { drag = null; });
    canvas.addEventListener('pointerleave', () => { if (!drag) report(at); });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('dblclick', reset);
    // until the viewer was clicked, the wheel scrolls the page
    canvas.addEventListener('wheel', (event) => {
      const hit = under(event);
      if (!hit || (document.activeElement !== stage && !event.ctrlKey)) return;
      event.preventDefault();
      if (event.ctrlKey) magnify(Math.exp(-event.deltaY / 300), hit);
      else step(PLANES[hit.n].axis, event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    stage.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (KEYS[event.key]) step(...KEYS[event.key]);
      else if (event.key === '+' || event.key === '=') magnify(1.25);
      else if (event.key === '-') magnify(0.8);
      else if (event.key === '0') reset();
      else return;
      event.preventDefault();
    });
    for (const box of [structures, uncertainty, radiological]) box.addEventListener('change', update);
    opacity.addEventListener('input', draw);
    for (const box of [low, high]) {
      box.addEventListener('change', () => { setWindow(Number(low.value), Number(high.value)); draw(); });
    }
    find('.reset').addEventListener('click', reset);
    find('.closer').addEventListener('click', () => magnify(1.25));
    find('.farther').addEventListener('click', () => magnify(0.8));

    /* The structures: on and off, and a click on a name goes there. */
    const list = find('.list');
    const boxes = [];
    tables.names.forEach((name, label) => {
      if (!name) return;
      const row = document.createElement('li');
      const box = document.createElement('input');
      const go = document.createElement('button');
      const swatch = document.createElement('i');
      Object.assign(box, { type: 'checkbox', checked: true });
      box.setAttribute('aria-label', `show ${name}`);
      Object.assign(go, { type: 'button', textContent: name, title: 'go there' });
      swatch.style.background = tables.colors[label];
      box.addEventListener('change', () => { shown[label] = box.checked; draw(); });
      go.addEventListener('click', () => { goTo(label); update(); });
      row.append(box, swatch, go);
      list.append(row);
      boxes.push([label, box]);
    });

    /* Move to the voxel of a structure that is nearest to its center. */
    function goTo(label) {
      const sum = [0, 0, 0];
      let count = 0;
      const each = (use) => {
        for (let x = 0, i = 0; x < size[0]; x++) {
          for (let y = 0; y < size[1]; y++) for (let z = 0; z < size[2]; z++, i++) if (labels[i] === label) use(x, y, z);
        }
      };
      each((x, y, z) => { count++; sum[0] += x; sum[1] += y; sum[2] += z; });
      if (!count) return;
      const center = sum.map((total) => total / count);
      let best = Infinity;
      each((x, y, z) => {
        const distance = (x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2;
        if (distance < best) { best = distance; [at[0], at[1], at[2]] = [x, y, z]; }
      });
    }

    for (const [name, on] of [['.all', true], ['.none', false]]) {
      find(name).addEventListener('click', () => {
        boxes.forEach(([label, box]) => { shown[label] = box.checked = on; });
        draw();
      });
    }

    setWindow(...volume.window);
    layOut();
    update();
    let width = stage.clientWidth;
    new ResizeObserver(() => {
      if (stage.clientWidth === width) return;
      width = stage.clientWidth;
      layOut();
      draw();
    }).observe(stage);
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
